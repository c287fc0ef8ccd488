"""The configs of what is measured."""

from collections.abc import Sequence

import hydra
from omegaconf import DictConfig

from busi.core import open_configs


def compose(overrides: Sequence[str]) -> DictConfig:
    """Compose a run as the command line does."""
    with open_configs():
        return hydra.compose("train", list(overrides))
