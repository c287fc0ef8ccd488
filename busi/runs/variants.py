"""Which runs can be reported together: read, sorted by variant, and checked to belong together."""

import logging
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from busi.core import InputError, list_some, real
from busi.runs.finding import list_run_folders
from busi.runs.predictions import Predictions, read_predictions
from busi.runs.run import Run, open_run
from busi.runs.settings import group_settings, name_settings
from busi.runs.variant import Variant, held_out, rank_variant
from busi.runs.variant_checks import (
    check_folds,
    check_recipes,
    check_same,
    check_shared_folds,
    check_sources,
    check_variant,
)

log = logging.getLogger(__name__)

Group = tuple[str, str, list[Predictions]]
"""Name of a variant, its setting, and the runs."""


def read_variants(folders: Sequence[Path], partial: bool) -> list[Variant]:
    """Read the runs of one report, and check that they belong together.

    Runs of one variant that differ in settings (model, loss, augmentation) are told apart, in the order in
    which they are given. Runs that hold out different sources, or none, are of one report too. A run that is
    given twice, by itself and with its folder or by a link, counts once.

    Args:
        folders: Run folders, or folders of them (a sweep).
        partial: Accept fewer folds than the split has.

    Returns:
        Those that hold out no source come first, then those of each source; segmentation first in each.

    Raises:
        InputError: If a folder holds no run; a run that is named is not finished or not tested, or none is
            left; one is damaged; or the runs do not belong together (see `check_same`, `check_folds`,
            `check_variant`).
    """
    places = {real(folder) for folder in folders}
    opened: dict[Path, Run] = {}
    for folder in folders:
        for run in open_runs(folder):
            opened.setdefault(real(run.folder), run)
    named = [run for place, run in opened.items() if place in places]
    found = [read_predictions(run) for run in pass_over_unscored(drop_inner_runs([*opened.values()]), named)]
    check_same(found, "data", "data set")
    check_sources(found)
    groups = name_groups(found)
    variants = []
    for source in sorted({held_out(one) for one in found}, key=lambda source: source or ""):
        here = [(name, setting, [x for x in some if held_out(x) == source]) for name, setting, some in groups]
        variants += make_variants([group for group in here if group[2]], partial)
    check_recipes(variants)
    return variants


def name_groups(found: Sequence[Predictions]) -> list[Group]:
    """Sort runs by variant, segmentation first, and by setting, whatever source they hold out."""
    groups: list[Group] = []
    ranked = sorted(found, key=lambda one: rank_variant(one.variant))
    for name, runs_of_variant in groupby(ranked, key=lambda one: one.variant):
        own = group_settings(list(runs_of_variant))
        groups += [(name, setting, group) for setting, group in zip(name_settings(own), own, strict=True)]
    return groups


def make_variants(groups: Sequence[Group], partial: bool) -> list[Variant]:
    """The variants of runs that hold out the same source, or none.

    Raises:
        InputError: See `read_variants`.
    """
    found = [one for *_, group in groups for one in group]
    check_same(found, "split", "split")
    key = _place if held_out(found[0]) else _seed
    variants = []
    for name, of_variant in groupby(groups, key=lambda one: one[0]):
        settings = list(of_variant)
        check_shared_folds([group for *_, group in settings])
        for _, setting, group in settings:
            check_folds(group, partial, f"{name} ({setting})" if setting else name)
            ordered = sorted(group, key=lambda one: (one.seed, one.fold))
            seeds = (tuple(folds) for _, folds in groupby(ordered, key=key))
            variants.append(Variant(name, tuple(seeds), setting))
    for variant in variants:
        check_variant(variant)
    return variants


def open_runs(folder: Path) -> list[Run]:
    """Open the run in a folder, or the runs below it; see `busi.runs.finding.list_run_folders`.

    Raises:
        InputError: If there is none.
    """
    if (folder / "provenance.json").is_file():
        return [open_run(folder)]
    below = list_run_folders(folder)
    if not below:
        raise InputError(f"{folder} is no run folder, and has none below it: give folders of runs")
    return [open_run(path) for path in below]


def pass_over_unscored(runs: Sequence[Run], named: Sequence[Run]) -> list[Run]:
    """Leave out runs that are not finished or not tested, and debug runs among others; say which.

    Raises:
        InputError: If one of them was named by itself, or no other is there.
    """
    scored = [run for run in runs if run.finished and run.provenance["tested"]]
    kept = [run for run in scored if run in named or not run.provenance["debug"]]
    kept = kept or (scored if len(scored) == len(runs) else [])
    left = [run for run in runs if run not in kept]
    if wrong := [run for run in left if run in named or not kept]:
        raise InputError(f"{_list_unscored(wrong)}; or leave them out")
    if left:
        log.warning("Left out: %s", _list_unscored(left))
    return kept


def _list_unscored(runs: Sequence[Run]) -> str:
    """Which runs a report leaves out, why, and what to type for the first of those that can go on."""
    groups: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        if not run.finished:
            reason = ("not finished", "how_to_finish")
        else:
            reason = ("for debugging", "") if run.provenance["tested"] else ("not tested", "how_to_test")
        groups.setdefault(reason, []).append(run)
    parts = []
    for (words, how), group in groups.items():
        count = "1 run is" if len(group) == 1 else f"{len(group)} runs are"
        first = ", the first with" if len(group) > 1 else ""
        command = f"{first}: {getattr(group[0], how)}" if how else ""
        parts.append(f"{count} {words} ({list_some([str(run.folder) for run in group], 5)}){command}")
    return "; ".join(parts)


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


def _seed(one: Predictions) -> tuple[int, int]:
    return one.seed, 0


def _place(one: Predictions) -> tuple[int, int]:
    return one.seed, one.fold
