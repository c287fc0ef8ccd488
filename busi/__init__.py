"""Breast-ultrasound lesion segmentation and diagnosis, from raw folders to a report."""

import os

# albumentations asks a server for its newest version on import unless it is told not to.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

__version__ = "0.1.0"
