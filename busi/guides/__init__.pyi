from .crossfit import guide_rows as guide_rows
from .prepare import guide_judged as guide_judged
from .prepare import prepare_classification as prepare_classification
