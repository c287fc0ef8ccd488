"""Objects that are built from a config and remember it, so that a checkpoint can say how to build them."""

import inspect
from collections.abc import Mapping
from typing import Any, TypeVar

import hydra
from hydra.errors import InstantiationException
from omegaconf import OmegaConf
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from busi.core.types import InputError

Config = Mapping[str, Any]
"""``_target_``, the dotted name of what is built, and its arguments, which may be configs too."""

T = TypeVar("T")
PACKAGES = ("busi", "segmentation_models_pytorch", "timm", "torch")


def build(config: Config) -> Any:
    """Build what a config describes.

    Only networks, losses, optimizers and schedules of known packages can be built, so that a config inside a
    checkpoint cannot call anything else.

    Raises:
        InputError: If a target is something else, does not exist, or does not accept its arguments.
    """
    _check_targets(plain := to_plain(config))
    try:
        return remember(hydra.utils.instantiate(plain), plain)
    except InstantiationException as error:
        cause = error.__cause__ if isinstance(error.__cause__, InputError) else error
        raise InputError(" ".join(str(cause).split())) from error


def construct(config: Config, **objects: Any) -> Any:
    """Instantiate a config of the command line, whose target takes objects too.

    Raises:
        InputError: If it does not accept its arguments.
    """
    try:
        return hydra.utils.instantiate(config, _partial_=True)(**objects)
    except (TypeError, ValueError) as error:
        raise InputError(f"{config['_target_']}: {' '.join(str(error).split())}") from error


def as_built(value: Any) -> Any:
    """Build a config; anything else is returned as it is."""
    return build(value) if isinstance(value, Mapping) else value


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


def _check_targets(node: object) -> None:
    if isinstance(node, list):
        for value in node:
            _check_targets(value)
    elif isinstance(node, dict):
        if (name := node.get("_target_")) is not None and not _may_be_built(str(name)):
            raise InputError(
                f"_target_={name} is no network, loss, optimizer or schedule of {', '.join(PACKAGES)}"
            )
        for value in node.values():
            _check_targets(value)


def _may_be_built(name: str) -> bool:
    if name.split(".")[0] not in PACKAGES:
        return False
    try:
        target = hydra.utils.get_object(name)
    except ImportError:
        return False
    if isinstance(target, type):
        kinds = (nn.Module, Optimizer, LRScheduler)
        return issubclass(target, kinds) and target.__module__.split(".")[0] in PACKAGES
    return inspect.isfunction(target) and target.__module__.startswith("busi.modules.")
