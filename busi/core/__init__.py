"""Class names, the one error, `Batch`, whole files, tables, locks, building from configs. Imports no room."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
