"""Runs of busi among submissions: the same predictions, in the order and the groups of the data."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from busi.core import CLASSES, InputError
from busi.evaluation.submission import FILE
from busi.evaluation.submitted import Truth
from busi.runs import Predictions, Variant, read_variants

SAME = ("label", "lesion_share")
"""Columns by which an image and its annotation are known to be the same."""


def holds_runs(path: Path) -> bool:
    """Whether a submission is a run folder, or a folder of them."""
    return path.is_dir() and not (path / FILE).exists() and any(path.rglob("provenance.json"))


def read_own(path: Path, truth: Truth, partial: bool) -> list[Variant]:
    """Read finished runs as a report does.

    Args:
        path: A run folder, or a folder of them.
        truth: The data.
        partial: Accept fewer folds than the split has.

    Raises:
        InputError: See `busi.runs.read_variants`; or they tested other images.
    """
    variants = read_variants([path], partial)
    if held_out := [one.held_out for one in variants if one.held_out]:
        raise InputError(f"{path} holds out {held_out[0]}: python -m busi.report reports such runs")
    if settings := [one.setting for one in variants if one.setting]:
        raise InputError(
            f"{path} has runs of several settings ({'; '.join(settings[:5])}): give the folder of each as a "
            "submission of its own"
        )
    places = {record.id: i for i, record in enumerate(truth.split.cohort.records)}
    return [
        replace(
            one,
            seeds=tuple(tuple(align(run, truth, places) for run in seed) for seed in one.seeds),
            setting=path.resolve().name,
        )
        for one in variants
    ]


def align(one: Predictions, truth: Truth, places: dict[str, int]) -> Predictions:
    """The predictions of a run with its test images in the order of the data, and with the groups of these.

    Raises:
        InputError: If one is no image of the data, or has another class or annotation there.
    """
    columns, split = one.columns, truth.split
    test = np.flatnonzero(columns["split"] == "test")
    ids = columns["id"][test].tolist()
    if unknown := [name for name in ids if name not in places]:
        raise InputError(f"{one.run.folder} tested images that the data does not have: {list_ids(unknown)}")
    if dropped := [name for name in ids if split.cohort.folds[places[name]] < 0]:
        raise InputError(f"{one.run.folder} tested images that are left out of the data: {list_ids(dropped)}")
    known = [truth(places[name]) for name in ids]
    labels = np.array([CLASSES.index(str(row["label"])) for row in known])
    shares = np.array([row["lesion_share"] for row in known], np.float64)
    same = (columns["label"][test] == labels) & np.isclose(
        columns["lesion_share"][test], shares, rtol=1e-9, equal_nan=True
    )
    if not same.all():
        other = [name for name, x in zip(ids, same.tolist(), strict=True) if not x]
        raise InputError(f"{one.run.folder} tested other images or annotations of {list_ids(other)}")
    changed = {name: column.copy() for name, column in columns.items()}
    changed["group"][test] = [row["group"] for row in known]
    sources = {name: str(truth.split.cohort.records[i].source) for name, i in places.items()}
    changed["source"] = np.array(
        [sources.get(name, own) for name, own in zip(columns["id"], columns["source"], strict=True)]
    )
    order = np.concatenate(
        [np.flatnonzero(columns["split"] != "test"), test[np.argsort([places[name] for name in ids])]]
    )
    return replace(one, columns={name: column[order] for name, column in changed.items()})


def list_ids(ids: Sequence[str], most: int = 10) -> str:
    """``3 (a, b, c)``."""
    return f"{len(ids)} ({', '.join(ids[:most])}{f' and {len(ids) - most} more' if len(ids) > most else ''})"
