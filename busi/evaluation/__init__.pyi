from .evaluation import evaluate as evaluate
from .scores import score_submissions as score_submissions
