"""How good a diagnosis is.

Labels are positions in `CLASSES`, `probs` hold one column per class. `weights` say how often each image
stands in each of d bootstrap resamples, and all resamples are scored at once. A bootstrap computes the scores
thousands of times, so they are written out in NumPy. The tests compare them with scikit-learn.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped
from scipy.special import expit

from busi.core import CLASSES, MALIGNANT
from busi.metrics.bootstrap import Weights
from busi.metrics.estimates import Values

TINY = float(np.finfo(np.float64).eps)
"""Smallest probability whose logarithm is taken, as in scikit-learn."""
BINS = 15  # of the calibration error; fewer where confidences are equal


def classification_metrics(
    labels: Int[np.ndarray, " n"], probs: Float[np.ndarray, "n 3"], weights: Weights
) -> Values:
    """Score class probabilities against the true classes.

    Args:
        labels: True classes.
        probs: Probabilities, rows summing to 1. The most probable class is predicted, the first of equals.
        weights: Of the resamples.

    Returns:
        What `class_metrics`, `auroc_metrics` and `calibration_metrics` return.

    Raises:
        ValueError: A probability is not finite.
    """
    if not np.isfinite(probs).all():
        raise ValueError("probs must be finite: the model that gave them has diverged")
    return {
        **class_metrics(labels, probs.argmax(axis=1), weights),
        **auroc_metrics(labels, probs, weights),
        **calibration_metrics(labels, probs, weights),
    }


def class_metrics(
    labels: Int[np.ndarray, " n"],
    preds: Int[np.ndarray, " n"],
    weights: Weights,
) -> Values:
    """Score predicted classes.

    Args:
        labels: True classes.
        preds: Predicted classes.
        weights: Of the resamples.

    Returns:
        In [0, 1]: `accuracy`; `recall_<class>` and its mean `balanced_accuracy`; `f1_<class>` and its mean
        `macro_f1`; `precision_<class>`. The means are over the classes that have images in the sample. They
        are NaN in a resample that lacks one of these, because a mean over fewer classes is another quantity;
        so are recall and F1 of a class without images, and the precision of one that is never predicted.
    """
    classes = np.unique(labels)
    truth, predicted = _one_hot(labels), _one_hot(preds)
    hits, support, num_predicted = (_sum(weights, x) for x in (truth & predicted, truth, predicted))
    with np.errstate(invalid="ignore"):  # 0 / 0 is NaN
        f1 = np.where(support > 0, 2 * hits / (support + num_predicted), np.nan)
        rates = {"precision": hits / num_predicted, "recall": hits / support, "f1": f1}
        return {
            "accuracy": hits.sum(axis=1) / weights.sum(axis=1),
            "balanced_accuracy": _mean(rates["recall"][:, classes]),
            "macro_f1": _mean(f1[:, classes]),
            **{f"{rate}_{name}": x[:, k] for rate, x in rates.items() for k, name in enumerate(CLASSES)},
        }


def auroc_metrics(
    labels: Int[np.ndarray, " n"],
    probs: Float[np.ndarray, "n 3"],
    weights: Weights,
    classes: Sequence[int] | None = None,
) -> Values:
    """`auroc_<class>`, one versus rest, and its mean `auroc`; NaN where a class or its rest is missing.

    Args:
        labels: True classes.
        probs: Probabilities.
        weights: Of the resamples.
        classes: Those that the mean is over; None for those that have images. A fold of a source names those
            of the source.
    """
    truth = _one_hot(labels)
    areas = [auroc(truth[:, k], probs[:, k], weights) for k in range(len(CLASSES))]
    named = {f"auroc_{name}": areas[k] for k, name in enumerate(CLASSES)}
    kept = np.unique(labels).tolist() if classes is None else list(classes)
    return {**named, "auroc": _mean(np.stack(areas, axis=1)[:, kept])}


def calibration_metrics(
    labels: Int[np.ndarray, " n"], probs: Float[np.ndarray, "n 3"], weights: Weights
) -> Values:
    """How well probabilities agree with what is observed.

    Returns:
        `brier`, summed over classes (Brier, 1950), in [0, 2]; `log_loss` in nats; `calibration_error` of
        the predicted class, in [0, 1]; `calibration_slope` of malignant versus rest. NaN where undefined.
    """
    truth, probs = _one_hot(labels), probs.astype(np.float64)
    total = weights.sum(axis=1)
    losses = np.stack([((probs - truth) ** 2).sum(axis=1), -np.log(np.maximum(probs[truth], TINY))], axis=1)
    with np.errstate(invalid="ignore"):  # 0 / 0 is NaN
        brier, log_loss = (_sum(weights, losses) / total[:, None]).T
    return {
        "brier": brier,
        "log_loss": log_loss,
        "calibration_error": calibration_error(probs.argmax(axis=1) == labels, probs.max(axis=1), weights),
        "calibration_slope": calibration_slope(truth[:, MALIGNANT], probs[:, MALIGNANT], weights),
    }


def auroc(
    positive: Bool[np.ndarray, " n"], scores: Float[np.ndarray, " n"], weights: Weights
) -> Float[np.ndarray, " d"]:
    """Area under the ROC curve: the share of pairs in which the positive scores higher, ties a half.

    Source: Hanley and McNeil, Radiology 143, 1982. NaN where positives or negatives are missing.
    """
    order = np.argsort(scores, kind="stable")
    ranked, positive, weights = scores[order], positive[order], weights[:, order]
    negatives = np.pad((weights * ~positive).cumsum(axis=1), ((0, 0), (1, 0)))
    ones, values = weights[:, positive], ranked[positive]
    below, up_to = (negatives[:, np.searchsorted(ranked, values, side)] for side in ("left", "right"))
    with np.errstate(invalid="ignore"):  # 0 / 0 is NaN
        return np.asarray((ones * (below + up_to)).sum(axis=1) / (2 * ones.sum(axis=1) * negatives[:, -1]))


def calibration_error(
    correct: Bool[np.ndarray, " n"], confidence: Float[np.ndarray, " n"], weights: Weights
) -> Float[np.ndarray, " d"]:
    """Debiased root-mean-square calibration error of the predicted class.

    ``sum_b n_b / n [(conf_b - acc_b)^2 - acc_b (1 - acc_b) / (m_b - 1)]`` over bins of equal mass, floored
    at 0, then its root. The second term removes what chance alone puts into the first. In the paper ``m_b``
    is ``n_b``. Here it is Kish's effective size, which differs where images repeat: a bootstrap resample
    adds a second chance error, and with ``n_b`` its interval would lie above the estimate. As in the
    authors' code, a bin of one image adds 0. Equal confidences share a bin, so that the order of images does
    not matter.

    Source: Kumar, Liang and Ma, "Verified Uncertainty Calibration", NeurIPS 2019.

    Args:
        correct: Whether the predicted class is the true one.
        confidence: Probability of the predicted class.
        weights: Of the resamples.

    Returns:
        In [0, 1]; NaN when no bin holds two images.
    """
    order = np.argsort(confidence, kind="stable")
    ranked = confidence[order].astype(np.float64)
    edges = _quantiles(ranked, weights[:, order], np.arange(1, BINS) / BINS)
    bins = np.zeros(weights.shape, np.int64)
    for edge in edges.T:
        bins += edge[:, None] <= confidence
    bins += BINS * np.arange(len(weights))[:, None]

    def add(values: Float[np.ndarray, "d n"] | Int[np.ndarray, "d n"]) -> Float[np.ndarray, "d bins"]:
        added = np.bincount(bins.ravel(), values.ravel(), minlength=BINS * len(weights))
        return added.reshape(-1, BINS).astype(np.float64)  # without values, they are counted

    size = add(weights)
    effective = size**2 / np.maximum(add(weights**2), 1)
    kept = effective > 1
    with np.errstate(invalid="ignore", divide="ignore"):  # of bins that are not kept, and 0 / 0 is NaN
        accuracy = add(weights * correct) / size
        gap = add(weights * confidence) / size - accuracy
        excess = gap**2 - accuracy * (1 - accuracy) / (effective - 1)
        mean = np.where(kept, size * excess, 0.0).sum(axis=1) / weights.sum(axis=1)
    return np.where(kept.any(axis=1), np.sqrt(np.maximum(mean, 0.0)), np.nan)


def _quantiles(
    ranked: Float[np.ndarray, " n"], weights: Weights, shares: Float[np.ndarray, " q"]
) -> Float[np.ndarray, "d q"]:
    """Quantiles of sorted values that stand in each resample as often as it says, as `numpy.quantile`."""
    last = np.maximum(weights.sum(axis=1, keepdims=True) - 1, 0)
    below = np.floor(last * shares)
    low, high = (  # the first value that, with all before it, stands there more often
        [np.searchsorted(row, at, "right") for row, at in zip(weights.cumsum(axis=1), places, strict=True)]
        for places in (below, np.minimum(below + 1, last))
    )
    padded = np.append(ranked, ranked[-1:] if len(ranked) else np.nan)
    return np.asarray(padded[low] + (padded[high] - padded[low]) * (last * shares - below))


def calibration_slope(
    truth: Bool[np.ndarray, " n"], prob: Float[np.ndarray, " n"], weights: Weights
) -> Float[np.ndarray, " d"]:
    """Slope of the unpenalized logistic regression of the outcome on the logit of its probability.

    1 when calibrated, below 1 when the probabilities are too extreme (Cox, Biometrika 45, 1958; Van Calster
    et al., BMC Medicine 17, 2019). Probabilities are kept 1.2e-7 away from 0 and 1.

    Returns:
        NaN when no finite slope is best (one outcome only, or a threshold separates the two), or when
        Newton's method does not converge.
    """
    margin = float(np.finfo(np.float32).eps)  # a float32 softmax says nothing finer about its distance to 1
    prob = np.clip(prob, margin, 1 - margin)
    logit = np.log(prob) - np.log1p(-prob)
    slopes = np.full(len(weights), np.nan)
    overlap = np.flatnonzero(_overlap(truth, logit, weights))
    if not overlap.size:
        return slopes
    design = np.stack([np.ones_like(logit), (logit - logit.mean()) / logit.std()], axis=1)
    powers = np.stack([design[:, 0], design[:, 1], design[:, 1] ** 2], axis=1)
    weights, beta = weights[overlap].astype(np.float64), np.zeros((len(overlap), 2))
    for _ in range(50):
        fitted = expit(beta @ design.T)
        gradient = (weights * (truth - fitted)) @ design
        if np.abs(gradient).max() < 1e-8:
            break
        a, b, c = ((weights * fitted * (1 - fitted)) @ powers).T
        with np.errstate(all="ignore"):  # a resample that diverges ends as NaN
            step = np.stack(
                [c * gradient[:, 0] - b * gradient[:, 1], a * gradient[:, 1] - b * gradient[:, 0]]
            )
            beta = beta + (step / (a * c - b**2)).T
    slopes[overlap] = np.where(np.abs(gradient).max(axis=1) < 1e-8, beta[:, 1] / logit.std(), np.nan)
    return slopes


def _one_hot(labels: Int[np.ndarray, " n"]) -> Bool[np.ndarray, "n 3"]:
    return np.asarray(labels[:, None] == np.arange(len(CLASSES)))


def _mean(values: Float[np.ndarray, "d k"]) -> Float[np.ndarray, " d"]:
    """Mean over classes; NaN without any."""
    return values.mean(axis=1) if values.shape[1] else np.full(len(values), np.nan)


def _sum(weights: Weights, values: Shaped[np.ndarray, "n k"]) -> Float[np.ndarray, "d k"]:
    # Floating-point products are many times faster than those of integers.
    return weights.astype(np.float64) @ values.astype(np.float64)


def _overlap(
    truth: Bool[np.ndarray, " n"], logit: Float[np.ndarray, " n"], weights: Weights
) -> Bool[np.ndarray, " d"]:
    """Whether both outcomes are there, and no threshold separates them."""
    ranges = []
    for side in (truth, ~truth):
        there = weights[:, side] > 0
        lowest = np.where(there, logit[side], np.inf).min(axis=1, initial=np.inf)
        ranges.append((lowest, np.where(there, logit[side], -np.inf).max(axis=1, initial=-np.inf)))
    (low, high), (other_low, other_high) = ranges
    return np.asarray((high > other_low) & (other_high > low))
