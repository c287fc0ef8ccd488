"""What a run that goes on takes from its folder, and what from the command line.

The folder may come from somebody else. So it gives the settings that shape the weights, and the command line
all else: where things lie, where the run is logged, and which packages are trusted.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from busi.core import InputError, trusted
from busi.data import make_absolute
from busi.runs import PLACES, REPEATED, Run, compare_values, flatten

log = logging.getLogger(__name__)

MAY_CHANGE = ("data.root", "data.sources", "data.num_workers", "data.cache_gb", "cache_dir", "logger")
"""Settings that a run may go on with in place of its own."""
GIVE_SOURCES = ("data.sources", "data.train_only", "data.hold_out")
"""Settings that may say where the data sets of a pool are."""
NOT_COMPARED = (*PLACES, *REPEATED, "logger", "resume", "test", "trust")
PLACED = (
    "dirpath",
    "save_dir",
    "default_root_dir",
    "dir",
    "folder",
    "filename",
    "name",
    "version",
    "run_dir",
)
"""Arguments of callbacks, loggers and trainers that say where files go."""


def check_asked(run: Run, cfg: DictConfig, default: DictConfig, said: Sequence[str]) -> None:
    """Check that a command line asks a run for nothing but what it was started with.

    Args:
        run: The run that goes on.
        cfg: Composed from the command line; resolved.
        default: Composed from nothing but the stage; resolved.
        said: The settings on the command line, ``name=value``.

    Raises:
        InputError: If it asks for something else.
    """
    asked, usual, there = (flatten(one, NOT_COMPARED) for one in (cfg, default, started_with(run)))
    keys = [text.lstrip("+~").partition("=")[0].partition("@")[0].replace("/", ".") for text in said]
    names = [
        name
        for name, value in asked.items()
        if value != usual.get(name) or any(name == key or name.startswith(f"{key}.") for key in keys)
    ]
    refuse_differences(run.folder, compare_values(there, asked, names))


def started_with(run: Run) -> DictConfig:
    """The config of a run, as one that is composed now: an older run has paths as they were typed."""
    cfg = run.config.copy()
    make_absolute(cfg.data)
    return cfg


def refuse_differences(folder: Path, different: Mapping[str, tuple[object, object]]) -> None:
    """Raise `InputError` if a run was started with something else than is asked for."""
    if different:
        listed = "; ".join(f"{name} {was} (asked: {now})" for name, (was, now) in different.items())
        raise InputError(f"{folder} was started with {listed}: leave that out, or start a new run")


def read_changes(cfg: DictConfig, said: Sequence[str]) -> dict[str, Any]:
    """Of the settings on the command line, those that a run may go on with in place of its own.

    Args:
        cfg: Composed from the command line; resolved.
        said: The settings on the command line, ``name=value``.
    """
    keys = [text.lstrip("+~").partition("=")[0] for text in said]
    changes = {
        name: OmegaConf.select(cfg, name)
        for name in MAY_CHANGE
        if any(key == name or key.startswith(f"{name}.") for key in keys)
    }
    if cfg.data.sources and any(key.startswith(GIVE_SOURCES) for key in keys):
        changes["data.sources"] = cfg.data.sources
    return changes


def settings_to_go_on(run: Run, changes: Mapping[str, Any]) -> DictConfig:
    """The config that a run goes on with.

    Args:
        run: May come from somebody else.
        changes: See `read_changes`.

    Raises:
        InputError: If its folder was moved, it would write files outside of it, or is given other data sets.
    """
    cfg = run.config.copy()
    if "data.root" in changes or "data.sources" in changes:
        _check_sources(run, changes.get("data.sources"))
    if "logger" not in changes:
        changes = {**changes, "logger": _local_loggers(cfg.logger)}
    for name, value in changes.items():
        OmegaConf.update(cfg, name, value, merge=False)
    if "cache_dir" in changes:
        cfg.data.cache_dir = cfg.cache_dir
    cfg.reuse = cfg.data.download = False
    cfg.trust = trusted()
    _check_places(run, cfg)
    if segmentation := run.provenance["upstream"].get("segmentation"):
        cfg.seg_ckpt = cfg.guide.seg_ckpt = segmentation
    return cfg


def _check_sources(run: Run, given: Mapping[str, Any] | None) -> None:
    there = list(run.config.data.sources or ())
    if there != list(given or ()):
        listed = f"the data sets {', '.join(there)}" if there else "a single data set"
        one = "data.sources, which names all of them" if there else "data.root"
        raise InputError(f"{run.folder} was started with {listed}: say where the data is with {one}")


def _local_loggers(loggers: DictConfig) -> dict[str, Any]:
    kept: dict[str, Any] = OmegaConf.to_container(loggers)  # type: ignore[assignment]
    for name, node in loggers.items():
        if (
            "_target_" in node
            and str(node._target_).endswith("wandb_logger")
            and node.get("offline") is not True
        ):
            log.warning("Nothing more is sent to W&B, unless you say so again: logger=%s", name)
            del kept[str(name)]
    return kept


def _check_places(run: Run, cfg: DictConfig) -> None:
    parts = {name: OmegaConf.to_container(cfg[name]) for name in ("callbacks", "logger", "trainer")}
    own = Path(cfg.run_dir)
    if own.resolve() != run.folder.resolve():
        raise InputError(f"{run.folder} was at {own} when it was stopped: move it back, or start a new run")
    for name, text in _find_places(parts, ""):
        path = Path(own, text)
        if ".." in path.parts or not path.is_relative_to(own):
            raise InputError(
                f"{run.folder} cannot go on: its {name}={text} lies outside of it. Start a new run"
            )


def _find_places(node: object, where: str) -> Iterator[tuple[str, str]]:
    if isinstance(node, dict):
        for key, value in node.items():
            name = f"{where}.{key}".lstrip(".")
            if key in PLACED and isinstance(value, str):
                yield name, value
            yield from _find_places(value, name)
