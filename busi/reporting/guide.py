"""The section about the diagnosis with one guide: mistakes, calibration, operating points, decision curve."""

from collections.abc import Mapping, Sequence

import numpy as np
from sklearn.metrics import confusion_matrix

from busi.core import CLASSES, MALIGNANT
from busi.figures import Block, Cell, PageFigure, Section, Table, draw_confusions
from busi.metrics import Estimates, average_sources
from busi.reporting.calibration import calibration_table, conformal_blocks, list_calibrations
from busi.reporting.cells import JsonObject, cell, to_json
from busi.reporting.charts import draw_decision_curve, draw_ranking, draw_reliability
from busi.reporting.estimates import DEFERRED, THRESHOLDS
from busi.reporting.metric_titles import CALIBRATION, POINTS, entitle
from busi.reporting.mistakes import show_mistakes
from busi.reporting.pooling import Scored, rows_by_source
from busi.reporting.sources import source_table
from busi.reporting.words import is_evaluation, of_trainings
from busi.runs import Variant

BY_SOURCE = {
    "Classes by source": entitle(("accuracy", "balanced_accuracy", *(f"recall_{name}" for name in CLASSES))),
    "Ranking by source": entitle((*(f"auroc_{name}" for name in CLASSES), "auroc")),
    "Calibration by source, after the temperature": entitle(CALIBRATION),
    **{
        f"{rate.capitalize()} for malignant by source": entitle(f"{rate}_at_{name}" for name in POINTS)
        for rate in ("sensitivity", "specificity")
    },
    "Conformal sets at 90 % by source": entitle((*(f"coverage_{name}" for name in CLASSES), "set_size")),
}
"""Tables by source: caption -> metrics and their titles."""
FITTED = list(BY_SOURCE)[-3:]
"""Those of what is set on validation images."""
CLASS_REPORT = ("precision", "recall", "F1")
"""Metrics of the report by class."""


def describe_guide(
    variant: Variant, scored: Sequence[Scored], found: Mapping[str, Estimates]
) -> tuple[Section, JsonObject]:
    """The section about one guide, and its content as JSON.

    Args:
        variant: The runs with this guide.
        scored: Their calibrated predictions, seed by seed.
        found: Their metrics, by source.
    """
    whole, columns = average_sources(list(found.values())), scored[0].columns
    parts = {source: [one.only(here) for one in scored] for source, here in rows_by_source(columns).items()}
    mistakes = {source: {"confusion": _confusion(part).tolist()} for source, part in parts.items()}
    calibrated = all(one.calibrated for one in scored)
    tables = [
        table
        for caption, names in BY_SOURCE.items()
        if calibrated or caption not in FITTED
        for table in source_table(names, columns, {"": found}, caption)
    ]
    blocks = [
        *confusion_blocks(variant, parts, found),
        *show_mistakes(variant, scored[0]),
        *probability_blocks(variant, scored, whole),
        *curve_tables(whole, len(columns["label"])),
        *(conformal_blocks(parts, whole) if calibrated else []),
        *tables,
        *([calibration_table(variant, scored)] if calibrated else []),
    ]
    content: JsonObject = {
        "folds": list(variant.folds),
        "seeds": [seed[0].seeds for seed in variant.seeds],
        "metrics": to_json(whole),
        "calibration": list_calibrations(variant, scored),
    }
    if len(parts) == 1:
        content |= next(iter(mistakes.values()))
    else:
        content["by_source"] = {
            source: {"metrics": to_json(found[source]), **mistakes[source]} for source in parts
        }
    return Section(f"Guide: {variant.title}", blocks), content


