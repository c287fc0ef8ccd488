"""From a map of lesion probabilities to a mask, and how a validation fold tunes that step."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import repeat

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage

from busi.core import InputError

CORNERS = np.ones((3, 3))
"""Pixels that touch at a corner are connected."""
HIGH_THRESHOLDS = (0.0, 0.8, 0.9, 0.95, 0.98, 0.99)
"""What is tried; of equally good ones the first is taken, which is the simplest."""

Map = Float[np.ndarray, "h w"]
Mask = Bool[np.ndarray, "h w"]


@dataclass(frozen=True)
class Postprocess:
    """Hysteresis thresholding: which pixels of a map are lesion.

    One threshold for the outline and one for whether there is a lesion at all.

    Source: Canny, IEEE TPAMI 8, 1986; scikit-image's ``apply_hysteresis_threshold``, here with pixels that
    touch at a corner connected.

    Attributes:
        threshold: Probability from which a pixel may belong to a lesion.
        high_threshold: Probability that a connected part of such pixels must reach somewhere to be kept; no
            condition unless it is above `threshold`.

    Raises:
        InputError: If one of them is no number from 0 to 1.
    """

    threshold: float = 0.5
    high_threshold: float = 0.0

    def __post_init__(self) -> None:
        if not all(isinstance(x, int | float) and 0 <= x <= 1 for x in asdict(self).values()):
            raise InputError(f"postprocess: threshold and high_threshold lie from 0 to 1, not {asdict(self)}")

    def __call__(self, probs: Map) -> Mask:
        """The mask of a map of any size."""
        mask = np.asarray(probs >= self.threshold)
        if self.high_threshold <= self.threshold or not mask.any():
            return mask
        parts, highest, _ = _parts(probs, mask)
        return np.asarray(np.concatenate([[False], highest >= self.high_threshold])[parts])


def mean_postprocess(steps: Sequence[Postprocess]) -> Postprocess:
    """The thresholds of an average of several models: the mean of theirs."""
    means = np.mean([list(asdict(step).values()) for step in steps], axis=0)
    return Postprocess(*means.tolist())


def fixed_postprocess(
    pairs: Iterable[tuple[Map, Mask]],
    threshold: float = 0.5,
    high_threshold: float = 0.0,
    sources: Sequence[str] = (),
) -> Postprocess:
    """These thresholds, whatever the validation fold says."""
    del pairs, sources
    return Postprocess(threshold, high_threshold)


def tune_postprocess(pairs: Iterable[tuple[Map, Mask]], sources: Sequence[str] = ()) -> Postprocess:
    """The high threshold of best mean Dice over all images, 1 where annotation and mask are both empty.

    In a pool it is the mean over sources, so that a large source does not choose alone.

    So a false mask on a normal image costs as much as a lesion that is missed. Only the high threshold is
    tuned: validation folds are small, and with more numbers a choice fits them better and other images worse.

    Args:
        pairs: Map and annotation of each validation image.
        sources: Of each of them; none for images of one source.
    """
    total, sizes = np.zeros(len(HIGH_THRESHOLDS)), Counter(sources)
    weights = (len(sources) / (len(sizes) * sizes[name]) for name in sources) if sources else repeat(1.0)
    for (probs, annotation), weight in zip(pairs, weights, strict=False):
        parts, highest, areas = _parts(probs, Postprocess()(probs))
        overlaps = np.bincount(parts[annotation], minlength=len(areas) + 1)[1:]
        kept = highest >= np.array(HIGH_THRESHOLDS)[:, None]
        sums = kept @ areas + annotation.sum()
        total += weight * np.where(sums > 0, 2 * (kept @ overlaps) / np.maximum(sums, 1), 1.0)
    return Postprocess(high_threshold=float(HIGH_THRESHOLDS[total.round(9).argmax()]))


def _parts(probs: Map, mask: Mask) -> tuple[np.ndarray, Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """Number of the part that each pixel is in, and the highest probability and area of each part."""
    parts, count = ndimage.label(mask, CORNERS)
    highest = np.asarray(ndimage.maximum(probs, parts, np.arange(1, count + 1)), np.float64)
    return parts, highest, np.bincount(parts.ravel(), minlength=count + 1)[1:].astype(np.float64)
