from .data.files import read_frames as read_frames
from .inference.predictor import Prediction as Prediction
from .inference.predictor import Predictor as Predictor

__version__: str
