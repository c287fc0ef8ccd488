from .crossfit import CrossfitGuide as CrossfitGuide
from .crossfit import guide_rows as guide_rows
from .leaks import check_start as check_start
from .prepare import GroundTruthGuide as GroundTruthGuide
from .prepare import Guide as Guide
from .prepare import PredictedGuide as PredictedGuide
from .prepare import StoredGuide as StoredGuide
