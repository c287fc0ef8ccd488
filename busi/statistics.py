"""How good a diagnosis is, and how sure we can be of a number.

Labels are positions in `CLASSES`, `probs` hold one column per class. The scores are written out in NumPy,
and tested against scikit-learn, because a bootstrap computes them thousands of times.
"""

from collections.abc import Callable, Iterator, Mapping

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.special import expit
from scipy.stats import rankdata

from busi.types import CLASSES, MALIGNANT

TINY = float(np.finfo(np.float64).eps)
"""Smallest probability whose logarithm is taken, as in scikit-learn."""


def classification_metrics(
    labels: Int[np.ndarray, " n"], probs: Float[np.ndarray, "n 3"], rows: Int[np.ndarray, " n"] | None = None
) -> dict[str, float | None]:
    """Score class probabilities against the true classes.

    Args:
        labels: True classes.
        probs: Probabilities, rows summing to 1. The most probable class is predicted, the first of equals.
        rows: Which picture each row shows, from 0: the indices of a bootstrap draw, where pictures repeat.

    Returns:
        In [0, 1]: `accuracy`; `recall_<class>` and its mean `balanced_accuracy`; `macro_f1`;
        `auroc_<class>` (one versus rest) and its mean `auroc`; `calibration_error` of the predicted class.
        `brier`, summed over classes (Brier, 1950), in [0, 2]. `log_loss` in nats. `calibration_slope` of
        malignant versus rest. None where undefined: a class that has no picture has no recall and no
        AUROC, and the means over classes are None too, since a mean over two is another quantity.

    Raises:
        ValueError: A probability is not finite.
    """
    if not np.isfinite(probs).all():
        raise ValueError("probs must be finite: the model that gave them has diverged")
    probs = probs.astype(np.float64)
    repeats = np.ones_like(labels) if rows is None else np.bincount(rows)[rows]
    preds = probs.argmax(axis=1)
    truth = labels[:, None] == np.arange(len(CLASSES))
    support, predicted = truth.sum(axis=0), np.bincount(preds, minlength=len(CLASSES))
    hits = np.bincount(labels[preds == labels], minlength=len(CLASSES))
    with np.errstate(invalid="ignore"):  # 0 / 0 is NaN, and becomes None below
        recall = hits / support
        f1 = np.where(support > 0, 2 * hits / (support + predicted), np.nan)
        aurocs = auroc(truth, probs)
        values = {
            "accuracy": np.divide(hits.sum(), len(labels)),
            "balanced_accuracy": recall.mean(),
            "macro_f1": f1.mean(),
            **{f"recall_{name}": recall[k] for k, name in enumerate(CLASSES)},
            **{f"auroc_{name}": aurocs[k] for k, name in enumerate(CLASSES)},
            "auroc": aurocs.mean(),
            "brier": np.divide(((probs - truth) ** 2).sum(), len(labels)),
            "log_loss": np.divide(-np.log(np.maximum(probs[truth], TINY)).sum(), len(labels)),
            "calibration_error": calibration_error(preds == labels, probs.max(axis=1), repeats),
            "calibration_slope": calibration_slope(truth[:, MALIGNANT], probs[:, MALIGNANT]),
        }
    return _undefined_as_none(values)


def auroc(truth: Bool[np.ndarray, "n c"], scores: Float[np.ndarray, "n c"]) -> Float[np.ndarray, " c"]:
    """Area under the ROC curve of every column: the Mann-Whitney statistic with mid-ranks for ties.

    Source: Hanley and McNeil, Radiology 143, 1982. NaN where a column of `truth` has one value only.
    """
    positives = truth.sum(axis=0)
    wins = (rankdata(scores, axis=0) * truth).sum(axis=0) - positives * (positives + 1) / 2
    with np.errstate(invalid="ignore"):
        return np.asarray(wins / (positives * (len(truth) - positives)))


