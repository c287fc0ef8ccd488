"""Numbers over the test folds of cross-validation: each fold judged by its own validation fold.

Shares and losses are taken over the pictures of all folds. Whatever ranks pictures (AUROC, referral) and
operating points are taken fold by fold and averaged, since the scores of different models do not share a
scale.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from busi.core import CLASSES, MALIGNANT
from busi.metrics import (
    Counts,
    Decisions,
    Estimates,
    Values,
    auroc_metrics,
    average,
    bootstrap_groups,
    calibration_metrics,
    class_metrics,
    decide,
    mean_of,
    net_benefit,
    operating_points,
    referral_curve,
    segmentation_metrics,
)
from busi.runs import Predictions

TARGETS = ("specificity_90", "sensitivity_90", "sensitivity_95")
"""Operating points that the validation fold sets."""
REFERRED, THRESHOLDS = (10, 20, 30), (10, 20, 30)
"""Per cent of the pictures that are referred, and of probability of malignant from which one acts."""

Table = Mapping[str, Shaped[np.ndarray, " n"]]
"""Columns of predictions."""


@dataclass(frozen=True)
class Judged:
    """The test pictures of all folds of one arm and one seed, row by row.

    Attributes:
        table: Their columns of ``predictions.csv``.
        raw: Probabilities as the networks gave them.
        probs: Probabilities after the temperature of the fold's own validation pictures.
        called: At each of `TARGETS`, whether the picture is called malignant.
        sets: Conformal sets.
        decisions: Of each fold.
        thresholds: Of each fold, at each of `TARGETS`; None where validation lacks a class.
    """

    table: Table
    raw: Float[np.ndarray, "n 3"]
    probs: Float[np.ndarray, "n 3"]
    called: Mapping[str, Bool[np.ndarray, " n"]]
    sets: Bool[np.ndarray, "n 3"]
    decisions: Mapping[int, Decisions]
    thresholds: Mapping[int, Mapping[str, float | None]]

    @property
    def labels(self) -> Int[np.ndarray, " n"]:
        """True classes."""
        return self.table["label"]

    @property
    def folds(self) -> Int[np.ndarray, " n"]:
        """The fold whose model judged the picture."""
        return self.table["fold"]

    @property
    def correct(self) -> Bool[np.ndarray, " n"]:
        """Whether the most probable class is the true one."""
        return np.asarray(self.probs.argmax(axis=1) == self.labels)


def judge(found: Sequence[Predictions]) -> Judged:
    """Let the validation fold of each run decide, and apply that to its test fold.

    Args:
        found: The folds of one arm and one seed, each with validation and test rows.
    """
    decisions: dict[int, Decisions] = {}
    thresholds: dict[int, dict[str, float | None]] = {}
    parts = []
    for one in found:
        logits = one.logits("test")
        decided = decide(one.logits("val"), one.labels("val"))
        val, test = decided.probs(one.logits("val")), decided.probs(logits)
        points = operating_points(one.labels("val"), val, one.labels("test"), test)
        limits = {target: points[f"threshold_at_{target}"] for target in TARGETS}
        decisions[one.fold], thresholds[one.fold] = decided, limits
        parts.append(
            {
                "raw": Decisions(1.0, decided.quantiles, decided.level).probs(logits),
                "probs": test,
                "sets": decided.sets(logits),
                # Without a threshold (a class is missing in validation) nothing is called malignant.
                **{t: test[:, MALIGNANT] >= (np.inf if x is None else x) for t, x in limits.items()},
            }
        )
    joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    called = {target: joined.pop(target) for target in TARGETS}
    return Judged(join(found), **joined, called=called, decisions=decisions, thresholds=thresholds)


def join(found: Sequence[Predictions]) -> Table:
    """The test rows of several folds below each other; ``fold`` is the fold whose model judged them."""
    parts = [{**one.part("test"), "fold": np.full(len(one.labels("test")), one.fold)} for one in found]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def measure(judged: Judged, counts: Counts) -> Values:
    """All numbers of a diagnosis over its folds.

    Args:
        judged: Of one arm and seed.
        counts: How often each picture counts, in each of d draws.

    Returns:
        What `measure_calls` gives; calibration after the temperature, and, as ``raw_...``, before it.
    """
    before = calibration_metrics(judged.labels, judged.raw, counts)
    return {
        **measure_calls(judged, counts),
        **calibration_metrics(judged.labels, judged.probs, counts),
        **{f"raw_{name}": x for name, x in before.items()},
    }


def measure_calls(judged: Judged, counts: Counts) -> Values:
    """The numbers of a diagnosis without its calibration.

    Returns:
        What `busi.metrics.classification.class_metrics` gives; as means over folds `auroc...`, the
        `sensitivity_at_<target>` and `specificity_at_<target>`, and `accuracy_referring_<per cent>`, that of
        the pictures that are left when so many were referred, the least certain first; `coverage_<class>`,
        the share of its pictures whose conformal set holds the class, and `set_size`, the mean number of
        classes in a set; `net_benefit_<per cent>` of acting on pictures that are malignant with so much
        probability, and `net_benefit_of_all_<per cent>` of acting on all. NaN where undefined.
    """
    labels, everyone = judged.labels, np.ones(len(judged.labels), np.bool_)
    malignant = labels == MALIGNANT
    shares, thresholds = np.array(REFERRED) / 100, np.array(THRESHOLDS) / 100
    by_fold = []
    for fold in np.unique(judged.folds):
        here = judged.folds == fold
        values = dict(auroc_metrics(labels[here], judged.probs[here], counts[:, here]))
        for target, called in judged.called.items():
            values[f"sensitivity_at_{target}"] = mean_of(called, here & malignant, counts)
            values[f"specificity_at_{target}"] = mean_of(~called, here & ~malignant, counts)
        certain = judged.probs[here].max(axis=1)
        curve = referral_curve(judged.correct[here], certain, shares, counts[:, here])
        values |= {f"accuracy_referring_{x}": curve[:, k] for k, x in enumerate(REFERRED)}
        by_fold.append(Estimates(values))
    covered = {
        f"coverage_{name}": mean_of(judged.sets[:, k], labels == k, counts) for k, name in enumerate(CLASSES)
    }
    worth = net_benefit(malignant, judged.probs[:, MALIGNANT], thresholds, counts)
    of_all = net_benefit(malignant, everyone.astype(np.float64), thresholds, counts)
    return {
        **class_metrics(labels, judged.probs.argmax(axis=1), counts),
        **average(by_fold).columns,
        **covered,
        "set_size": mean_of(judged.sets.sum(axis=1), everyone, counts),
        **{f"net_benefit_{x}": worth[:, k] for k, x in enumerate(THRESHOLDS)},
        **{f"net_benefit_of_all_{x}": of_all[:, k] for k, x in enumerate(THRESHOLDS)},
    }


def estimate(
    seeds: Sequence[Judged],
    compute: Callable[[Judged, Counts], Values] = measure,
    kept: Bool[np.ndarray, " n"] | None = None,
    num_draws: int = 2000,
) -> Estimates:
    """Means over the seeds of one arm, with draws of whole groups within folds, the same for every seed.

    Args:
        seeds: Over the same pictures in the same order.
        compute: The numbers of one seed.
        kept: The pictures that count, None for all.
        num_draws: Number of bootstrap draws.
    """
    return average([_draw(one.table, partial(compute, one), kept, num_draws) for one in seeds])


def estimate_masks(
    seeds: Sequence[Table], kept: Bool[np.ndarray, " n"] | None = None, num_draws: int = 2000
) -> Estimates:
    """The same for the numbers of `busi.metrics.segmentation.segmentation_metrics`."""
    return average([_draw(one, partial(segmentation_metrics, one), kept, num_draws) for one in seeds])


def _draw(
    table: Table, compute: Callable[[Counts], Values], kept: Bool[np.ndarray, " n"] | None, num_draws: int
) -> Estimates:
    weighed = compute if kept is None else lambda counts: compute(counts * kept)
    return bootstrap_groups(table["group"], weighed, table["fold"], num_draws)
