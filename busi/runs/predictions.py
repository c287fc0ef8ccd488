"""Stored predictions of finished runs, checked to belong together before anything is said about them."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import hydra
import numpy as np
from jaxtyping import Float, Int, Shaped
from omegaconf import OmegaConf

from busi.core import CLASSES, InputError, Record, read_table
from busi.runs.fingerprints import NOT_SETTINGS, find_differences
from busi.runs.run import UPPER_BOUND, Run, open_run

ARMS = ("segmentation", "crossfit", "predicted", "blank", "annotated")
"""Names of what is judged, in the order of a report."""


NEEDED = ("id", "label", "group", "fold", "split", "lesion_share", "marked")
NEEDED_OF = {
    "seg": ("dice", "iou", "hd95", "area", "pred_area"),
    "cls": tuple(f"logit_{name}" for name in CLASSES),
}
"""Columns that ``predictions.csv`` must have, in any stage and in each."""


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
    def seed(self) -> int:
        """Of the training; of an ensemble, of its first member."""
        return int(self.run.config.seed)

    @property
    def seeds(self) -> list[int]:
        """Of all trainings that went into the run: one, or those of an ensemble's members."""
        return list(self.run.provenance.get("seeds", [self.seed]))

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


@dataclass(frozen=True)
class Arm:
    """The runs that are judged as one: segmentation, or diagnosis with one kind of guide.

    Attributes:
        name: ``segmentation``, or what guided the classifier.
        seeds: The runs of each seed, fold by fold; every seed has the same folds.
    """

    name: str
    seeds: tuple[tuple[Predictions, ...], ...]

    @property
    def folds(self) -> tuple[int, ...]:
        """The folds that were tested."""
        return tuple(one.fold for one in self.seeds[0])

    @property
    def title(self) -> str:
        """The name, with a warning where the guide gives the label away."""
        return f"{self.name}{UPPER_BOUND.get(self.name, '')}"

    @property
    def trainings(self) -> str:
        """In words, how many trainings a number is the mean of, or an ensemble."""
        if members := self.seeds[0][0].run.members:
            count = "an ensemble" if len(self.seeds) == 1 else f"{len(self.seeds)} ensembles"
            return f"{count} of {len(members)} trainings"
        return "one seed" if len(self.seeds) == 1 else f"{len(self.seeds)} seeds"

    def only(self, folds: Sequence[int]) -> "Arm":
        """The same with these folds alone."""
        seeds = (tuple(one for one in seed if one.fold in folds) for seed in self.seeds)
        return Arm(self.name, tuple(seeds))


def read_evidence(folders: Sequence[Path], partial: bool) -> list[Arm]:
    """Read runs that may stand in one report: segmentation first, then diagnosis by guide.

    Args:
        folders: Run folders, or folders of them (a sweep).
        partial: Accept fewer folds than the split has.

    Raises:
        InputError: If a folder holds no run; a run is not finished, not tested or damaged; runs differ in
            data or split; an arm has a fold twice under one seed, lacks one and `partial` is not set, has
            other folds under another seed, or folds of different settings.
    """
    runs = [run for folder in folders for run in find(folder)]
    if unfinished := [run for run in runs if not run.finished]:
        listed = ", ".join(str(run.folder) for run in unfinished[:5])
        raise InputError(
            f"{len(unfinished)} runs are not finished: {listed}. "
            f"Go on with each ({unfinished[0].how_to_finish}), or leave them out"
        )
    inner = [run for run in runs if run.provenance.get("leave_out") is not None]
    found = [read_predictions(run) for run in runs if run not in inner]
    if not found:
        raise InputError("only runs with data.leave_out were given: they guide others, and judge nothing")
    check_same(found, "data", "data sets")
    check_same(found, "split", "splits")
    check_folds(found, partial)
    found = sorted(found, key=lambda one: (ARMS.index(one.run.arm), one.seed, one.fold))
    arms = []
    for name, runs_of_arm in groupby(found, key=lambda one: one.run.arm):
        seeds = (tuple(folds) for _, folds in groupby(runs_of_arm, key=lambda one: one.seed))
        arms.append(Arm(name, tuple(seeds)))
    for arm in arms:
        check_arm(arm)
    return arms


