"""Files of other tools: their annotations become a manifest, and splits and masks become theirs."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
