"""Masks as run lengths: how many pixels of one value follow each other, exact at any size, and short."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool

from busi.core import InputError


def to_runs(mask: Bool[np.ndarray, "h w"]) -> list[int]:
    """The run lengths of a mask along its rows; the first number counts background."""
    flat = np.concatenate([[False], mask.ravel(), [not mask.ravel()[-1]]])
    edges = np.flatnonzero(np.diff(flat))
    return [int(run) for run in np.diff(edges, prepend=0)]


def from_runs(
    runs: Sequence[int], height: int, width: int, by_rows: bool = True
) -> Bool[np.ndarray, "{height} {width}"]:
    """The mask that run lengths describe, which begin with background.

    Args:
        runs: Numbers of pixels.
        height: Of the mask.
        width: Of the mask.
        by_rows: Whether pixels follow each other along rows, as in CVAT, or along columns, as in COCO.

    Raises:
        InputError: If one is negative, or they are more or less than the mask has pixels.
    """
    if min(runs, default=0) < 0 or sum(runs) != height * width:
        raise InputError(f"run lengths of {sum(runs)} pixels for {width} x {height}")
    flat = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    return flat.reshape(height, width) if by_rows else flat.reshape(width, height).T


def check_runs(values: object) -> list[int]:
    """Run lengths as whole numbers.

    Raises:
        InputError: If one is none, or negative.
    """
    if not isinstance(values, list) or not all(type(run) is int and run >= 0 for run in values):
        raise InputError("run lengths that are no whole numbers")
    return values
