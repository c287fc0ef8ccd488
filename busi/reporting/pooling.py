"""Metrics over the test folds of cross-validation, each calibrated on the validation fold of its run.

Accuracy, recall, F1, Brier score and log loss are computed over the images of all folds. AUROC, selective
prediction and operating points are computed in each fold and averaged, because the probabilities of
different models are not on one scale.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from busi.core import CLASSES, MALIGNANT
from busi.metrics import (
    OPERATING_POINTS,
    Calibration,
    Estimates,
    Values,
    Weights,
    auroc_metrics,
    average,
    bootstrap_groups,
    calibrate,
    calibration_metrics,
    class_metrics,
    malignant_thresholds,
    mean_of,
    net_benefit,
    segmentation_metrics,
    selective_accuracy,
)
from busi.runs import Predictions

DEFERRED = (10, 20, 30)
"""Of selective prediction: share of the images that is deferred to a person, in per cent."""
THRESHOLDS = (10, 20, 30)
"""Of the decision curve: probability of malignant, in per cent, from which an image is acted on."""

Columns = Mapping[str, Shaped[np.ndarray, " n"]]
"""Columns of ``predictions.csv``."""


@dataclass(frozen=True)
class Scored:
    """The calibrated predictions of one seed on the test images of all folds, row by row.

    Attributes:
        columns: Those of ``predictions.csv``.
        raw: Probabilities before the temperature.
        probs: Probabilities after the temperature.
        predicted_positive: For each of `OPERATING_POINTS`, whether the image is predicted malignant.
        sets: Which classes are in the conformal set of the image.
        calibrations: Of each fold.
        thresholds: Of each fold, see `busi.metrics.thresholds.malignant_thresholds`.
    """

    columns: Columns
    raw: Float[np.ndarray, "n 3"]
    probs: Float[np.ndarray, "n 3"]
    predicted_positive: Mapping[str, Bool[np.ndarray, " n"]]
    sets: Bool[np.ndarray, "n 3"]
    calibrations: Mapping[int, Calibration]
    thresholds: Mapping[int, Mapping[str, float | None]]

    @property
    def labels(self) -> Int[np.ndarray, " n"]:
        """True classes."""
        return self.columns["label"]

    @property
    def folds(self) -> Int[np.ndarray, " n"]:
        """The fold whose model scored the image."""
        return self.columns["fold"]

    @property
    def correct(self) -> Bool[np.ndarray, " n"]:
        """Whether the most probable class is the true one."""
        return np.asarray(self.probs.argmax(axis=1) == self.labels)


def score(found: Sequence[Predictions]) -> Scored:
    """Calibrate each run on its validation fold, and apply that to its test fold.

    Args:
        found: The folds of one seed, each with validation and test rows.
    """
    calibrations: dict[int, Calibration] = {}
    thresholds: dict[int, dict[str, float | None]] = {}
    parts = []
    for one in found:
        logits = one.logits("test")
        calibration = calibrate(one.logits("val"), one.labels("val"))
        val, test = calibration.probs(one.logits("val")), calibration.probs(logits)
        limits = malignant_thresholds(one.labels("val"), val)
        calibrations[one.fold], thresholds[one.fold] = calibration, limits
        parts.append(
            {
                "raw": Calibration(1.0, calibration.quantiles, calibration.level).probs(logits),
                "probs": test,
                "sets": calibration.sets(logits),
                # Without a threshold (a class is missing in validation) no image is predicted malignant.
                **{name: test[:, MALIGNANT] >= (np.inf if x is None else x) for name, x in limits.items()},
            }
        )
    joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    predicted_positive = {name: joined.pop(name) for name in OPERATING_POINTS}
    return Scored(
        join(found),
        **joined,
        predicted_positive=predicted_positive,
        calibrations=calibrations,
        thresholds=thresholds,
    )


def join(found: Sequence[Predictions]) -> Columns:
    """Stack the test rows of several folds; ``fold`` is the fold whose model scored them."""
    parts = [{**one.part("test"), "fold": np.full(len(one.labels("test")), one.fold)} for one in found]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def measure(scored: Scored, weights: Weights) -> Values:
    """All metrics of a diagnosis over its folds.

    Args:
        scored: Of one seed.
        weights: How often each image stands in each of d resamples.

    Returns:
        What `measure_classes` gives; calibration after the temperature, and, as ``raw_...``, before it.
    """
    before = calibration_metrics(scored.labels, scored.raw, weights)
    return {
        **measure_classes(scored, weights),
        **calibration_metrics(scored.labels, scored.probs, weights),
        **{f"raw_{name}": x for name, x in before.items()},
    }


def measure_classes(scored: Scored, weights: Weights) -> Values:
    """The metrics of a diagnosis without its calibration.

    Returns:
        NaN where undefined. Over all images: what `busi.metrics.classification.class_metrics` gives;
        `coverage_<class>`, the share of the images of a class whose conformal set contains it; `set_size`,
        the mean number of classes in a set; `net_benefit_<per cent>` of acting on images from this
        probability of malignant on, and `net_benefit_of_all_<per cent>` of acting on all images. As means
        over folds: what `auroc_metrics` gives; `sensitivity_at_<operating point>` and
        `specificity_at_<operating point>`; and `selective_accuracy_<per cent>`, the accuracy on the rest when
        this share of the images is deferred.
    """
    labels, everyone = scored.labels, np.ones(len(scored.labels), np.bool_)
    malignant = labels == MALIGNANT
    shares, thresholds = np.array(DEFERRED) / 100, np.array(THRESHOLDS) / 100
    by_fold = []
    for fold in np.unique(scored.folds):
        here = scored.folds == fold
        values = dict(auroc_metrics(labels[here], scored.probs[here], weights[:, here]))
        for name, positive in scored.predicted_positive.items():
            values[f"sensitivity_at_{name}"] = mean_of(positive, here & malignant, weights)
            values[f"specificity_at_{name}"] = mean_of(~positive, here & ~malignant, weights)
        certain = scored.probs[here].max(axis=1)
        curve = selective_accuracy(scored.correct[here], certain, shares, weights[:, here])
        values |= {f"selective_accuracy_{x}": curve[:, k] for k, x in enumerate(DEFERRED)}
        by_fold.append(Estimates(values))
    covered = {
        f"coverage_{name}": mean_of(scored.sets[:, k], labels == k, weights) for k, name in enumerate(CLASSES)
    }
    benefit = net_benefit(malignant, scored.probs[:, MALIGNANT], thresholds, weights)
    of_all = net_benefit(malignant, everyone.astype(np.float64), thresholds, weights)
    return {
        **class_metrics(labels, scored.probs.argmax(axis=1), weights),
        **average(by_fold).columns,
        **covered,
        "set_size": mean_of(scored.sets.sum(axis=1), everyone, weights),
        **{f"net_benefit_{x}": benefit[:, k] for k, x in enumerate(THRESHOLDS)},
        **{f"net_benefit_of_all_{x}": of_all[:, k] for k, x in enumerate(THRESHOLDS)},
    }


def estimate(
    seeds: Sequence[Scored],
    compute: Callable[[Scored, Weights], Values] = measure,
    kept: Bool[np.ndarray, " n"] | None = None,
    num_resamples: int = 2000,
) -> Estimates:
    """Means over seeds, with the same resamples (of whole groups, within folds) for every seed.

    Args:
        seeds: Of one guide, with the same images in the same order.
        compute: Gives the metrics of one seed.
        kept: The images that count; None for all.
        num_resamples: Number of bootstrap resamples.
    """
    return average([_estimate(one.columns, partial(compute, one), kept, num_resamples) for one in seeds])


def estimate_masks(
    seeds: Sequence[Columns], kept: Bool[np.ndarray, " n"] | None = None, num_resamples: int = 2000
) -> Estimates:
    """Like `estimate`, for the metrics of `busi.metrics.segmentation.segmentation_metrics`."""
    return average([_estimate(one, partial(segmentation_metrics, one), kept, num_resamples) for one in seeds])


def _estimate(
    columns: Columns,
    compute: Callable[[Weights], Values],
    kept: Bool[np.ndarray, " n"] | None,
    num_resamples: int,
) -> Estimates:
    of_kept = compute if kept is None else lambda weights: compute(weights * kept)
    return bootstrap_groups(columns["group"], of_kept, columns["fold"], num_resamples)
