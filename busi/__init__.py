"""Breast-ultrasound lesion segmentation and diagnosis, from raw folders to a report."""

import lazy_loader

from busi.core.silence import forget_empty_folders, silence_libraries

silence_libraries()  # before any of them is imported
forget_empty_folders()

__version__ = "0.1.0"
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