def calibration_error(
    correct: Bool[np.ndarray, " n"],
    confidence: Float[np.ndarray, " n"],
    repeats: Int[np.ndarray, " n"],
    num_bins: int = 15,
) -> float:
    """Debiased root-mean-square calibration error of the predicted class.

    ``sum_b n_b / n [(conf_b - acc_b)^2 - acc_b (1 - acc_b) / (m_b - 1)]`` over bins of equal mass, floored
    at 0, then its root (Kumar, Liang and Ma, "Verified Uncertainty Calibration", NeurIPS 2019). The second
    term removes what chance alone puts into the first. There ``m_b`` is ``n_b``; here it is Kish's effective
    size, the same unless pictures repeat: a bootstrap draw adds a second chance error, and with ``n_b``
    its interval lies above the estimate. As in the authors' code, a bin of one picture adds 0. Equal
    confidences share a bin, so that the order does not matter.

    Args:
        correct: Whether the predicted class is the true one.
        confidence: Probability of the predicted class.
        repeats: How many of the rows show the same picture as this one, itself included.
        num_bins: Number of bins, fewer where confidences are equal.

    Returns:
        In [0, 1]; NaN when no bin holds two pictures.
    """
    edges = np.quantile(confidence, np.arange(1, num_bins) / num_bins) if len(confidence) else confidence
    bins = np.searchsorted(edges, confidence, side="right")
    size = np.bincount(bins)
    effective = size**2 / np.maximum(np.bincount(bins, repeats), 1)
    kept = effective > 1
    if not kept.any():
        return float("nan")
    accuracy = np.bincount(bins, correct)[kept] / size[kept]
    gap = np.bincount(bins, confidence)[kept] / size[kept] - accuracy
    excess = gap**2 - accuracy * (1 - accuracy) / (effective[kept] - 1)
    return float(np.sqrt(max((size[kept] * excess).sum() / len(confidence), 0.0)))


def calibration_slope(truth: Bool[np.ndarray, " n"], prob: Float[np.ndarray, " n"]) -> float:
    """Slope of the unpenalised logistic regression of the outcome on the logit of its probability.

    1 when calibrated, below 1 when the probabilities are too extreme (Cox, Biometrika 45, 1958; Van Calster
    et al., BMC Medicine 17, 2019). Probabilities are kept 1.2e-7 away from 0 and 1.

    Returns:
        NaN when no finite slope is best (one outcome only, or a threshold separates the two), or when
        Newton's method does not converge.
    """
    margin = float(np.finfo(np.float32).eps)  # a float32 softmax says nothing finer about its distance to 1
    prob = np.clip(prob, margin, 1 - margin)
    logit = np.log(prob) - np.log1p(-prob)
    ranges = [(side.min(), side.max()) for side in (logit[truth], logit[~truth]) if side.size]
    if len(ranges) < 2 or ranges[0][1] <= ranges[1][0] or ranges[1][1] <= ranges[0][0]:
        return float("nan")
    design = np.stack([np.ones_like(logit), (logit - logit.mean()) / logit.std()])
    beta = np.zeros(2)
    for _ in range(50):
        fitted = expit(beta @ design)
        gradient = design @ (truth - fitted)
        if np.abs(gradient).max() < 1e-8:
            return float(beta[1] / logit.std())
        hessian = design * (fitted * (1 - fitted)) @ design.T
        beta += np.linalg.lstsq(hessian, gradient)[0]
    return float("nan")


def operating_points(
    val_labels: Int[np.ndarray, " v"],
    val_probs: Float[np.ndarray, "v 3"],
    test_labels: Int[np.ndarray, " t"],
    test_probs: Float[np.ndarray, "t 3"],
) -> dict[str, float | None]:
    """Set thresholds for malignant versus rest on validation, and measure what they achieve on test.

    A picture is called malignant when its probability is at least the threshold. Candidates are the
    probabilities seen in validation and one just above them, so tied pictures are never parted. Of those
    that reach the target on validation, the one with the best other value is taken; of equals, the one
    with the best targeted value.

    Returns:
        For each T of `specificity_90`, `sensitivity_90` and `sensitivity_95`: `threshold_at_T`, and
        `sensitivity_at_T` and `specificity_at_T` on test. None for a rate without test pictures, and for
        all if validation lacks malignant pictures or others.
    """
    val, test = (probs[:, MALIGNANT].astype(np.float64) for probs in (val_probs, test_probs))
    candidates = np.append(np.unique(val), np.nextafter(val.max(initial=0.0), np.inf))
    reached = dict(zip(("sensitivity", "specificity"), _rates(val_labels, val, candidates), strict=True))
    achieved = np.stack([candidates, *_rates(test_labels, test, candidates)])
    if np.isnan([*reached.values()]).any():
        achieved[:] = np.nan
    values = {}
    for target, other, level in (
        ("specificity", "sensitivity", 0.90),
        ("sensitivity", "specificity", 0.90),
        ("sensitivity", "specificity", 0.95),
    ):
        best = np.lexsort((reached[target], reached[other], reached[target] >= level))[-1]
        for k, name in enumerate(("threshold", "sensitivity", "specificity")):
            values[f"{name}_at_{target}_{round(100 * level)}"] = achieved[k, best]
    return _undefined_as_none(values)


