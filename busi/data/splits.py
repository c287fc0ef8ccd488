"""Folds: which pictures train, choose and judge. A split is a value, computed once from the records."""

import hashlib
import json
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int
from sklearn.model_selection import StratifiedGroupKFold

from busi.core import InputError

SPLITS = ("train", "val", "test")


def assign_folds(
    ids: Sequence[str],
    labels: Int[np.ndarray, " n"],
    groups: Int[np.ndarray, " n"],
    num_folds: int,
    seed: int,
) -> Int[np.ndarray, " n"]:
    """Assign every picture a fold, stratified by class; a group stays in one fold.

    The result depends on ids, labels and grouping alone: neither on the order of the records nor on
    how the groups are numbered.

    Returns:
        Fold of each picture, 0 to `num_folds` - 1.

    Raises:
        InputError: If a class that is present has fewer groups than there are folds.

    Source: scikit-learn's `StratifiedGroupKFold`.
    """
    for label in np.unique(labels):
        num_groups = len(np.unique(groups[labels == label]))
        if num_groups < num_folds:
            raise InputError(
                f"class {label} has {num_groups} groups of pictures, fewer than the {num_folds} folds: "
                "give fewer folds with data.num_folds, or more pictures"
            )
    order = np.argsort(np.asarray(ids))
    _, first, inverse = np.unique(groups[order], return_index=True, return_inverse=True)
    numbers = np.argsort(np.argsort(first))[inverse]
    folds = np.empty(len(order), np.int64)
    splitter = StratifiedGroupKFold(num_folds, shuffle=True, random_state=seed)
    for fold, (_, held_out) in enumerate(splitter.split(order, labels[order], numbers)):
        folds[order[held_out]] = fold
    return folds


def train_folds(fold: int, num_folds: int) -> list[int]:
    """The folds that train where `fold` is the test fold and the next one validates."""
    return [k for k in range(num_folds) if k not in (fold, (fold + 1) % num_folds)]


def name_splits(
    folds: Int[np.ndarray, " n"], fold: int, num_folds: int, leave_out: int | None = None
) -> list[str]:
    """Name each picture's part in the run of one fold.

    Fold k is the test fold, fold k + 1 (mod `num_folds`) the validation fold, the rest train.
    Pictures with fold -1 are ``dropped``, those of the training fold `leave_out` ``left_out``.
    """
    names = {leave_out: "left_out", -1: "dropped", fold: "test", (fold + 1) % num_folds: "val"}
    return [names.get(int(number), "train") for number in folds]


def fingerprint(rows: Sequence[Sequence[object]]) -> str:
    """Fingerprint of a table, 16 hexadecimal digits, whatever the order of its rows."""
    lines = sorted(json.dumps(list(row)) for row in rows)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]