def find_records(run: Run, root: Path | None = None) -> dict[str, Record]:
    """The pictures of a run's data by their ids, as files that are not opened.

    Args:
        run: A run folder.
        root: Where its data lies, if it was moved.

    Raises:
        InputError: If the data is not where it was, or is read by a function of another package.
    """
    node: dict[str, Any] = OmegaConf.to_container(run.config.data.read)  # type: ignore[assignment]
    target = node.pop("_target_")
    node.pop("_partial_", None)
    if not target.startswith("busi.data."):
        raise InputError(f"{target}, which reads the data of {run.folder}, is not of busi")
    records, _ = hydra.utils.get_method(target)(Path(root or run.config.data.root).expanduser(), **node)
    return {record.id: record for record in records}


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
        InputError: If it did not, or the file is missing or damaged, or lacks a split.
    """
    if not run.provenance.get("tested"):
        how = "let its members, and make it again: " if run.members else ""
        scored = run.members or [str(run.folder)]
        commands = "; ".join(f"python -m busi.train resume={folder} test=true" for folder in scored)
        raise InputError(f"{run.folder} did not score its test fold: {how}{commands}")
    path = run.folder / "predictions.csv"
    columns = read_columns(path, run.provenance["stage"])
    if missing := {"val", "test"} - set(columns["split"].tolist()):
        raise InputError(f"{path} has no {' and no '.join(sorted(missing))} pictures: train this run again")
    return Predictions(run, columns)


def read_columns(path: Path, stage: str) -> dict[str, Shaped[np.ndarray, " n"]]:
    """Read ``predictions.csv`` of a stage, column by column; see `Predictions`.

    Raises:
        InputError: If the file is missing or damaged, or lacks a column.
    """
    try:
        rows = read_table(path)
        names = dict.fromkeys([*rows[0], *NEEDED, *NEEDED_OF[stage]])
        columns = {name: _column(name, [row[name] for row in rows]) for name in names}
        return {**columns, "label": np.array([CLASSES.index(name) for name in columns["label"]])}
    except (OSError, KeyError, IndexError, ValueError, TypeError) as error:
        raise InputError(
            f"{path} is missing, damaged or of an older version ({error}): train this run again"
        ) from error


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
        key = (one.run.arm, one.seed, one.fold)
        if key in seen:
            raise InputError(
                f"fold {one.fold} of {one.run.arm} with seed {one.seed} is there twice: {seen[key]} and "
                f"{one.run.folder}. Leave one out"
            )
        seen[key] = one.run.folder
        folds.setdefault((one.run.arm, one.seed), set()).add(one.fold)
    num_folds = int(found[0].run.config.data.num_folds)
    for (arm, seed), there in folds.items():
        if missing := sorted(set(range(num_folds)) - there):
            if partial:
                continue
            raise InputError(
                f"{arm} with seed {seed} lacks fold {', '.join(map(str, missing))} of {num_folds}: run them, "
                "or say --partial for a report of what is there"
            )


def check_arm(arm: Arm) -> None:
    """Raise `InputError` if seeds have different folds, folds other settings, or some are ensembles."""
    runs = [one.run for seed in arm.seeds for one in seed]
    sizes = {len(run.members) or 1: run.folder for run in runs}
    if len(sizes) > 1:
        listed = ", ".join(f"{folder} of {size}" for size, folder in sizes.items())
        raise InputError(
            f"{arm.name} has runs of different numbers of trainings ({listed}): report each alone"
        )
    for seed in arm.seeds:
        if folds := {one.fold for one in seed} ^ set(arm.folds):
            raise InputError(
                f"the seeds of {arm.name} have different folds ({', '.join(map(str, sorted(folds)))}): give "
                "the same folds of every seed"
            )
        for one in seed:
            first = seed[0].run
            different = find_differences(first.config, one.run.config, (*NOT_SETTINGS, "data.fold"))
            if different or one.run.provenance["recipe"] != first.provenance["recipe"]:
                listed = "; ".join(f"{name} {was} and {now}" for name, (was, now) in different.items())
                raise InputError(
                    f"{first.folder} and {one.run.folder} are folds of one result, but not of one recipe: "
                    f"{listed}. Run one of them again"
                )


def _column(name: str, texts: Sequence[str]) -> Shaped[np.ndarray, " n"]:
    if name in ("id", "label", "split", "pred"):
        return np.array(texts)
    if name in ("group", "fold", "marked"):
        return np.array([int(text) for text in texts])
    return np.array([float(text) if text else np.nan for text in texts])
