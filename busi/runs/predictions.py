"""What a finished run predicted, read from its folder."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped
from omegaconf import DictConfig, OmegaConf

from busi.core import CLASSES, InputError, Record, construct, expand, read_table
from busi.data import read_sources
from busi.runs.run import Run, name_variant
from busi.runs.stored import Shortcut, check_stored

COLUMNS = ("id", "source", "label", "group", "fold", "split", "lesion_share", "burned_in")
SPLIT_COLUMNS = ("id", "source", "label", "fold", "split", "reason")
STAGE_COLUMNS = {
    "seg": ("dice", "iou", "hd95", "area", "pred_area"),
    "cls": tuple(f"logit_{name}" for name in CLASSES),
}
"""Columns that ``predictions.csv`` must have, in any stage and in each."""


@dataclass(frozen=True)
class Predictions:
    """The predictions of one run, column by column.

    Attributes:
        run: The run folder.
        columns: Of ``predictions.csv``; numbers as floats, ``label`` as positions in `CLASSES`.
    """

    run: Run
    columns: dict[str, Shaped[np.ndarray, " n"]]

    @property
    def fold(self) -> int:
        """The test fold."""
        return int(self.run.provenance["fold"])

    @cached_property
    def config(self) -> DictConfig:
        """The config of the run, read once."""
        return self.run.config

    @property
    def variant(self) -> str:
        """See `busi.runs.run.Run.variant`."""
        return name_variant(self.config)

    @property
    def seed(self) -> int:
        """Seed of the training; of an ensemble, that of its first member."""
        return int(self.config.seed)

    @property
    def seeds(self) -> list[int]:
        """Seeds of all trainings that went into the run: one, or those of an ensemble's members."""
        return list(self.run.provenance.get("seeds", [self.seed]))

    def part(self, split: str) -> dict[str, Shaped[np.ndarray, " m"]]:
        """The rows of ``val`` or ``test``."""
        kept = self.columns["split"] == split
        return take(self.columns, kept)

    def labels(self, split: str) -> Int[np.ndarray, " m"]:
        """True classes of a split."""
        return self.part(split)["label"]

    def logits(self, split: str) -> Float[np.ndarray, "m 3"]:
        """Logits of a split, one column for each class."""
        rows = self.part(split)
        return np.stack([rows[f"logit_{name}"] for name in CLASSES], axis=1)


def take(
    columns: Mapping[str, Shaped[np.ndarray, " n"]], kept: Shaped[np.ndarray, " m"]
) -> dict[str, Shaped[np.ndarray, " k"]]:
    """These rows of columns, given as positions or as yes and no."""
    return {name: column[kept] for name, column in columns.items()}


def learned_classes(run: Run) -> Bool[np.ndarray, " 3"]:
    """Which classes have training images in a run; all of them where its ``split.csv`` does not say it."""
    rows = read_split(run) if (run.folder / "split.csv").is_file() else []
    there = {row["label"] for row in rows if row["split"] == "train"} or CLASSES
    return np.array([name in there for name in CLASSES])


def read_split(run: Run) -> list[dict[str, str]]:
    """The rows of ``split.csv`` of a run.

    Raises:
        InputError: If it is missing or damaged, or not the one that the run wrote.
    """
    path = run.file("split.csv")
    try:
        rows = read_table(path)
    except (OSError, InputError) as error:
        raise InputError(f"{path} is missing or damaged: train this run again") from error
    if rows and not rows[0].keys() >= {*SPLIT_COLUMNS}:
        raise InputError(f"{path} lacks columns: train this run again")
    return rows


def find_records(run: Run, root: Path | None = None) -> dict[str, Record]:
    """List the data set of a run, by the ids of its images; no image is opened.

    Args:
        run: A run folder.
        root: Where the data is now, if it was moved.

    Raises:
        InputError: If the data is not there, or is read by a function of a package that is not trusted.
    """
    return {record.id: record for record in list_records(run.config.data, root)}


