"""Objects that are built from a config and remember it, so that a checkpoint can say how to build them."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any, TypeVar

import hydra
from hydra.errors import InstantiationException
from omegaconf import OmegaConf

from busi.core.files import conf_dir
from busi.core.targets import check_section
from busi.core.text import one_line
from busi.core.types import InputError

Config = Mapping[str, Any]
"""``_target_``, the dotted name of what is built, and its arguments, which may be configs too."""

T = TypeVar("T")


def open_configs() -> AbstractContextManager[None]:
    """Let Hydra compose the configs of busi."""
    return hydra.initialize_config_dir(config_dir=str(conf_dir()), version_base="1.3")


def build(config: Config, section: str = "model") -> Any:
    """Build what a config describes, and let it remember the config; see `construct`."""
    return remember(construct(config, section), config)


def construct(config: Config, section: str, **objects: Any) -> Any:
    """Build what a config describes: the only way from a config to an object.

    Args:
        config: A part of a run's config.
        section: Which part: a key of `busi.core.targets.TABLE`.
        objects: More arguments of its target, which are no plain values.

    Raises:
        InputError: If a target is not in that table, and of no trusted package, or does not accept its
            arguments.
    """
    check_section(plain := to_plain(config), section, section)
    try:
        return hydra.utils.instantiate(plain, _partial_=True)(**objects) if objects else _instantiate(plain)
    except (TypeError, ValueError) as error:
        raise InputError(f"{plain.get('_target_')}: {one_line(error)}") from error


def _instantiate(plain: Config) -> Any:
    try:
        return hydra.utils.instantiate(plain)
    except InstantiationException as error:
        raise InputError(one_line(error)) from error


def remember(value: T, config: Config) -> T:
    """Let an object know the config that it was built from; see `built_from`."""
    value.built_from = to_plain(config)  # type: ignore[attr-defined]
    return value


def built_from(value: object) -> dict[str, Any] | None:
    """The config that an object was built from, as plain values; None if it does not know."""
    config: dict[str, Any] | None = getattr(value, "built_from", None)
    return config


def to_plain(config: Config) -> dict[str, Any]:
    """A config as dicts, lists, numbers and strings, interpolations resolved."""
    made = config if OmegaConf.is_config(config) else OmegaConf.create(dict(config))
    plain: dict[str, Any] = OmegaConf.to_container(made, resolve=True)  # type: ignore[assignment]
    return plain
