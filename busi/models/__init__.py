"""Networks, encoder weights, and the step from probabilities to a mask."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