def find_records_of(runs: Mapping[int, Run]) -> dict[int, dict[str, Record]]:
    """List the data sets of several runs, each data set once; see `find_records`.

    Args:
        runs: By any number, which the records are given under.
    """
    known: dict[str, dict[str, Record]] = {}
    found: dict[int, dict[str, Record]] = {}
    for number, run in runs.items():
        where = OmegaConf.to_yaml({name: run.config.data.get(name) for name in ("root", "read", "sources")})
        if where not in known:
            known[where] = find_records(run)
        found[number] = known[where]
    return found


def list_records(config: DictConfig, root: Path | None = None) -> list[Record]:
    """List the data set that a config describes; see `find_records`.

    Args:
        config: The part ``data`` of a run's config.
        root: Where the data is now, if it was moved.
    """
    if config.sources and root is None:
        return read_sources(config.sources)[0]
    if config.sources:
        raise InputError(
            f"{root}: this run has several data sets ({', '.join(config.sources)}), leave it out"
        )
    read = construct({**config.read, "_partial_": True}, "data")
    records, _ = read(expand(root or config.root))
    return list(records)


def read_predictions(run: Run) -> Predictions:
    """Read the predictions of a run that scored its test fold.

    Raises:
        InputError: If it did not, or the file is missing or damaged, or lacks a split.
    """
    if not run.provenance.get("tested"):
        raise InputError(f"{run.folder} is not tested: {run.how_to_test}")
    path, columns = run.folder / "predictions.csv", read_run_columns(run)
    if missing := {"val", "test"} - set(columns["split"].tolist()):
        raise InputError(f"{path} has no {' and no '.join(sorted(missing))} images: train this run again")
    return Predictions(run, columns)


def read_shortcut(run: Run) -> Shortcut | None:
    """Read ``shortcut.json`` of a run; None where it has none, because it scored a single source.

    Raises:
        InputError: If it is damaged, or not the one that the run wrote.
    """
    path = run.file("shortcut.json")
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} is damaged: train this run again") from error
    check_stored(Shortcut, content, path)
    return Shortcut.model_validate(content)


def read_run_columns(run: Run) -> dict[str, Shaped[np.ndarray, " n"]]:
    """Read ``predictions.csv`` of a run, whether or not it scored its test fold.

    Raises:
        InputError: If it is missing, damaged, or not the one that the run wrote.
    """
    return read_columns(run.file("predictions.csv"), run.provenance["stage"])


def read_trained(run: Run) -> tuple[Int[np.ndarray, " n"], list[str]]:
    """Labels and sources of the training images of a run, in the order of ``split.csv``.

    Raises:
        InputError: If the file is missing or damaged, or not the one that the run wrote.
    """
    rows = [row for row in read_split(run) if row["split"] == "train"]
    return np.array([CLASSES.index(row["label"]) for row in rows], int), [row["source"] for row in rows]


def read_columns(path: Path, stage: str) -> dict[str, Shaped[np.ndarray, " n"]]:
    """Read ``predictions.csv`` of a stage, column by column; see `Predictions`.

    Raises:
        InputError: If the file is missing or damaged, or lacks a column.
    """
    try:
        rows = read_table(path)
        names = dict.fromkeys([*rows[0], *COLUMNS, *STAGE_COLUMNS[stage]])
        columns = {name: _column(name, [row[name] for row in rows]) for name in names}
        return {**columns, "label": np.array([CLASSES.index(name) for name in columns["label"]])}
    except (InputError, OSError, KeyError, IndexError, ValueError, TypeError) as error:
        raise InputError(
            f"{path} is missing, damaged or of an older version ({error}): train this run again"
        ) from error


def _column(name: str, texts: Sequence[str]) -> Shaped[np.ndarray, " n"]:
    if name in ("id", "source", "label", "split", "pred"):
        return np.array(texts)
    if name in ("group", "fold", "burned_in"):
        return np.array([int(text) for text in texts])
    return np.array([float(text) if text else np.nan for text in texts])
