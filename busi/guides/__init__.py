"""The mask that is the classifier's second input channel, and the leak guard."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
