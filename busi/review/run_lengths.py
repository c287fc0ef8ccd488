"""Masks as run lengths, in which the page sends them: exact at any size, and short."""

from collections.abc import Sequence
from itertools import accumulate

import numpy as np
from jaxtyping import Bool

from busi.core import InputError


def to_runs(mask: Bool[np.ndarray, "h w"]) -> list[int]:
    """How many pixels of one value follow each other, row by row; the first number counts background.

    Their sum is the number of pixels. Without any pixels there are no runs.
    """
    flat = mask.ravel()
    if not flat.size:
        return []
    ends = [0, *(np.flatnonzero(flat[1:] != flat[:-1]) + 1).tolist(), flat.size]
    lengths = np.diff(ends).tolist()
    return [0, *lengths] if flat[0] else list(lengths)


def from_runs(runs: Sequence[int], height: int, width: int) -> Bool[np.ndarray, "{height} {width}"]:
    """The mask of run lengths.

    Raises:
        InputError: If they are no run lengths of a mask of this size.
    """
    size = height * width
    if len(runs) > size + 1 or any(not 0 <= length <= size for length in runs) or sum(runs) != size:
        raise InputError(f"the mask has not {width} x {height} pixels: reload the page")
    flat = np.zeros(size, bool)
    ends = list(accumulate(runs))
    for start, end in zip(ends[0::2], ends[1::2], strict=False):
        flat[start:end] = True
    return flat.reshape(height, width)
