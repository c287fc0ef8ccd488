"""Stored predictions of finished runs, checked to belong together before anything is said about them."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int, Shaped

from busi.runs import Run, open_run
from busi.types import CLASSES, InputError


@dataclass(frozen=True)
class Predictions:
    """What one run predicted, column by column.

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

    @property
    def arm(self) -> str:
        """What guided the classifier; ``segmentation`` for a run of stage one."""
        return str(self.run.config.guide) if self.run.provenance["stage"] == "cls" else "segmentation"

    @property
    def seed(self) -> int:
        """Of the training."""
        return int(self.run.config.seed)

    def part(self, split: str) -> dict[str, Shaped[np.ndarray, " m"]]:
        """The rows of ``val`` or ``test``."""
        chosen = self.columns["split"] == split
        return {name: column[chosen] for name, column in self.columns.items()}

    def labels(self, split: str) -> Int[np.ndarray, " m"]:
        """True classes of a split."""
        return self.part(split)["label"]

    def logits(self, split: str) -> Float[np.ndarray, "m 3"]:
        """Logits of a split, one column a class."""
        rows = self.part(split)
        return np.stack([rows[f"logit_{name}"] for name in CLASSES], axis=1)


def read_evidence(folders: Sequence[Path], partial: bool) -> list[Predictions]:
    """Read runs that may stand in one report, by arm, seed and fold.

    Args:
        folders: Run folders, or folders of them (a sweep).
        partial: Accept fewer folds than the split has.

    Raises:
        InputError: If a folder holds no run; a run is not finished, not tested or damaged; runs differ in
            data or split; an arm has a fold twice under one seed, or lacks one and `partial` is not set.
    """
    runs = [run for folder in folders for run in find(folder)]
    unfinished = [str(run.folder) for run in runs if not run.finished]
    if unfinished:
        raise InputError(
            f"{len(unfinished)} runs are not finished: {', '.join(unfinished[:5])}. Go on with each by "
            "python -m busi.train resume=FOLDER, or leave them out"
        )
    inner = [run for run in runs if run.provenance.get("leave_out") is not None]
    found = [read_predictions(run) for run in runs if run not in inner]
    if not found:
        raise InputError("only runs with data.leave_out were given: they guide others, and judge nothing")
    check_same(found, "data", "data sets")
    check_same(found, "split", "splits")
    check_folds(found, partial)
    return sorted(found, key=lambda one: (one.arm != "segmentation", one.arm, one.seed, one.fold))


def find(folder: Path) -> list[Run]:
    """The run in a folder, or the runs below it."""
    if (folder / "provenance.json").is_file():
        return [open_run(folder)]
    below = sorted(path.parent for path in folder.glob("**/provenance.json"))
    if not below:
        raise InputError(f"{folder} is no run folder, and has none below it")
    return [open_run(path) for path in below]


def read_predictions(run: Run) -> Predictions:
    """Read the predictions of a run that scored its test fold.

    Raises:
        InputError: If it did not, or the file is missing or damaged.
    """
    if not run.provenance.get("tested"):
        raise InputError(
            f"{run.folder} did not score its test fold: python -m busi.train resume={run.folder} test=true"
        )
    path = run.folder / "predictions.csv"
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        columns = {name: _column(name, [row[name] for row in rows]) for name in rows[0]}
        labels = np.array([CLASSES.index(name) for name in columns["label"]])
    except (OSError, KeyError, IndexError, ValueError, TypeError) as error:
        raise InputError(
            f"{path} is missing or damaged ({type(error).__name__}): make it again with "
            f"python -m busi.train resume={run.folder}"
        ) from error
    return Predictions(run, {**columns, "label": labels})


def check_same(found: Sequence[Predictions], name: str, words: str) -> None:
    """Raise `InputError` unless all runs share a fingerprint."""
    by_value: dict[str, list[str]] = {}
    for one in found:
        by_value.setdefault(one.run.provenance[name], []).append(str(one.run.folder))
    if len(by_value) > 1:
        listed = "; ".join(f"{value}: {', '.join(folders[:3])}" for value, folders in by_value.items())
        raise InputError(f"these runs are of {len(by_value)} different {words} ({listed}): report each alone")


def check_folds(found: Sequence[Predictions], partial: bool) -> None:
    """Raise `InputError` if an arm has a fold twice under one seed, or not every fold of the split."""
    seen: dict[tuple[str, int, int], Path] = {}
    folds: dict[tuple[str, int], set[int]] = {}
    for one in found:
        key = (one.arm, one.seed, one.fold)
        if key in seen:
            raise InputError(
                f"fold {one.fold} of {one.arm} with seed {one.seed} is there twice: {seen[key]} and "
                f"{one.run.folder}. Leave one out"
            )
        seen[key] = one.run.folder
        folds.setdefault((one.arm, one.seed), set()).add(one.fold)
    num_folds = int(found[0].run.config.data.num_folds)
    for (arm, seed), there in folds.items():
        if missing := sorted(set(range(num_folds)) - there):
            if partial:
                continue
            raise InputError(
                f"{arm} with seed {seed} lacks fold {', '.join(map(str, missing))} of {num_folds}: run them, "
                "or say --partial for a report of what is there"
            )


def _column(name: str, texts: Sequence[str]) -> Shaped[np.ndarray, " n"]:
    if name in ("id", "label", "split", "pred"):
        return np.array(texts)
    if name in ("group", "fold", "marked"):
        return np.array([int(text) for text in texts])
    return np.array([float(text) if text else np.nan for text in texts])
