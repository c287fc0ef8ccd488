"""Which runs can be reported together: read, sorted by variant, and checked to belong together."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from omegaconf import OmegaConf

from busi.core import InputError
from busi.runs.fingerprints import find_differences, not_settings
from busi.runs.predictions import Predictions, read_predictions
from busi.runs.run import Run, name_guide, open_run

VARIANTS = ("segmentation", "crossfit", "predicted", "empty", "ground_truth")
"""Names of the variants, in the order of a report: segmentation, then each guide; others come last."""


@dataclass(frozen=True)
class Variant:
    """The runs that share a row of a report: segmentation, or diagnosis with one guide.

    Attributes:
        name: ``segmentation``, or the guide of the classifier.
        seeds: The runs of each seed, fold by fold; every seed has the same folds. With a source that is held
            out every run stands alone, because each of them tests the same images.
    """

    name: str
    seeds: tuple[tuple[Predictions, ...], ...]

    @property
    def folds(self) -> tuple[int, ...]:
        """The folds of the runs, which tested them unless a source was held out."""
        return tuple(dict.fromkeys(one.fold for seed in self.seeds for one in seed))

    @property
    def held_out(self) -> str | None:
        """The source that tests alone in each run (``data.hold_out``), if there is one."""
        return held_out(self.seeds[0][0])

    @property
    def title(self) -> str:
        """The name, with a warning if the guide gives the label away."""
        return name_guide(self.name)

    @property
    def trainings(self) -> str:
        """In words, the number of seeds or ensembles that a metric is the mean of."""
        if members := self.seeds[0][0].run.members:
            count = "an ensemble" if len(self.seeds) == 1 else f"{len(self.seeds)} ensembles"
            return f"{count} of {len(members)} trainings"
        if self.held_out:
            return "one training" if len(self.seeds) == 1 else f"{len(self.seeds)} trainings"
        return "one seed" if len(self.seeds) == 1 else f"{len(self.seeds)} seeds"

    def only(self, folds: Sequence[int]) -> "Variant":
        """The same variant with these folds alone."""
        seeds = (tuple(one for one in seed if one.fold in folds) for seed in self.seeds)
        return Variant(self.name, tuple(filter(None, seeds)))


def held_out(one: Predictions) -> str | None:
    """The source that a run tests alone, if there is one."""
    source: str | None = one.config.data.hold_out
    return source


def rank_variant(name: str) -> tuple[int, str]:
    """Where a variant comes in a report: a key to sort by."""
    return (VARIANTS.index(name) if name in VARIANTS else len(VARIANTS)), name


def read_variants(folders: Sequence[Path], partial: bool) -> list[Variant]:
    """Read the runs of one report, segmentation first, and check that they belong together.

    Args:
        folders: Run folders, or folders of them (a sweep).
        partial: Accept fewer folds than the split has.

    Raises:
        InputError: If a folder holds no run; a run is not finished, did not score its test fold or is
            damaged; or the runs do not belong together (see `check_same`, `check_folds`, `check_variant`).
    """
    runs = [run for folder in folders for run in open_runs(folder)]
    if unfinished := [run for run in runs if not run.finished]:
        listed = ", ".join(str(run.folder) for run in unfinished[:5])
        raise InputError(
            f"{len(unfinished)} runs are not finished: {listed}. "
            f"Go on with each ({unfinished[0].how_to_finish}), or leave them out"
        )
    found = [read_predictions(run) for run in drop_inner_runs(runs)]
    check_same(found, "data", "data sets")
    check_same(found, "split", "splits")
    check_sources(found)
    check_folds(found, partial)
    found = sorted(found, key=lambda one: (rank_variant(one.variant), one.seed, one.fold))
    variants = []
    for name, runs_of_variant in groupby(found, key=lambda one: one.variant):
        key = _place if held_out(found[0]) else _seed
        seeds = (tuple(folds) for _, folds in groupby(runs_of_variant, key=key))
        variants.append(Variant(name, tuple(seeds)))
    for variant in variants:
        check_variant(variant)
    return variants


def open_runs(folder: Path) -> list[Run]:
    """Open the run in a folder, or the runs below it.

    Raises:
        InputError: If there is none.
    """
    if (folder / "provenance.json").is_file():
        return [open_run(folder)]
    below = sorted(path.parent for path in folder.glob("**/provenance.json"))
    if not below:
        raise InputError(f"{folder} is no run folder, and has none below it")
    return [open_run(path) for path in below]


def drop_inner_runs(runs: Sequence[Run]) -> list[Run]:
    """Leave out inner-fold runs (``data.leave_out``): they make guides for other runs and are not scored.

    Raises:
        InputError: If no other run is there.
    """
    kept = [run for run in runs if run.provenance.get("leave_out") is None]
    if not kept:
        raise InputError(
            "only runs with data.leave_out were given: they make guides for other runs, and are not scored"
        )
    return kept


def check_same(found: Sequence[Predictions], name: str, words: str) -> None:
    """Raise `InputError` unless all runs share a fingerprint."""
    by_value: dict[str, list[str]] = {}
    for one in found:
        by_value.setdefault(one.run.provenance[name], []).append(str(one.run.folder))
    if len(by_value) > 1:
        listed = "; ".join(f"{value}: {', '.join(folders[:3])}" for value, folders in by_value.items())
        raise InputError(f"these runs have {len(by_value)} different {words} ({listed}): report each alone")


def check_sources(found: Sequence[Predictions]) -> None:
    """Raise `InputError` if the runs have an image under different names of its source."""
    first: dict[str, tuple[str, Path]] = {}
    for one in found:
        for name, source in zip(one.columns["id"].tolist(), one.columns["source"].tolist(), strict=True):
            said, folder = first.setdefault(name, (source, one.run.folder))
            if said != source:
                raise InputError(
                    f"{name} is of the source {said!r} in {folder}, and of {source!r} in {one.run.folder}: "
                    "give the data the same name in both (its folder, file or key in data.sources)"
                )


def check_folds(found: Sequence[Predictions], partial: bool) -> None:
    """Raise `InputError` if a variant has a fold twice under one seed, or lacks a fold.

    It may lack folds if the report is `partial`, or a source was held out: each run then tests all of it.
    """
    seen: dict[tuple[str, int, int], Path] = {}
    folds: dict[tuple[str, int], set[int]] = {}
    for one in found:
        key = (one.variant, one.seed, one.fold)
        if key in seen:
            raise InputError(
                f"fold {one.fold} of {one.variant} with seed {one.seed} is there twice: {seen[key]} and "
                f"{one.run.folder}. Leave one out"
            )
        seen[key] = one.run.folder
        folds.setdefault((one.variant, one.seed), set()).add(one.fold)
    if held_out(found[0]):
        return
    num_folds = int(found[0].config.data.num_folds)
    for (variant, seed), there in folds.items():
        if not partial and (missing := sorted(set(range(num_folds)) - there)):
            raise InputError(
                f"{variant} with seed {seed} lacks fold {', '.join(map(str, missing))} of {num_folds}: "
                "run them, or say --partial for a report of what is there"
            )


def check_variant(variant: Variant) -> None:
    """Raise `InputError` if the runs differ in settings, in members, or in the folds of each seed."""
    runs = [one.run for seed in variant.seeds for one in seed]
    sizes = {len(run.members) or 1: run.folder for run in runs}
    if len(sizes) > 1:
        listed = ", ".join(f"{folder} of {size}" for size, folder in sizes.items())
        raise InputError(
            f"{variant.name} has runs of different numbers of trainings ({listed}): report each alone"
        )
    shared = set.intersection(*({one.fold for one in seed} for seed in variant.seeds))
    if not variant.held_out and (folds := set(variant.folds) - shared):
        listed = ", ".join(map(str, sorted(folds)))
        raise InputError(
            f"the seeds of {variant.name} have different folds ({listed}): give the same of every seed"
        )
    check_starts(variant.name, runs)
    firsts: dict[int, Predictions] = {}
    for seed in variant.seeds:
        for one in seed:
            first = firsts.setdefault(one.seed, one)
            different = find_differences(
                first.config,
                one.config,
                (*not_settings(first.config, one.config), "data.fold", "start.fold", "start.weights"),
            )
            if different or one.run.provenance["recipe"] != first.run.provenance["recipe"]:
                listed = "; ".join(f"{name} {was} and {now}" for name, (was, now) in different.items())
                raise InputError(
                    f"{first.run.folder} and {one.run.folder} are folds of one result, but not of one "
                    f"recipe: {listed}. Run one of them again"
                )


def check_starts(name: str, runs: Sequence[Run]) -> None:
    """Raise `InputError` if the runs of a variant started from weights of different recipes or trainings.

    Each fold and each seed may start from a run of its own.
    """
    trainings: dict[tuple[str, ...], tuple[str, Run]] = {}
    for run in runs:
        keys = ("recipe", "seed", "fold", "weights")
        recipe, *place, weights = (str(OmegaConf.select(run.config, f"start.{key}")) for key in keys)
        for key, value in (((), recipe), ((recipe, *place), weights)):
            there, first = trainings.setdefault(key, (value, run))
            if there != value:
                raise InputError(
                    f"{name}: {first.folder} started from {_name_start(first)}, {run.folder} from "
                    f"{_name_start(run)}, which are different trainings: report each alone"
                )


def _name_start(run: Run) -> str:
    if start := run.provenance["upstream"].get("start"):
        return str(start)
    return f"encoder_weights={OmegaConf.select(run.config, 'encoder_weights')}"


def _seed(one: Predictions) -> tuple[int, int]:
    return one.seed, 0


def _place(one: Predictions) -> tuple[int, int]:
    return one.seed, one.fold
