"""Metrics of arrays: Dice, AUROC, calibration, the bootstrap. No torch."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
