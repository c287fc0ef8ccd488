"""Metrics of each source with their intervals, and their mean over sources.

Accuracy, recall, F1, Brier score and log loss are computed over the images of all folds. AUROC, selective
prediction and operating points are computed in each fold and averaged, because the probabilities of
different models are not on one scale.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Int

from busi.core import CLASSES, MALIGNANT, NORMAL
from busi.metrics import (
    FREE,
    OPERATING_POINTS,
    SHARE,
    Estimates,
    Over,
    Values,
    Weights,
    auroc_metrics,
    average,
    average_sources,
    bootstrap_sources,
    calibration_metrics,
    class_metrics,
    find_cases,
    mean_of,
    net_benefit,
    segmentation_metrics,
    selective_accuracy,
)
from busi.reporting.metric_titles import CALIBRATION
from busi.reporting.pooling import Columns, Scored, rows_by_source
from busi.runs import take

DEFERRED = (10, 20, 30)
"""Of selective prediction: share of the images that is deferred to a person, in per cent."""
THRESHOLDS = (10, 20, 30)
"""Of the decision curve: probability of malignant, in per cent, from which an image is acted on."""

Kept = Bool[np.ndarray, " n"]
"""Which images count."""
Positions = Int[np.ndarray, " m"]
"""Of the images of one source."""


def measure(scored: Scored, weights: Weights) -> Values:
    """All metrics of the diagnosis of one source over its folds.

    Args:
        scored: Of one seed and source.
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
        this share of the images is deferred. Means over classes are over those that have images.
    """
    labels, everyone = scored.labels, np.ones(len(scored.labels), np.bool_)
    malignant, classes = labels == MALIGNANT, np.unique(labels).tolist()
    shares, thresholds = np.array(DEFERRED) / 100, np.array(THRESHOLDS) / 100
    by_fold = []
    for fold in np.unique(scored.folds):
        here = scored.folds == fold
        values = dict(auroc_metrics(labels[here], scored.probs[here], weights[:, here], classes))
        known = here & scored.calibrated
        for name, positive in scored.predicted_positive.items():
            values[f"sensitivity_at_{name}"] = mean_of(positive, known & malignant, weights)
            values[f"specificity_at_{name}"] = mean_of(~positive, known & ~malignant, weights)
        certain = scored.probs[here].max(axis=1)
        curve = selective_accuracy(scored.correct[here], certain, shares, weights[:, here])
        values |= {f"selective_accuracy_{x}": curve[:, k] for k, x in enumerate(DEFERRED)}
        by_fold.append(Estimates(values))
    known = everyone & scored.calibrated
    covered = {
        f"coverage_{name}": mean_of(scored.sets[:, k], known & (labels == k), weights)
        for k, name in enumerate(CLASSES)
    }
    benefit = net_benefit(malignant, scored.probs[:, MALIGNANT], thresholds, weights)
    of_all = net_benefit(malignant, everyone.astype(np.float64), thresholds, weights)
    return {
        **class_metrics(labels, scored.probs.argmax(axis=1), weights),
        **average(by_fold).columns,
        **covered,
        "set_size": mean_of(scored.sets.sum(axis=1), known, weights),
        **{f"net_benefit_{x}": benefit[:, k] for k, x in enumerate(THRESHOLDS)},
        **{f"net_benefit_of_all_{x}": of_all[:, k] for k, x in enumerate(THRESHOLDS)},
    }


def find_all_cases(scored: Scored) -> dict[str, Over]:
    """Which images each of the metrics of a diagnosis is over."""
    labels = scored.labels
    malignant, every = labels == MALIGNANT, np.ones(len(labels), np.bool_)
    normal = labels == NORMAL
    found = find_cases({"label": labels}, by_fold=True)
    return {
        **found,
        **{f"raw_{name}": found[name] for name in CALIBRATION},
        **{f"coverage_{name}": Over(SHARE, (labels == k,)) for k, name in enumerate(CLASSES)},
        **{f"sensitivity_at_{name}": Over(SHARE, (malignant,), by_fold=True) for name in OPERATING_POINTS},
        **{f"specificity_at_{name}": Over(SHARE, (~malignant,), by_fold=True) for name in OPERATING_POINTS},
        **{f"selective_accuracy_{x}": Over(SHARE, (find_certain(scored, x / 100),)) for x in DEFERRED},
        **{f"net_benefit_{x}": Over(FREE, (malignant, ~malignant)) for x in THRESHOLDS},
        **{f"net_benefit_of_all_{x}": Over(FREE, (malignant, ~malignant)) for x in THRESHOLDS},
        "set_size": Over(FREE, (every,)),
        "normal_recall": Over(SHARE, (normal,)),
        "lesions_called_normal": Over(SHARE, (~normal,)),
    }


def find_certain(scored: Scored, share: float) -> Kept:
    """The images that stay when a share of each fold of each source is deferred, the least certain first."""
    certain = scored.probs.max(axis=1)
    kept = np.zeros(len(certain), np.bool_)
    for places in rows_by_source(scored.columns).values():
        for fold in np.unique(scored.folds[places]):
            here = np.flatnonzero(places & (scored.folds == fold))
            number = max(int(np.ceil((1 - share) * len(here) - 1e-9)), 1)
            kept[here[np.argsort(-certain[here], kind="stable")[:number]]] = True
    return kept


def estimate(
    seeds: Sequence[Scored],
    compute: Callable[[Scored, Weights], Values] = measure,
    kept: Kept | None = None,
    num_resamples: int = 2000,
) -> dict[str, Estimates]:
    """Metrics of each source: means over seeds, from the same resamples for every seed.

    Args:
        seeds: Of one guide, with the same images in the same order.
        compute: Gives the metrics of one seed and source.
        kept: The images that count; None for all.
        num_resamples: Number of bootstrap resamples.
    """

    def over_seeds(here: Positions, weights: Weights) -> Estimates:
        return average([Estimates(compute(one.only(here), weights)) for one in seeds])

    over = find_all_cases(seeds[0])
    for k, name in enumerate(CLASSES):  # each seed predicts a class for other images: the fewest count
        fewest = min((one.probs.argmax(axis=1) == k for one in seeds), key=np.count_nonzero)
        over[f"precision_{name}"] = Over(SHARE, (fewest,))
    return _estimate(seeds[0].columns, over_seeds, over, kept, num_resamples)


def estimate_masks(
    seeds: Sequence[Columns], kept: Kept | None = None, num_resamples: int = 2000
) -> dict[str, Estimates]:
    """Like `estimate`, for the metrics of `busi.metrics.segmentation.segmentation_metrics`."""

    def over_seeds(here: Positions, weights: Weights) -> Estimates:
        return average([Estimates(segmentation_metrics(take(one, here), weights)) for one in seeds])

    return _estimate(seeds[0], over_seeds, find_cases(seeds[0]), kept, num_resamples)


def subtract(found: Mapping[str, Estimates], others: Mapping[str, Estimates]) -> Estimates:
    """Paired differences of the means over the sources where both are defined."""
    pairs = [(one, others[name]) for name, one in found.items()]
    return average_sources([one.where(other) for one, other in pairs]) - average_sources(
        [other.where(one) for one, other in pairs]
    )


def _estimate(
    columns: Columns,
    compute: Callable[[Positions, Weights], Estimates],
    over: Mapping[str, Over],
    kept: Kept | None,
    num_resamples: int,
) -> dict[str, Estimates]:
    sources, groups, folds = (columns[name] for name in ("source", "group", "fold"))
    return bootstrap_sources(
        sources,
        groups,
        lambda here, weights: compute(here, weights).columns,
        num_resamples,
        strata=folds,
        over=over,
        kept=kept,
    )
