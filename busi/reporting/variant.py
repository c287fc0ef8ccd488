"""Everything about the diagnosis of one arm: its mistakes, its probabilities, and what they are worth."""

from collections.abc import Sequence

import numpy as np
from sklearn.metrics import classification_report, confusion_matrix

from busi.core import CLASSES
from busi.figures import Block, Cell, Picture, Section, Table, draw_confusion
from busi.metrics import Estimates, defined
from busi.reporting.cells import Facts, cell, facts
from busi.reporting.charts import draw_decisions, draw_ranking, draw_reliability
from busi.reporting.pooling import REFERRED, TARGETS, THRESHOLDS, Judged
from busi.runs import Arm

CALIBRATION = {
    "brier": "Brier score (0 to 2)",
    "log_loss": "log loss, nats",
    "calibration_slope": "calibration slope, malignant",
    "calibration_error": "calibration error, debiased",
}
"""What is given before and after the temperature."""
POINTS = {
    "specificity_90": "90 % specificity",
    "sensitivity_90": "90 % sensitivity",
    "sensitivity_95": "95 % sensitivity",
}


def describe_arm(arm: Arm, judged: Sequence[Judged], found: Estimates) -> tuple[Section, Facts]:
    """Everything about one arm."""
    confusion = np.sum([_confusion(one) for one in judged], axis=0)
    header = ["", "precision", "recall", "F1", "pictures"]
    report = class_report(judged)
    note = f"summed over {arm.trainings}" if len(judged) > 1 else arm.trainings
    curves = {name: [(one, k) for one in judged] for k, name in enumerate(CLASSES)}
    blocks: list[Block] = [
        Picture(
            f"confusion_{arm.name}", draw_confusion(confusion, f"guide: {arm.name}"), f"Confusion, {note}"
        ),
        Table(header, [[name, *row] for name, row in report.items()], "Class report, mean over seeds"),
        Picture(
            f"ranking_{arm.name}", draw_ranking(curves), "Each class against the rest, averaged over folds"
        ),
        Table(
            ["", "as stated", "after the temperature"],
            [[words, cell(f"raw_{name}", found), cell(name, found)] for name, words in CALIBRATION.items()],
            "Calibration; a slope below 1 is overconfident, a calibration error of about 0 is perfect",
        ),
        Picture(f"reliability_{arm.name}", draw_reliability(judged), "Reliability, bars of 95 % (Wilson)"),
        Table(
            ["threshold set for", "sensitivity on test", "specificity on test"],
            [
                [words, cell(f"sensitivity_at_{target}", found), cell(f"specificity_at_{target}", found)]
                for target, words in POINTS.items()
            ],
            "Operating points for malignant: set on each validation fold, achieved on its test fold",
        ),
        Picture(
            f"decisions_{arm.name}", draw_decisions(judged), "What deciding by these probabilities is worth"
        ),
        *worth_tables(found),
        *_conformal(judged, found),
        decision_table(arm, judged),
    ]
    return Section(f"Guide: {arm.title}", blocks), {
        "folds": list(arm.folds),
        "seeds": [seed[0].seeds for seed in arm.seeds],
        "numbers": facts(found),
        "confusion": confusion.tolist(),
        "class_report": {name: dict(zip(header[1:], row, strict=True)) for name, row in report.items()},
        "decisions": [
            {
                "seeds": seed[0].seeds,
                "fold": fold,
                "temperature": one.decisions[fold].temperature,
                "thresholds": dict(one.thresholds[fold]),
                "quantiles": list(one.decisions[fold].quantiles),
            }
            for seed, one in zip(arm.seeds, judged, strict=True)
            for fold in one.decisions
        ],
    }


def class_report(judged: Sequence[Judged]) -> dict[str, list[Cell]]:
    """Class -> precision, recall, F1, number of pictures; means over seeds, None where undefined."""
    every = [
        classification_report(
            one.labels,
            one.probs.argmax(axis=1),
            labels=range(len(CLASSES)),
            target_names=CLASSES,
            output_dict=True,
            zero_division=np.nan,
        )
        for one in judged
    ]
    keys = ("precision", "recall", "f1-score", "support")
    means = {name: [float(np.mean([one[name][key] for one in every])) for key in keys] for name in CLASSES}
    return {name: [*map(defined, row[:3]), int(row[3])] for name, row in means.items()}


def worth_tables(found: Estimates) -> list[Block]:
    """Some points of the decision curve and of the referral curve, with their intervals."""
    acting: list[list[Cell]] = [
        [f"{x} %", cell(f"net_benefit_{x}", found), cell(f"net_benefit_of_all_{x}", found)]
        for x in THRESHOLDS
    ]
    left: list[list[Cell]] = [[f"{x} %", cell(f"accuracy_referring_{x}", found)] for x in REFERRED]
    return [
        Table(
            ["threshold probability", "net benefit", "of acting on everyone"],
            acting,
            "Acting on malignant; 0 is the worth of acting on nobody",
        ),
        Table(["referred", "accuracy on the rest"], left, "Referring the least certain pictures"),
    ]


def decision_table(arm: Arm, judged: Sequence[Judged]) -> Table:
    """What each validation fold decided."""
    rows = [
        [
            ", ".join(map(str, folds[0].seeds)),
            fold,
            decided.temperature,
            *(one.thresholds[fold][target] for target in TARGETS),
            *decided.quantiles,
        ]
        for folds, one in zip(arm.seeds, judged, strict=True)
        for fold, decided in one.decisions.items()
    ]
    header = ["seed", "fold", "temperature", *(f"threshold, {x}" for x in POINTS.values())]
    return Table(
        [*header, *(f"set, {name}" for name in CLASSES)],
        rows,
        "What the validation folds decided; a class is in the set when 1 - its probability is at most this",
    )


def _conformal(judged: Sequence[Judged], found: Estimates) -> list[Block]:
    sizes = np.mean(
        [np.bincount(one.sets.sum(axis=1), minlength=4) / len(one.sets) for one in judged], axis=0
    )
    text = (
        "Conformal sets are meant to hold the true class of 90 % of the pictures of each class. What they "
        "hold here is measured, not guaranteed: a validation fold has few pictures of a class. A set has "
        f"{found['set_size'].value:.2f} classes on average; "
        + ", ".join(f"{share:.0%} of the sets have {number}" for number, share in enumerate(sizes))
        + "."
    )
    rows: list[list[Cell]] = [
        [name, int((judged[0].labels == k).sum()), cell(f"coverage_{name}", found)]
        for k, name in enumerate(CLASSES)
    ]
    return [text, Table(["class", "pictures", "measured coverage"], rows, "Conformal sets at 90 %")]


def _confusion(judged: Judged) -> np.ndarray:
    preds = judged.probs.argmax(axis=1)
    return np.asarray(confusion_matrix(judged.labels, preds, labels=range(len(CLASSES))))
