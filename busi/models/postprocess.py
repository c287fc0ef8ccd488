"""From a map of lesion probabilities to a mask, and how a validation fold tunes that step."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import repeat

import cv2
import numpy as np

from busi.core import Bool, Float, InputError, Int32

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
        if self.high_threshold > self.threshold and mask.any():
            box = bounding_box(mask)
            parts, count = find_parts(mask[box])
            mask[box] = _reaching(parts, count, probs[box], self.high_threshold)[parts]
        return mask


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
        parts, count = find_parts(Postprocess()(probs))
        areas, overlaps = (
            np.bincount(pixels.ravel(), minlength=count + 1) for pixels in (parts, parts[annotation])
        )
        kept = np.stack([_reaching(parts, count, probs, high) for high in HIGH_THRESHOLDS])
        sums = kept @ areas + annotation.sum()
        total += weight * np.where(sums > 0, 2 * (kept @ overlaps) / np.maximum(sums, 1), 1.0)
    return Postprocess(high_threshold=float(HIGH_THRESHOLDS[total.round(9).argmax()]))


def bounding_box(mask: Mask) -> tuple[slice, slice]:
    """Rows and columns of the smallest rectangle around a mask; an empty one around an empty mask."""
    left, top, width, height = cv2.boundingRect(mask.view(np.uint8))
    return slice(top, top + height), slice(left, left + width)


def find_parts(mask: Mask) -> tuple[Int32[np.ndarray, "h w"], int]:
    """Number the connected parts of a mask from 1; pixels that touch at a corner are connected.

    Returns:
        Number of the part that each pixel is in, 0 outside of the mask, and how many parts there are.
    """
    count, parts = cv2.connectedComponents(mask.view(np.uint8), connectivity=8, ltype=cv2.CV_32S)
    return np.asarray(parts, np.int32), count - 1


def _reaching(
    parts: Int32[np.ndarray, "h w"], count: int, probs: Map, high_threshold: float
) -> Bool[np.ndarray, " n"]:
    """Of each number of `find_parts`, whether that part reaches a probability; False of what is outside."""
    reaching = np.zeros(count + 1, bool)
    reaching[parts[probs >= np.float64(high_threshold)]] = True  # as a float32, 0.9 is below 0.9
    reaching[0] = False
    return reaching
