"""Whether runs belong into one report: the same data, split and recipe, and all folds."""

from collections.abc import Sequence
from pathlib import Path

from omegaconf import OmegaConf

from busi.core import InputError, list_some
from busi.runs.fingerprints import find_differences, not_settings
from busi.runs.predictions import Predictions
from busi.runs.run import Run
from busi.runs.settings import alike_in_a_setting
from busi.runs.variant import Variant, held_out


def check_same(found: Sequence[Predictions], name: str, word: str) -> None:
    """Raise `InputError` unless all runs share a fingerprint: ``data`` or ``split``, and the word for it."""
    by_value: dict[str, list[Predictions]] = {}
    for one in found:
        by_value.setdefault(one.run.provenance[name], []).append(one)
    if len(by_value) > 1:
        listed = "; ".join(
            f"{runs[0].config.data.name} {value}: {list_some([str(one.run.folder) for one in runs], 3)}"
            for value, runs in by_value.items()
        )
        raise InputError(
            f"these runs have {len(by_value)} different {word}s ({listed}): give the folders of one {word}"
        )


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


def check_folds(found: Sequence[Predictions], partial: bool, name: str) -> None:
    """Raise `InputError` if runs of one setting have a fold twice under one seed, or lack a fold.

    They may lack folds if the report is `partial`, or a source was held out: each run then tests all of it.

    Args:
        found: Runs of one variant and setting.
        partial: Accept missing folds.
        name: Of these runs.
    """
    seen: dict[tuple[int, int], Path] = {}
    folds: dict[int, set[int]] = {}
    for one in found:
        key = (one.seed, one.fold)
        if key in seen:
            raise InputError(
                f"fold {one.fold} of {name} with seed {one.seed} is there twice: {seen[key]} and "
                f"{one.run.folder}. Leave one out"
            )
        seen[key] = one.run.folder
        folds.setdefault(one.seed, set()).add(one.fold)
    if held_out(found[0]):
        return
    num_folds = int(found[0].config.data.num_folds)
    for seed, there in folds.items():
        if not partial and (missing := sorted(set(range(num_folds)) - there)):
            raise InputError(
                f"{name} with seed {seed} lacks fold {', '.join(map(str, missing))} of {num_folds}: "
                "run them, or say --partial for a report of what is there"
            )


def check_shared_folds(groups: Sequence[Sequence[Predictions]]) -> None:
    """Raise `InputError` if runs of different settings have no fold in common, on which to compare them."""
    if held_out(groups[0][0]) or set.intersection(*({one.fold for one in group} for group in groups)):
        return
    sizes = {len(one.run.members) or 1: one.run.folder for group in groups for one in group}
    if len(sizes) > 1:
        listed = ", ".join(f"{folder} of {size}" for size, folder in sizes.items())
        raise InputError(
            f"{groups[0][0].variant} has runs of different numbers of trainings ({listed}): report each "
            "alone, or give both on the same folds to compare them"
        )
    first, other = groups[0][0], groups[1][0]
    different = find_differences(first.config, other.config, alike_in_a_setting(first, other))
    listed = "; ".join(f"{name} {was} and {now}" for name, (was, now) in different.items())
    raise InputError(
        f"{first.run.folder} and {other.run.folder} are folds of one result, but not of one recipe: "
        f"{listed}. Run one of them again, or run both settings on the same folds to compare them"
    )


def check_variant(variant: Variant) -> None:
    """Raise `InputError` if the runs differ in settings, or in the folds of each seed."""
    runs = [one.run for seed in variant.seeds for one in seed]
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


def check_recipes(variants: Sequence[Variant]) -> None:
    """Raise `InputError` if different sources are held out, each in runs of other settings.

    Where settings share a source, they are compared there.
    """
    by_name: dict[str, list[Variant]] = {}
    for variant in variants:
        by_name.setdefault(variant.name, []).append(variant)
    for some in by_name.values():
        sources = {one.held_out for one in some}
        settings = {one.setting for one in some}
        if min(len(sources), len(settings)) < 2 or len(some) > len(sources):
            continue
        first = some[0].seeds[0][0]
        one = next(x for x in some if x.setting != some[0].setting).seeds[0][0]
        different = find_differences(first.config, one.config, alike_in_a_setting(first, one))
        listed = "; ".join(f"{name} {was} and {now}" for name, (was, now) in different.items())
        raise InputError(
            f"{first.run.folder} and {one.run.folder} leave out different hospitals, but are not of one "
            f"recipe: {listed}. Report each alone, or leave out the same hospital with both"
        )
