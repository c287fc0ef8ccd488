"""From a map of lesion probabilities to a mask: the rule, and how a validation fold chooses it."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage

from busi.core import InputError

CORNERS = np.ones((3, 3))
"""Pixels that touch at a corner are connected."""
PEAKS = (0.0, 0.8, 0.9, 0.95, 0.98, 0.99)
"""What is tried; of equally good peaks the first is taken, which is the simplest."""

FIELDS = ("threshold", "peak", "min_share")
"""Of a rule."""

Map = Float[np.ndarray, "h w"]
Mask = Bool[np.ndarray, "h w"]


@dataclass(frozen=True)
class MaskRule:
    """Which pixels of a map are lesion.

    Two thresholds, one for the outline and one for whether there is anything, as in Canny's hysteresis
    (IEEE TPAMI 8, 1986), and a smallest size.

    Attributes:
        threshold: Probability from which a pixel may belong to a lesion.
        peak: Probability that a connected part of such pixels must reach somewhere.
        min_share: Share of the picture that such a part must cover at least.
    """

    threshold: float = 0.5
    peak: float = 0.0
    min_share: float = 0.0

    def __post_init__(self) -> None:
        if not all(isinstance(x, int | float) and 0 <= x <= 1 for x in asdict(self).values()):
            raise InputError(f"mask_rule: threshold, peak and min_share lie from 0 to 1, not {asdict(self)}")

    def __call__(self, probs: Map) -> Mask:
        """The mask of a map of any size."""
        mask = np.asarray(probs >= self.threshold)
        if (self.peak <= self.threshold and not self.min_share) or not mask.any():
            return mask
        parts, peaks, areas = _parts(probs, mask)
        kept = (peaks >= self.peak) & (areas >= self.min_share * mask.size)
        return np.asarray(np.concatenate([[False], kept])[parts])


def mean_rule(rules: Sequence[MaskRule]) -> MaskRule:
    """The rule of an average of several models."""
    means = np.mean([list(asdict(rule).values()) for rule in rules], axis=0)
    return MaskRule(*means.tolist())


def fixed_rule(
    pairs: Iterable[tuple[Map, Mask]], threshold: float = 0.5, peak: float = 0.0, min_share: float = 0.0
) -> MaskRule:
    """The rule with these values, whatever the validation fold says."""
    del pairs
    return MaskRule(threshold, peak, min_share)


def choose_rule(pairs: Iterable[tuple[Map, Mask]]) -> MaskRule:
    """The rule with the peak of best mean Dice over all pictures, 1 where annotation and mask are both empty.

    So a false mask on a normal picture costs as much as a lesion that is missed. Only the peak is chosen:
    validation folds are small, and with more numbers a rule fits them better and other pictures worse.

    Args:
        pairs: Map and annotation of each validation picture.
    """
    total = np.zeros(len(PEAKS))
    for probs, annotation in pairs:
        parts, peaks, areas = _parts(probs, MaskRule()(probs))
        overlaps = np.bincount(parts[annotation], minlength=len(areas) + 1)[1:]
        kept = peaks >= np.array(PEAKS)[:, None]
        sums = kept @ areas + annotation.sum()
        total += np.where(sums > 0, 2 * (kept @ overlaps) / np.maximum(sums, 1), 1.0)
    return MaskRule(peak=float(PEAKS[total.round(9).argmax()]))


def _parts(probs: Map, mask: Mask) -> tuple[np.ndarray, Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """Number of the part that each pixel is in, and peak and area of each part."""
    parts, count = ndimage.label(mask, CORNERS)
    peaks = np.asarray(ndimage.maximum(probs, parts, np.arange(1, count + 1)), np.float64)
    return parts, peaks, np.bincount(parts.ravel(), minlength=count + 1)[1:].astype(np.float64)
