"""The options of ``data``, composed where no training is."""

import contextlib
from typing import Any

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from busi.core import InputError, one_line, open_configs, own_search_path, to_plain


def list_data() -> list[str]:
    """Names of the options of ``data``."""
    with _hydra():
        loader = GlobalHydra.instance().config_loader()
        return sorted(loader.get_group_options("data", overrides=_search_path()))


def compose_data(name: str, alone: bool = False) -> dict[str, Any]:
    """Compose the option ``data=name`` without anything else of a command line.

    Returns:
        Plain values; ``root`` is None where it has to be given. With `alone`, in a third of the time, what
        values refer to in the rest of the config stays as it is written, but for ``read``.

    Raises:
        InputError: If it cannot be composed.
    """
    try:
        with _hydra():
            path = _search_path()
            if alone and not path:  # on one that is given so, Hydra finds groups alone
                option = hydra.compose(f"data/{name}")
                plain: dict[str, Any] = OmegaConf.to_container(option.data)  # type: ignore[assignment]
                if "${" not in str(plain.get("read")):
                    return plain
            config = hydra.compose("train", overrides=[f"data={name}", *path]).data
        return to_plain(config)
    except (HydraException, OmegaConfBaseException) as error:
        raise InputError(f"data={name}: {one_line(error)}") from error


def _search_path() -> list[str]:
    """What the command line says of where configs lie."""
    if not HydraConfig.initialized():
        return own_search_path()
    return [text for text in HydraConfig.get().overrides.hydra if text.startswith("hydra.searchpath=")]


def _hydra() -> Any:
    """Hydra as it is where a command runs under it, else on the configs of busi."""
    if GlobalHydra.instance().is_initialized():
        return contextlib.nullcontext()
    return open_configs()
