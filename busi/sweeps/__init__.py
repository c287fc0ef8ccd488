"""Many runs: the table, the search with Optuna, pruning."""

import warnings

import lazy_loader

# The files in conf/hydra/launcher/ have the names of the plugins' own options: they set other defaults.
warnings.filterwarnings("ignore", r"\s*'hydra/launcher/\w+' is validated against ConfigStore schema")

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
