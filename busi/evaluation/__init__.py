"""Any finished model on any data: measured as it is, and calibrated anew on images of another hospital."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