def bootstrap_metrics(
    groups: Int[np.ndarray, " n"],
    compute: Callable[[Int[np.ndarray, " m"]], Mapping[str, float | None]],
    strata: Int[np.ndarray, " n"] | None = None,
    num_draws: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> dict[str, tuple[float, float]]:
    """Confidence intervals of metrics by the percentile bootstrap over whole groups.

    Pictures of one group (lesion) are not independent, so whole groups are drawn with replacement, within
    each stratum (fold): Davison and Hinkley, "Bootstrap Methods and their Application", 1997, sections 3.2
    and 3.8. The interval leaves out the variance of training again. To compare two arms, let `compute`
    return the differences of their metrics on the rows it gets: a paired bootstrap.

    Args:
        groups: Group of each row.
        compute: Metrics of the rows whose indices it gets; None or NaN where undefined.
        strata: Stratum of each row; every draw has each stratum's number of groups.
        num_draws: Number of draws.
        seed: Equal seeds draw the same groups.
        level: Nominal coverage.

    Returns:
        Lower and upper limit by metric. Draws where a metric is undefined are left out; if more than half
        are, both limits are NaN, since the rest does not stand for the population.

    Raises:
        ValueError: A group lies in more than one stratum.
    """
    draws = [compute(rows) for rows in resample(groups, strata, num_draws, seed)]
    tails = [(1 - level) / 2, (1 + level) / 2]
    intervals = {}
    for name in draws[0]:
        values = np.array([draw[name] for draw in draws], dtype=np.float64)  # None becomes NaN
        values = values[np.isfinite(values)]
        lower, upper = np.quantile(values, tails) if 2 * len(values) >= num_draws else (np.nan, np.nan)
        intervals[name] = (float(lower), float(upper))
    return intervals


def resample(
    groups: Int[np.ndarray, " n"], strata: Int[np.ndarray, " n"] | None, num_draws: int, seed: int
) -> Iterator[Int[np.ndarray, " m"]]:
    """Yield the row indices of bootstrap draws of whole groups; see `bootstrap_metrics`."""
    strata = np.zeros_like(groups) if strata is None else strata
    order = np.lexsort((groups, strata))
    pairs, sizes = np.unique(np.stack([strata, groups], axis=1), axis=0, return_counts=True)
    if len(np.unique(pairs[:, 1])) < len(pairs):
        raise ValueError("a group lies in more than one stratum: make the folds from whole groups")
    starts = np.cumsum(sizes) - sizes
    # Slot g of a draw holds one of the groups low[g]..high[g] - 1: those of its own stratum.
    low, high = (np.searchsorted(pairs[:, 0], pairs[:, 0], side=side) for side in ("left", "right"))
    rng = np.random.default_rng(seed)
    for _ in range(num_draws):
        drawn = rng.integers(low, high)
        size = sizes[drawn]
        skip = starts[drawn] - (np.cumsum(size) - size)
        yield order[np.repeat(skip, size) + np.arange(size.sum())]


def _rates(
    labels: Int[np.ndarray, " n"], scores: Float[np.ndarray, " n"], thresholds: Float[np.ndarray, " k"]
) -> tuple[Float[np.ndarray, " k"], Float[np.ndarray, " k"]]:
    """Sensitivity and specificity of ``score >= threshold`` for malignant; NaN without pictures."""
    positive, negative = np.sort(scores[labels == MALIGNANT]), np.sort(scores[labels != MALIGNANT])
    with np.errstate(invalid="ignore"):  # counts are divided once, so that 27 of 30 is exactly 0.9
        sensitivity = (len(positive) - np.searchsorted(positive, thresholds)) / np.float64(len(positive))
        specificity = np.searchsorted(negative, thresholds) / np.float64(len(negative))
    return sensitivity, specificity


def _undefined_as_none(values: Mapping[str, float]) -> dict[str, float | None]:
    return {name: float(value) if np.isfinite(value) else None for name, value in values.items()}
