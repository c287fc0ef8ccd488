"""Thresholds for malignant: set on validation images, and what they achieve on test images.

Labels are positions in `CLASSES`, `probs` hold one column per class.
"""

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from busi.core import MALIGNANT
from busi.metrics.bootstrap import defined

OPERATING_POINTS = {
    "specificity_90": ("specificity", 0.90),
    "sensitivity_90": ("sensitivity", 0.90),
    "sensitivity_95": ("sensitivity", 0.95),
}
"""Name -> a rate, and the level that it must reach on validation images."""

ENOUGH = 10
"""Malignant validation images, and others, that a source needs to set thresholds of its own."""


def source_rows(
    labels: Int[np.ndarray, " n"], sources: Shaped[np.ndarray, " n"], source: str
) -> Bool[np.ndarray, " n"]:
    """The validation images that decide for a source: its own, or all if it has not `ENOUGH` of both kinds.

    Args:
        labels: Of the validation images.
        sources: Of the validation images.
        source: The one that is judged; it may be none of theirs.
    """
    own, malignant = sources == source, labels == MALIGNANT
    enough = min((own & malignant).sum(), (own & ~malignant).sum()) >= ENOUGH
    return own if enough else np.ones_like(own)


def malignant_thresholds(
    labels: Int[np.ndarray, " n"], probs: Float[np.ndarray, "n 3"]
) -> dict[str, float | None]:
    """Set the threshold of each of `OPERATING_POINTS`; an image is malignant from the threshold on.

    Candidates are the probabilities of these images and one just above them, so that tied images are never
    parted. Of those that reach the level of the point's rate, the one with the best other rate is taken; of
    equals, the one with the best rate itself.

    Args:
        labels: Of the validation images.
        probs: Of the validation images.

    Returns:
        By name of the operating point; None for all if malignant images, or all others, are missing.
    """
    scores = probs[:, MALIGNANT].astype(np.float64)
    candidates = np.append(np.unique(scores), np.nextafter(scores.max(initial=0.0), np.inf))
    rates = dict(zip(("sensitivity", "specificity"), _rates(labels, scores, candidates), strict=True))
    thresholds: dict[str, float | None] = dict.fromkeys(OPERATING_POINTS)
    if np.isnan([*rates.values()]).any():
        return thresholds
    for name, (rate, level) in OPERATING_POINTS.items():
        other = "specificity" if rate == "sensitivity" else "sensitivity"
        best = np.lexsort((rates[rate], rates[other], rates[rate] >= level))[-1]
        thresholds[name] = float(candidates[best])
    return thresholds


def operating_points(
    val_labels: Int[np.ndarray, " v"],
    val_probs: Float[np.ndarray, "v 3"],
    test_labels: Int[np.ndarray, " t"],
    test_probs: Float[np.ndarray, "t 3"],
) -> dict[str, float | None]:
    """Set thresholds for malignant on validation images, and measure what they achieve on test images.

    Returns:
        For the name T of each of `OPERATING_POINTS`: `threshold_at_T`, and `sensitivity_at_T` and
        `specificity_at_T` on test. None for a rate without test images, and for all if
        `malignant_thresholds` finds no threshold.
    """
    scores = test_probs[:, MALIGNANT].astype(np.float64)
    values: dict[str, float | None] = {}
    for name, threshold in malignant_thresholds(val_labels, val_probs).items():
        values[f"threshold_at_{name}"] = threshold
        achieved = _rates(test_labels, scores, np.array([np.nan if threshold is None else threshold]))
        for rate, (value,) in zip(("sensitivity", "specificity"), achieved, strict=True):
            values[f"{rate}_at_{name}"] = None if threshold is None else defined(value)
    return values


def _rates(
    labels: Int[np.ndarray, " n"], scores: Float[np.ndarray, " n"], thresholds: Float[np.ndarray, " k"]
) -> tuple[Float[np.ndarray, " k"], Float[np.ndarray, " k"]]:
    """Sensitivity and specificity of ``score >= threshold`` for malignant; NaN without images."""
    positive, negative = np.sort(scores[labels == MALIGNANT]), np.sort(scores[labels != MALIGNANT])
    with np.errstate(invalid="ignore"):  # one division of whole numbers, so that 27 of 30 is exactly 0.9
        sensitivity = (len(positive) - np.searchsorted(positive, thresholds)) / np.float64(len(positive))
        specificity = np.searchsorted(negative, thresholds) / np.float64(len(negative))
    return sensitivity, specificity