def confusion_blocks(
    variant: Variant, parts: Mapping[str, Sequence[Scored]], found: Mapping[str, Estimates]
) -> list[Block]:
    """Which class was taken for which, as a matrix and by class, for each source."""
    several = len(variant.seeds) > 1
    note = f"summed over {variant.trainings}" if several else variant.trainings
    titles = {source: source if len(parts) > 1 else f"guide: {variant.name}" for source in parts}
    figure = draw_confusions({titles[source]: _confusion(part) for source, part in parts.items()})
    rows: list[list[Cell]] = [
        [
            *([source] if len(parts) > 1 else []),
            name,
            *(cell(f"{metric.lower()}_{name}", found[source]) for metric in CLASS_REPORT),
            int((part[0].labels == label).sum()),
        ]
        for source, part in parts.items()
        for label, name in enumerate(CLASSES)
    ]
    header = [*(["source"] if len(parts) > 1 else []), "", *CLASS_REPORT, "images"]
    return [
        PageFigure(f"confusion_{variant.name}", figure, f"Confusion, {note}"),
        Table(header, rows, f"Class report, {of_trainings(variant)}"),
    ]


def probability_blocks(variant: Variant, scored: Sequence[Scored], found: Estimates) -> list[Block]:
    """Ranking, calibration, operating points and decision curve."""
    curves = {name: [(one, k) for one in scored] for k, name in enumerate(CLASSES)}
    areas = {name: found[f"auroc_{name}"] for name in CLASSES}
    folds = len(variant.folds) > 1 and not variant.held_out
    means = " and ".join(["folds"] * folds + ["sources"] * (len(rows_by_source(scored[0].columns)) > 1))
    images = f"{len(scored[0].labels)} images"
    malignant = f"{images}, {int((scored[0].labels == MALIGNANT).sum())} of them malignant"
    fitted = "validation images of the model" if is_evaluation(variant) else "validation fold"
    points = Table(
        ["threshold set for", "sensitivity on test", "specificity on test"],
        [
            [title, cell(f"sensitivity_at_{name}", found), cell(f"specificity_at_{name}", found)]
            for name, title in POINTS.items()
        ],
        f"Operating points for malignant: set on the {fitted}, measured on {malignant}",
    )
    return [
        PageFigure(
            f"ranking_{variant.name}",
            draw_ranking(curves, areas),
            f"Each class against the rest, {images}{f', averaged over {means}' if means else ''}",
        ),
        Table(
            ["", "before the temperature", "after the temperature"],
            [
                [title, cell(f"raw_{name}", found), cell(name, found)]
                for name, title in entitle(CALIBRATION).items()
            ],
            f"Calibration: on {images}; a slope below 1 is overconfident, a calibration error of 0 is best",
        ),
        PageFigure(
            f"reliability_{variant.name}",
            draw_reliability(scored),
            f"Reliability on {malignant}, with 95 % intervals (Wilson)",
        ),
        *([points] if all(one.calibrated for one in scored) else []),
        PageFigure(
            f"decision_curve_{variant.name}",
            draw_decision_curve(scored),
            "Net benefit of acting on malignant, and accuracy when the least certain images are deferred: "
            f"{malignant}{over_sources(scored, ', means over sources')}",
        ),
    ]


def over_sources(scored: Sequence[Scored], words: str) -> str:
    """Words for the caption of a figure whose curves are means over sources; none for one source."""
    return words if len(rows_by_source(scored[0].columns)) > 1 else ""


def curve_tables(found: Estimates, number: int) -> list[Block]:
    """Some points of the decision curve and of selective prediction, with their intervals.

    Args:
        found: The metrics.
        number: Of images.
    """
    benefits: list[list[Cell]] = [
        [f"{x} %", cell(f"net_benefit_{x}", found), cell(f"net_benefit_of_all_{x}", found)]
        for x in THRESHOLDS
    ]
    accuracies: list[list[Cell]] = [[f"{x} %", cell(f"selective_accuracy_{x}", found)] for x in DEFERRED]
    return [
        Table(
            ["threshold probability", "net benefit", "net benefit of acting on everyone"],
            benefits,
            f"Decision curve, malignant, {number} images; acting on nobody has a net benefit of 0",
        ),
        Table(["deferred", "accuracy on the rest"], accuracies, f"Selective prediction, {number} images"),
    ]


def _confusion(scored: Sequence[Scored]) -> np.ndarray:
    """Summed over seeds."""
    every = [(one.labels, one.probs.argmax(axis=1)) for one in scored]
    counts = [confusion_matrix(*pair, labels=range(len(CLASSES))) for pair in every]
    return np.asarray(np.sum(counts, axis=0))
