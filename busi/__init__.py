"""Breast-ultrasound lesion segmentation and diagnosis, from raw folders to a report."""

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from busi.data.files import read_frames
    from busi.predictor import Prediction, Predictor

# albumentations asks a server for its newest version on import unless it is told not to.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
# Ray, where a sweep uses it, reports to a server that it is used unless it is told not to.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

__version__ = "0.1.0"
__all__ = ["Prediction", "Predictor", "read_frames"]


def __getattr__(name: str) -> Any:
    """Import what programs use when they ask for it: `import busi` itself stays instant."""
    if name not in __all__:
        raise AttributeError(f"module 'busi' has no attribute '{name}'")
    from busi import predictor
    from busi.data import files

    return getattr(files if name == "read_frames" else predictor, name)
