from .scores import score_submissions as score_submissions
