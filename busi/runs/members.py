"""Which runs make one ensemble: grouped by fold, checked, and matched with the models that guide them."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from itertools import groupby

from omegaconf import OmegaConf

from busi.core import InputError
from busi.runs.checkpoints import read_checkpoint
from busi.runs.predictions import ARMS
from busi.runs.run import Run

SAME_FACTS = ("data", "split", "debug")
SAME_SETTINGS = ("image_size", "mask_rule", "module.threshold", "data.balance", "data.need_masks")
"""What members must share; only logits are averaged."""

Place = tuple[int, int]
"""Position in `ARMS`, and test fold."""


def group_runs(runs: Sequence[Run]) -> dict[Place, list[Run]]:
    """Members by place, segmentation first, in an order that does not depend on that of the runs.

    Raises:
        InputError: If there is nothing to average, or members do not belong together.
    """
    given = {run.folder.resolve(): run for run in runs if run.provenance.get("leave_out") is None}
    if not given:
        raise InputError("only runs with data.leave_out were given: they guide others, and judge nothing")
    ordered = sorted(given.values(), key=_order)
    groups = {place: list(members) for place, members in groupby(ordered, _place)}
    for members in groups.values():
        check_members(members)
    for (arm, fold), members in groups.items():
        first = next(others for place, others in groups.items() if place[0] == arm)
        if _recipes(members) != _recipes(first):
            raise InputError(
                f"{ARMS[arm]}: folds {first[0].provenance['fold']} and {fold} have different members (seeds "
                f"{_seeds(first)} and {_seeds(members)}). Give the same of every fold"
            )
    return groups


def check_members(members: Sequence[Run]) -> None:
    """Raise `InputError` unless runs of one stage, guide and fold can be an ensemble."""
    first, place = members[0], f"{members[0].arm}, fold {members[0].provenance['fold']}"
    if len(members) < 2:
        raise InputError(f"{place}: there is only {first.folder}. Give at least two, e.g. of other seeds")
    made_of: dict[str, Run] = {}
    for run in members:
        if run.members:
            raise InputError(f"{run.folder} is an ensemble already: give the runs that it was made of")
        if not run.finished:
            raise InputError(f"{run.folder} is not finished: {run.how_to_finish}")
        twin = made_of.setdefault(f"{run.provenance['settings']} {run.provenance['parents']}", run)
        if twin is not run:
            raise InputError(f"{place}: {twin.folder} and {run.folder} are the same training. Leave one out")
        different = [name for name in SAME_FACTS if run.provenance[name] != first.provenance[name]]
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


def find_segmenters(place: Place, groups: Mapping[Place, Sequence[Run]]) -> Place | None:
    """Whose ensemble guides that of some classifiers: the one of the segmentation models that they carry.

    None where they carry none, or share one, and for segmentation itself.

    Raises:
        InputError: If they carry several, and the runs of just these were not given.
    """
    arm, segmentation = ARMS[place[0]], ARMS.index("segmentation")
    inside = {_digest(run, "segmenter.") for run in groups[place] if place[0] != segmentation}
    if len(inside) < 2:
        return None
    given = {_digest(run, "network."): run for run in groups.get((segmentation, place[1]), [])}
    if given.keys() == inside:
        return segmentation, place[1]
    extra = [str(given[digest].folder) for digest in given.keys() - inside]
    raise InputError(
        f"{arm}, fold {place[1]}: these classifiers carry {len(inside)} segmentation models, which need an "
        "ensemble too. "
        + (f"Leave out what is none of them: {', '.join(extra)}" if extra else "Give the runs of all of them")
    )


def _order(run: Run) -> tuple[Place, int, str, str]:
    return _place(run), run.config.seed, run.provenance["recipe"], json.dumps(run.provenance["parents"])


def _place(run: Run) -> Place:
    return ARMS.index(run.arm), int(run.provenance["fold"])


def _recipes(members: Sequence[Run]) -> list[str]:
    return [run.provenance["recipe"] for run in members]


def _seeds(members: Sequence[Run]) -> str:
    return ", ".join(str(run.config.seed) for run in members)


def _digest(run: Run, prefix: str) -> str:
    """Of the weights of one part of a run's best checkpoint."""
    digest = hashlib.sha256()
    for name, x in sorted(read_checkpoint(run.best_checkpoint).part(prefix).items()):
        digest.update(name.encode() + x.contiguous().numpy().tobytes())
    return digest.hexdigest()
