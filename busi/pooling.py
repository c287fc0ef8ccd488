"""Numbers over the test folds of cross-validation: each fold judged by its own validation fold.

Shares and losses are taken over the pictures of all folds. Ranking (AUROC) and operating points are taken
fold by fold and averaged, since the scores of different models do not share a scale.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from busi.decisions import Decisions, decide
from busi.evidence import Predictions
from busi.statistics import auroc, bootstrap_metrics, classification_metrics, operating_points
from busi.types import CLASSES

Metrics = Mapping[str, float | None]
TARGETS = ("specificity_90", "sensitivity_90", "sensitivity_95")
MALIGNANT = CLASSES.index("malignant")


@dataclass(frozen=True)
class Judged:
    """The test pictures of all folds of one arm and one seed, row by row.

    Attributes:
        labels: True classes.
        groups: Near-duplicate groups; none lies in two folds.
        folds: The fold whose model judged the picture.
        raw: Probabilities as the networks gave them.
        probs: Probabilities after the temperature of the fold's own validation pictures.
        called: At each of `TARGETS`, whether the picture is called malignant.
        sets: Conformal sets.
        decisions: Of each fold.
    """

    labels: Int[np.ndarray, " n"]
    groups: Int[np.ndarray, " n"]
    folds: Int[np.ndarray, " n"]
    raw: Float[np.ndarray, "n 3"]
    probs: Float[np.ndarray, "n 3"]
    called: Mapping[str, Bool[np.ndarray, " n"]]
    sets: Bool[np.ndarray, "n 3"]
    decisions: Mapping[int, Decisions]


def judge(found: Sequence[Predictions]) -> Judged:
    """Let the validation fold of each run decide, and apply that to its test fold.

    Args:
        found: The folds of one arm and one seed, each with validation and test rows.
    """
    decisions: dict[int, Decisions] = {}
    parts = []
    for one in found:
        made = decide(one.logits("val"), one.labels("val"))
        val, test = made.probs(one.logits("val")), made.probs(one.logits("test"))
        points = operating_points(one.labels("val"), val, one.labels("test"), test)
        thresholds = {target: points[f"threshold_at_{target}"] for target in TARGETS}
        decisions[one.fold] = made
        parts.append(
            {
                "labels": one.labels("test"),
                "groups": one.part("test")["group"],
                "folds": np.full(len(test), one.fold),
                "raw": Decisions(1.0, made.quantiles, made.level).probs(one.logits("test")),
                "probs": test,
                "sets": made.sets(one.logits("test")),
                # Without a threshold (a class is missing in validation) nothing is called malignant.
                **{t: test[:, MALIGNANT] >= (np.inf if x is None else x) for t, x in thresholds.items()},
            }
        )
    joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    called = {target: joined.pop(target) for target in TARGETS}
    return Judged(**joined, called=called, decisions=decisions)


def measure(judged: Judged, rows: Int[np.ndarray, " m"] | None = None) -> dict[str, float | None]:
    """All numbers of a diagnosis over its folds.

    Args:
        judged: Of one arm and seed.
        rows: The rows that count, repeats included (a bootstrap draw); None for each once.

    Returns:
        What `busi.statistics.classification_metrics` gives on calibrated probabilities, `auroc...` as means
        over folds; `raw_brier`, `raw_log_loss`, `raw_calibration_error` and `raw_calibration_slope` before
        the temperature; `sensitivity_at_...` and `specificity_at_...` as means over folds;
        `coverage_<class>`, the share of its pictures whose conformal set holds the class, and `set_size`,
        the mean number of classes in a set. None where undefined.
    """
    rows = np.arange(len(judged.labels)) if rows is None else rows
    labels, folds, probs = judged.labels[rows], judged.folds[rows], judged.probs[rows]
    values = classification_metrics(labels, probs, rows)
    before = classification_metrics(labels, judged.raw[rows], rows)
    values |= {
        f"raw_{name}": before[name]
        for name in ("brier", "log_loss", "calibration_error", "calibration_slope")
    }
    by_fold: dict[str, list[float]] = {}
    truth = labels[:, None] == np.arange(len(CLASSES))
    for fold in np.unique(judged.folds):
        here = folds == fold
        areas = auroc(truth[here], probs[here])
        for label, name in enumerate(CLASSES):
            by_fold.setdefault(f"auroc_{name}", []).append(float(areas[label]))
        by_fold.setdefault("auroc", []).append(float(areas.mean()))
        for target, called in judged.called.items():
            flagged, malignant = called[rows][here], truth[here, MALIGNANT]
            by_fold.setdefault(f"sensitivity_at_{target}", []).append(_share(flagged[malignant]))
            by_fold.setdefault(f"specificity_at_{target}", []).append(_share(~flagged[~malignant]))
    sets = judged.sets[rows]
    shares = {name: float(np.mean(x)) for name, x in by_fold.items()}
    shares |= {f"coverage_{name}": _share(sets[truth[:, k], k]) for k, name in enumerate(CLASSES)}
    shares["set_size"] = float(sets.sum(axis=1).mean())
    return values | {name: x if np.isfinite(x) else None for name, x in shares.items()}


def intervals(judged: Sequence[Judged], num_draws: int = 2000) -> dict[str, tuple[float, float]]:
    """95 % intervals of the means over seeds: whole groups are drawn within folds, the same for every seed.

    Args:
        judged: The seeds of one arm, over the same pictures in the same order.
        num_draws: Number of bootstrap draws.
    """
    first = judged[0]
    return bootstrap_metrics(
        first.groups, lambda rows: mean([measure(one, rows) for one in judged]), first.folds, num_draws
    )


def difference(
    one: Sequence[Judged], other: Sequence[Judged], num_draws: int = 2000
) -> dict[str, tuple[float, float]]:
    """95 % intervals of `one` minus `other`, arms over the same pictures in the same order: paired draws."""
    first = one[0]

    def compute(rows: Int[np.ndarray, " m"]) -> dict[str, float | None]:
        ours, theirs = (mean([measure(seed, rows) for seed in arm]) for arm in (one, other))
        return {name: None if x is None or (y := theirs[name]) is None else x - y for name, x in ours.items()}

    return bootstrap_metrics(first.groups, compute, first.folds, num_draws)


def mean(metrics: Sequence[Metrics]) -> dict[str, float | None]:
    """Mean of each number; None where one of them is."""
    means: dict[str, float | None] = {}
    for name in metrics[0]:
        values = [x for one in metrics if (x := one[name]) is not None]
        means[name] = float(np.mean(values)) if len(values) == len(metrics) else None
    return means


def _share(flags: Bool[np.ndarray, " n"]) -> float:
    return float(flags.mean()) if flags.size else float("nan")
