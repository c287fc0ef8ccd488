"""Class names, the one error, `Batch`, files written whole, locks. Imports nothing of busi."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
