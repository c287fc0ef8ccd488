"""Folds: which images train, validate and test. A split is a value, computed once from the records."""

import hashlib
import json
import warnings
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int, Int64
from sklearn.model_selection import StratifiedGroupKFold

from busi.core import CLASSES, InputError

SPLITS = ("train", "val", "test")


def assign_folds(
    ids: Sequence[str],
    labels: Int[np.ndarray, " n"],
    groups: Int[np.ndarray, " n"],
    num_folds: int,
    seed: int,
) -> Int[np.ndarray, " n"]:
    """Assign every image a fold, stratified by class; a group stays in one fold.

    The result depends on ids, labels and grouping alone: neither on the order of the records nor on
    how the groups are numbered.

    Returns:
        Fold of each image, 0 to `num_folds` - 1.

    Where no class has as many images as there are folds, or there are fewer groups, these are dealt out in
    turn.

    Source: scikit-learn's `StratifiedGroupKFold`.
    """
    order = np.argsort(np.asarray(ids))
    numbers = renumber(groups[order])
    folds = np.empty(len(order), np.int64)
    if min(np.bincount(labels).max(), numbers.max() + 1) < num_folds:
        folds[order] = numbers % num_folds
        return folds
    splitter = StratifiedGroupKFold(num_folds, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        # Of a class with fewer images than folds, of which other sources have more.
        warnings.filterwarnings("ignore", "The least populated class")
        for fold, (_, held_out) in enumerate(splitter.split(order, labels[order], numbers)):
            folds[order[held_out]] = fold
    return folds


def check_class_sizes(labels: Int[np.ndarray, " n"], groups: Int[np.ndarray, " n"], num_folds: int) -> None:
    """Raise `InputError` if a class that is present has fewer groups than there are folds."""
    for label in np.unique(labels):
        num_groups = len(np.unique(groups[labels == label]))
        if num_groups < num_folds:
            raise InputError(
                f"class {CLASSES[label]} has {num_groups} groups of images, fewer than the {num_folds} "
                "folds: give fewer folds with data.num_folds, or more images"
            )


def name_splits(
    folds: Int[np.ndarray, " n"], fold: int, num_folds: int, leave_out: int | None = None
) -> list[str]:
    """Name each image's part in the run of one fold.

    Fold k is the test fold, fold k + 1 (mod `num_folds`) the validation fold, the rest train.
    Images with fold -1 are ``dropped``, those of the training fold `leave_out` ``left_out``.
    """
    names = {leave_out: "left_out", -1: "dropped", fold: "test", (fold + 1) % num_folds: "val"}
    return [names.get(int(number), "train") for number in folds]


def separate(splits: list[str], groups: Int[np.ndarray, " n"]) -> list[bool]:
    """Which images must not be used, because one of their group is held out.

    A group that lies in one fold has none. The folds that a data set has published, and near-duplicates
    across sources, can tear a group apart: then its test images stay, or else those that are left out, or
    else its validation images.
    """
    order = ("test", "left_out", "val", "train")
    first: dict[int, int] = {}
    for split, group in zip(splits, groups.tolist(), strict=True):
        if split in order:
            first[group] = min(first.get(group, len(order)), order.index(split))
    return [
        split in order and order.index(split) > first[group]
        for split, group in zip(splits, groups.tolist(), strict=True)
    ]


def renumber(groups: Int[np.ndarray, " n"]) -> Int64[np.ndarray, " n"]:
    """Number groups 0, 1, ... in the order in which they first appear."""
    _, first, inverse = np.unique(groups, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[inverse].astype(np.int64)


def fingerprint(rows: Sequence[Sequence[object]]) -> str:
    """Fingerprint of a table, 16 hexadecimal digits, whatever the order of its rows."""
    lines = sorted(json.dumps(list(row)) for row in rows)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]
