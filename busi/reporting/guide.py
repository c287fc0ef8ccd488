"""The section about the diagnosis with one guide: mistakes, calibration, operating points, decision curve."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Int
from sklearn.metrics import classification_report, confusion_matrix

from busi.core import CLASSES
from busi.figures import Block, Cell, PageFigure, Section, Table, draw_confusion
from busi.metrics import OPERATING_POINTS, Estimates, defined
from busi.reporting.cells import JsonObject, cell, to_json
from busi.reporting.charts import draw_decision_curve, draw_ranking, draw_reliability
from busi.reporting.pooling import DEFERRED, THRESHOLDS, Scored
from busi.runs import Variant

CALIBRATION = {
    "brier": "Brier score (0 to 2)",
    "log_loss": "log loss, nats",
    "calibration_slope": "calibration slope, malignant",
    "calibration_error": "calibration error, debiased",
}
"""Metrics that are given before and after the temperature."""
POINTS = {name: f"{100 * level:.0f} % {rate}" for name, (rate, level) in OPERATING_POINTS.items()}
"""Name of an operating point -> its title."""
CLASS_REPORT = ("precision", "recall", "F1", "images")
"""Columns of the report by class."""


def describe_guide(
    variant: Variant, scored: Sequence[Scored], found: Estimates
) -> tuple[Section, JsonObject]:
    """The section about one guide, and its content as JSON.

    Args:
        variant: The runs with this guide.
        scored: Their calibrated predictions, seed by seed.
        found: Their metrics.
    """
    confusion = np.sum([_confusion(one) for one in scored], axis=0)
    report = class_report(scored)
    blocks = [
        *confusion_blocks(variant, confusion, report),
        *probability_blocks(variant, scored, found),
        *curve_tables(found),
        *conformal_blocks(scored, found),
        calibration_table(variant, scored),
    ]
    return Section(f"Guide: {variant.title}", blocks), {
        "folds": list(variant.folds),
        "seeds": [seed[0].seeds for seed in variant.seeds],
        "metrics": to_json(found),
        "confusion": confusion.tolist(),
        "class_report": {name: dict(zip(CLASS_REPORT, row, strict=True)) for name, row in report.items()},
        "calibration": [
            {
                "seeds": seed[0].seeds,
                "fold": fold,
                "temperature": one.calibrations[fold].temperature,
                "thresholds": dict(one.thresholds[fold]),
                "quantiles": list(one.calibrations[fold].quantiles),
            }
            for seed, one in zip(variant.seeds, scored, strict=True)
            for fold in one.calibrations
        ],
    }


def confusion_blocks(
    variant: Variant, confusion: Int[np.ndarray, "3 3"], report: Mapping[str, Sequence[Cell]]
) -> list[Block]:
    """Which class was taken for which, as a matrix and by class."""
    several = len(variant.seeds) > 1
    note = f"summed over {variant.trainings}" if several else variant.trainings
    figure = draw_confusion(confusion, f"guide: {variant.name}")
    rows: list[list[Cell]] = [[name, *row] for name, row in report.items()]
    return [
        PageFigure(f"confusion_{variant.name}", figure, f"Confusion, {note}"),
        Table(["", *CLASS_REPORT], rows, "Class report, mean over seeds"),
    ]


def probability_blocks(variant: Variant, scored: Sequence[Scored], found: Estimates) -> list[Block]:
    """Ranking, calibration, operating points and decision curve."""
    curves = {name: [(one, k) for one in scored] for k, name in enumerate(CLASSES)}
    return [
        PageFigure(
            f"ranking_{variant.name}",
            draw_ranking(curves),
            "Each class against the rest, averaged over folds",
        ),
        Table(
            ["", "before the temperature", "after the temperature"],
            [[title, cell(f"raw_{name}", found), cell(name, found)] for name, title in CALIBRATION.items()],
            "Calibration: a slope below 1 means overconfident, a calibration error of 0 is best",
        ),
        PageFigure(
            f"reliability_{variant.name}",
            draw_reliability(scored),
            "Reliability, with 95 % intervals (Wilson)",
        ),
        Table(
            ["threshold set for", "sensitivity on test", "specificity on test"],
            [
                [title, cell(f"sensitivity_at_{name}", found), cell(f"specificity_at_{name}", found)]
                for name, title in POINTS.items()
            ],
            "Operating points for malignant: set on each validation fold, measured on its test fold",
        ),
        PageFigure(
            f"decision_curve_{variant.name}",
            draw_decision_curve(scored),
            "Net benefit of acting on malignant, and accuracy when the least certain images are deferred",
        ),
    ]


def class_report(scored: Sequence[Scored]) -> dict[str, list[Cell]]:
    """Class -> precision, recall, F1 and number of images; means over seeds, None where undefined."""
    every = [
        classification_report(
            one.labels,
            one.probs.argmax(axis=1),
            labels=range(len(CLASSES)),
            target_names=CLASSES,
            output_dict=True,
            zero_division=np.nan,
        )
        for one in scored
    ]
    keys = ("precision", "recall", "f1-score", "support")
    means = {name: [float(np.mean([one[name][key] for one in every])) for key in keys] for name in CLASSES}
    return {name: [*map(defined, row[:3]), int(row[3])] for name, row in means.items()}


def curve_tables(found: Estimates) -> list[Block]:
    """Some points of the decision curve and of selective prediction, with their intervals."""
    benefits: list[list[Cell]] = [
        [f"{x} %", cell(f"net_benefit_{x}", found), cell(f"net_benefit_of_all_{x}", found)]
        for x in THRESHOLDS
    ]
    accuracies: list[list[Cell]] = [[f"{x} %", cell(f"selective_accuracy_{x}", found)] for x in DEFERRED]
    return [
        Table(
            ["threshold probability", "net benefit", "net benefit of acting on everyone"],
            benefits,
            "Decision curve, malignant; acting on nobody has a net benefit of 0",
        ),
        Table(["deferred", "accuracy on the rest"], accuracies, "Selective prediction"),
    ]


def calibration_table(variant: Variant, scored: Sequence[Scored]) -> Table:
    """Temperature, thresholds and conformal quantiles of each validation fold."""
    rows = [
        [
            ", ".join(map(str, folds[0].seeds)),
            fold,
            calibration.temperature,
            *one.thresholds[fold].values(),
            *calibration.quantiles,
        ]
        for folds, one in zip(variant.seeds, scored, strict=True)
        for fold, calibration in one.calibrations.items()
    ]
    header = ["seed", "fold", "temperature", *(f"threshold, {title}" for title in POINTS.values())]
    return Table(
        [*header, *(f"quantile, {name}" for name in CLASSES)],
        rows,
        "Set on the validation folds; a conformal set has the classes whose 1 - p is at most the quantile",
    )


def conformal_blocks(scored: Sequence[Scored], found: Estimates) -> list[Block]:
    """How many classes the conformal sets have, and how often they contain the true one."""
    sizes = np.mean(
        [np.bincount(one.sets.sum(axis=1), minlength=4) / len(one.sets) for one in scored], axis=0
    )
    text = (
        "A conformal set should contain the true class for 90 % of the images of each class. A validation "
        "fold has few images of a class, so the coverage is measured here and not guaranteed. A set has "
        f"{found['set_size'].value:.2f} classes on average: "
        + ", ".join(f"{share:.0%} of the sets have {number}" for number, share in enumerate(sizes))
        + "."
    )
    rows: list[list[Cell]] = [
        [name, int((scored[0].labels == k).sum()), cell(f"coverage_{name}", found)]
        for k, name in enumerate(CLASSES)
    ]
    return [text, Table(["class", "images", "measured coverage"], rows, "Conformal sets at 90 %")]


def _confusion(scored: Scored) -> np.ndarray:
    preds = scored.probs.argmax(axis=1)
    return np.asarray(confusion_matrix(scored.labels, preds, labels=range(len(CLASSES))))
