"""Run folders found again: all of a stage, the one of the same content, and what one was started with."""

import contextlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig

from busi.core import InputError, read_table, walk
from busi.data import Cohort
from busi.runs.fingerprints import FOLD_SETTINGS, folds_that_train, settings_fingerprint
from busi.runs.run import Run, open_run, without_places


def list_run_folders(folder: Path) -> list[Path]:
    """All run folders below a folder, in order; a run that is collected there by a link, or twice, once."""
    return sorted(place for place, _, names in walk(folder) if "provenance.json" in names)


def find_runs(output_dir: Path, stage: str) -> list[Run]:
    """All finished runs of a stage below a folder, newest first; what is unreadable is not finished."""
    found = []
    for folder in list_run_folders(output_dir):
        with contextlib.suppress(InputError):
            run = open_run(folder)
            if run.finished and run.provenance["stage"] == stage:
                found.append(run)
    return sorted(found, key=lambda run: str(run.provenance["finished"]), reverse=True)


def find_same(
    cfg: DictConfig, cohort: Cohort, upstream: dict[str, Any], guided_by: Mapping[str, Path] | None = None
) -> Run | None:
    """The newest finished run of the same content, whatever its name: None if there is none.

    A run with ``data.leave_out`` chooses nothing, so it is what it was trained on, whichever fold was its
    test fold; but where sources only train, the fold says which of their images did.

    Args:
        cfg: Of a run that has not begun.
        cohort: Its images.
        upstream: See `busi.runs.run.start_run`.
        guided_by: Id of an image -> run folder behind its guide, where these differ.
    """
    guides = {folder.resolve() for folder in (guided_by or {}).values()}
    wanted = {
        "debug": cfg.debug,
        "data": cohort.data_fingerprint,
        "split": cohort.split_fingerprint,
        "recipe": settings_fingerprint(cfg, FOLD_SETTINGS),
        "trained_on": folds_that_train(cfg),
        "upstream": without_places(upstream),
    }
    if cfg.data.leave_out is None:
        wanted["settings"] = settings_fingerprint(cfg)
    if cfg.data.leave_out is None or cfg.data.train_only:
        wanted["fold"] = cfg.data.fold
    for run in find_runs(Path(cfg.output_dir), cfg.stage):
        inner = run.provenance.get("leave_out") is not None
        there = {**run.provenance, "upstream": without_places(run.provenance["upstream"])}
        if (
            inner == (cfg.data.leave_out is not None)
            and all(there.get(name) == value for name, value in wanted.items())
            and read_guide_runs(run.folder) == guides
        ):
            return run
    return None


def read_guide_runs(folder: Path) -> set[Path]:
    """The runs in ``guides.csv`` of a run folder; none where there is no such table."""
    path = folder / "guides.csv"
    return {(folder / row["run"]).resolve() for row in read_table(path)} if path.exists() else set()


NO_SETTINGS = ("hydra", "trust")
"""What overrides begin with that set nothing of a run."""


def knows_overrides(folder: Path) -> bool:
    """Whether `read_overrides` gives all settings that a run was started with."""
    texts = _stored_overrides(folder)
    if texts is None:
        return False
    return len([text for text in texts if not text.startswith(NO_SETTINGS)]) == len(read_overrides(folder))


def read_overrides(folder: Path) -> list[str]:
    """The settings that a run was started with, as Hydra stored them, to be shown.

    Only ``name=value`` with plain names and values: nothing that would configure Hydra, or name a class.
    """
    plain = re.compile(r"[a-z][\w.]*=[\w.,/+\[\]-]*", re.ASCII)
    return [
        text
        for text in _stored_overrides(folder) or ()
        if plain.fullmatch(text) and not text.startswith(NO_SETTINGS) and "_target_" not in text
    ]


def _stored_overrides(folder: Path) -> list[str] | None:
    """What was typed, as Hydra stored it; None where nobody knows."""
    path = folder / ".hydra" / "overrides.yaml"
    try:
        stored = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return None
    return list(map(str, stored)) if isinstance(stored, list) else None
