"""Which runs make one ensemble: grouped by fold, checked, and matched with the models of their guides."""

import json
from collections.abc import Mapping, Sequence
from itertools import groupby

from omegaconf import OmegaConf

from busi.core import InputError
from busi.models import digest_tensors
from busi.runs.checkpoints import read_best
from busi.runs.run import Run, without_places
from busi.runs.variant import rank_variant
from busi.runs.variants import drop_inner_runs

SAME_PROVENANCE = ("data", "split", "debug")
SAME_SETTINGS = ("image_size", "postprocess", "module.threshold", "data.balance", "data.need_masks")
"""Entries of the provenance and of the config that all members must share."""

Place = tuple[str, int]
"""Variant, and test fold."""


def group_runs(runs: Sequence[Run]) -> dict[Place, list[Run]]:
    """Sort runs into the members of each ensemble, segmentation first; their order as given does not matter.

    Raises:
        InputError: If no run is left, or members do not belong together.
    """
    given = {run.folder.resolve(): run for run in drop_inner_runs(runs)}
    ordered = sorted(given.values(), key=_order)
    groups = {place: list(members) for place, members in groupby(ordered, _place)}
    for members in groups.values():
        check_members(members)
    for (variant, fold), members in groups.items():
        first = next(others for place, others in groups.items() if place[0] == variant)
        if _recipes(members) != _recipes(first):
            raise InputError(
                f"{variant}: folds {first[0].provenance['fold']} and {fold} have different members "
                f"(seeds {_seeds(first)} and {_seeds(members)}). Give the same of every fold"
            )
    return groups


def check_members(members: Sequence[Run]) -> None:
    """Raise `InputError` unless runs of one stage, guide and fold can be an ensemble."""
    first, place = members[0], f"{members[0].variant}, fold {members[0].provenance['fold']}"
    if len(members) < 2:
        raise InputError(f"{place}: there is only {first.folder}. Give at least two, e.g. of other seeds")
    made_of: dict[str, Run] = {}
    for run in members:
        if run.members:
            raise InputError(f"{run.folder} is an ensemble already: give the runs that it was made of")
        if not run.finished:
            raise InputError(f"{run.folder} is not finished: {run.how_to_finish}")
        upstream = without_places(run.provenance["upstream"])
        twin = made_of.setdefault(f"{run.provenance['settings']} {upstream}", run)
        if twin is not run:
            raise InputError(f"{place}: {twin.folder} and {run.folder} are the same training. Leave one out")
        different = [name for name in SAME_PROVENANCE if run.provenance[name] != first.provenance[name]]
        different += [
            name
            for name in SAME_SETTINGS
            if OmegaConf.select(run.config, name) != OmegaConf.select(first.config, name)
        ]
        if different:
            raise InputError(
                f"{place}: {first.folder} and {run.folder} differ in {', '.join(different)}, and cannot be "
                "one ensemble"
            )


def find_segmenter(place: Place, groups: Mapping[Place, Sequence[Run]]) -> Place | None:
    """Find the segmentation ensemble that makes the guides of an ensemble of classifiers.

    It is the ensemble of the segmentation models that the classifiers carry inside.

    Returns:
        Its place; None if the classifiers carry no model or all the same one, and for segmentation itself.

    Raises:
        InputError: If they carry different models, and the runs of exactly these were not given.
    """
    variant, fold = place
    inside = {_digest(run, "segmenter.") for run in groups[place] if variant != "segmentation"}
    if len(inside) < 2:
        return None
    given = {_digest(run, "network."): run for run in groups.get(("segmentation", fold), [])}
    if given.keys() == inside:
        return "segmentation", fold
    extra = ", ".join(str(given[digest].folder) for digest in given.keys() - inside)
    how = f"Leave out those that no classifier carries: {extra}" if extra else "Give the runs of all of them"
    raise InputError(
        f"{variant}, fold {fold}: these classifiers carry {len(inside)} segmentation models, which need "
        f"an ensemble too. {how}"
    )


def _order(run: Run) -> tuple[tuple[int, str], int, int, str, str]:
    variant, fold = _place(run)
    made_from = run.provenance["recipe"], json.dumps(run.provenance["upstream"])
    return rank_variant(variant), fold, run.config.seed, *made_from


def _place(run: Run) -> Place:
    return run.variant, int(run.provenance["fold"])


def _recipes(members: Sequence[Run]) -> list[str]:
    return [run.provenance["recipe"] for run in members]


def _seeds(members: Sequence[Run]) -> str:
    return ", ".join(str(run.config.seed) for run in members)


def _digest(run: Run, prefix: str) -> str:
    return digest_tensors(read_best(run).part(prefix))
