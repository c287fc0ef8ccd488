"""The configs of what is measured."""

from collections.abc import Sequence

import hydra
from omegaconf import DictConfig

from busi.core import conf_dir


def compose(overrides: Sequence[str]) -> DictConfig:
    """Compose a run as the command line does."""
    with hydra.initialize_config_dir(config_dir=str(conf_dir()), version_base="1.3"):
        return hydra.compose("train", list(overrides))
