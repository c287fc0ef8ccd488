from .data import BUSIDataModule as BUSIDataModule
from .data import read_frames as read_frames
from .inference import Prediction as Prediction
from .inference import Predictor as Predictor
from .modules import ClsModule as ClsModule
from .modules import SegModule as SegModule

__version__: str
