from .conversion import convert as convert
from .known import FORMATS as FORMATS
from .known import ORIENTATIONS as ORIENTATIONS
from .known import SPLIT as SPLIT
from .known import WRITTEN as WRITTEN
from .labels import read_mapping as read_mapping
