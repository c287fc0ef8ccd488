"""Breast-ultrasound lesion segmentation and diagnosis, from raw folders to a report."""

import os

import lazy_loader

# albumentations asks a server for its newest version on import unless it is told not to.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
# Ray, where a sweep uses it, reports to a server that it is used unless it is told not to.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

__version__ = "0.1.0"
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
