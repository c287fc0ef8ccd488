"""How good a diagnosis is, arm by arm; what the validation folds decided; and how arms differ."""

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
from sklearn.metrics import classification_report, confusion_matrix

from busi.bootstrap import Estimates, defined
from busi.charts import draw_decisions, draw_ranking, draw_reliability
from busi.evidence import Arm
from busi.pages import Block, Cell, Picture, Section, Table
from busi.pictures import draw_confusion
from busi.pooling import TARGETS, Judged, estimate, judge, measure_calls
from busi.sections.cells import Facts, cell, estimate_table, facts
from busi.sections.subgroups import split_by_marks, split_by_size
from busi.types import CLASSES, MALIGNANT

NAMES = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "macro_f1": "macro-F1",
    **{f"recall_{name}": f"recall, {name}" for name in CLASSES},
    **{f"auroc_{name}": f"AUROC, {name} against the rest" for name in CLASSES},
    "auroc": "AUROC, mean of the three",
    "brier": "Brier score (0 to 2)",
    "log_loss": "log loss, nats",
    "calibration_slope": "calibration slope, malignant",
    "calibration_error": "calibration error, debiased",
}
CALIBRATION = ("brier", "log_loss", "calibration_slope", "calibration_error")
COMPARED = ("accuracy", "macro_f1", "recall_malignant", "auroc_malignant", "auroc", "brier", "log_loss")
POINTS = {
    "specificity_90": "90 % specificity",
    "sensitivity_90": "90 % sensitivity",
    "sensitivity_95": "95 % sensitivity",
}
ENOUGH_SEEDS = 3
EXPLANATION = (
    "Test pictures of all folds, means over seeds, 95 % intervals. Shares and losses are over all pictures; "
    "AUROC and operating points are computed in each fold and averaged, since the scores of different models "
    "are not on one scale. Every decision (temperature, threshold, conformal set) was made by the validation "
    "fold of the same run. Calibration is given after the temperature."
)


def describe_diagnosis(arms: Sequence[Arm]) -> tuple[list[Section], Facts]:
    """The sections on diagnosis, and their numbers."""
    judged = {arm.name: [judge(seed) for seed in arm.seeds] for arm in arms}
    found = {arm.name: estimate(judged[arm.name]) for arm in arms}
    titles = {arm.name: f"{arm.title}, {seeds_of(arm)}" for arm in arms}
    blocks: list[Block] = [
        EXPLANATION,
        estimate_table(NAMES, {titles[name]: x for name, x in found.items()}, "Diagnosis by guide"),
    ]
    if len(arms) > 1:
        curves = {arm.name: [(one, MALIGNANT) for one in judged[arm.name]] for arm in arms}
        figure = draw_ranking(curves)
        blocks.append(Picture("ranking", figure, "Malignant against the rest, by guide"))
    compared, differences = compare(arms, judged)
    groups, by_group = describe_groups(arms, judged)
    sections = [Section("Diagnosis", blocks), *compared, groups]
    of_arms: Facts = {}
    for arm in arms:
        section, of_arms[arm.name] = describe_arm(arm, judged[arm.name], found[arm.name])
        sections.append(section)
    return sections, {"arms": of_arms, "differences": differences, "subgroups": by_group}


def compare(arms: Sequence[Arm], judged: Mapping[str, Sequence[Judged]]) -> tuple[list[Section], Facts]:
    """Differences of every two arms on the folds that both have."""
    columns: dict[str, Estimates] = {}
    for one, other in combinations(arms, 2):
        shared = [fold for fold in one.folds if fold in other.folds]
        if not shared:
            continue
        both = (
            judged[arm.name]
            if list(arm.folds) == shared
            else [judge(seed) for seed in arm.only(shared).seeds]
            for arm in (one, other)
        )
        ours, theirs = (estimate(seeds) for seeds in both)
        on = "" if len(shared) == len(one.folds) == len(other.folds) else f", fold {_listed(shared)}"
        columns[f"{one.name} - {other.name}{on}"] = ours - theirs
    if not columns:
        return [], {}
    fewest = min(len(arm.seeds) for arm in arms)
    text = (
        "Paired: the same groups are drawn for both. An interval that holds 0 shows no difference. Less is "
        "better for Brier score and log loss. "
    )
    if fewest < ENOUGH_SEEDS:
        text += (
            f"No claim can be made of these differences: that needs at least {ENOUGH_SEEDS} seeds of each "
            f"arm, and one has {fewest}. The intervals leave out what another training would change."
        )
    if any(arm.name == "annotated" for arm in arms):
        text += " The guide of the arm annotated gives the label away: what is gained there is not a result."
    table = estimate_table({name: NAMES[name] for name in COMPARED}, columns, "Differences of arms")
    return [Section("Do the guides help?", [text, table])], {name: facts(x) for name, x in columns.items()}


def describe_groups(arms: Sequence[Arm], judged: Mapping[str, Sequence[Judged]]) -> tuple[Section, Facts]:
    """Some numbers of subgroups, for every arm."""
    names = ("accuracy", "recall_benign", "recall_malignant", "auroc_malignant")
    rows: list[list[Cell]] = []
    values = Facts()
    for arm in arms:
        seeds = judged[arm.name]
        groups = {**split_by_size(seeds[0].table), **split_by_marks(seeds[0].table)}
        found = {name: estimate(seeds, measure_calls, kept) for name, kept in groups.items()}
        rows += [
            [arm.name, name, int(kept.sum()), *(cell(number, found[name]) for number in names)]
            for name, kept in groups.items()
        ]
        values[arm.name] = {name: facts(x) for name, x in found.items()}
    text = (
        "Recall by class stands in the table above. A third of the lesions, or the unmarked pictures, are a "
        "smaller sample: their intervals are wider. Where marked pictures do better, the marks may be what "
        "was learned."
    )
    header = ["guide", "", "pictures", *(NAMES[name] for name in names)]
    return Section("Subgroups", [text, Table(header, rows)]), values


def describe_arm(arm: Arm, judged: Sequence[Judged], found: Estimates) -> tuple[Section, Facts]:
    """Everything about one arm."""
    confusion = np.sum([_confusion(one) for one in judged], axis=0)
    header = ["", "precision", "recall", "F1", "pictures"]
    report = class_report(judged)
    note = f"summed over {len(judged)} seeds" if len(judged) > 1 else "one seed"
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
            [[NAMES[name], cell(f"raw_{name}", found), cell(name, found)] for name in CALIBRATION],
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
        *_conformal(judged, found),
        decision_table(arm, judged),
    ]
    return Section(f"Guide: {arm.title}", blocks), {
        "folds": list(arm.folds),
        "seeds": [seed[0].seed for seed in arm.seeds],
        "numbers": facts(found),
        "confusion": confusion.tolist(),
        "class_report": {name: dict(zip(header[1:], row, strict=True)) for name, row in report.items()},
        "decisions": [
            {
                "seed": seed[0].seed,
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


def decision_table(arm: Arm, judged: Sequence[Judged]) -> Table:
    """What each validation fold decided."""
    rows = [
        [
            folds[0].seed,
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


def seeds_of(arm: Arm) -> str:
    """How many seeds there are."""
    return "one seed" if len(arm.seeds) == 1 else f"{len(arm.seeds)} seeds"


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


def _listed(folds: Sequence[int]) -> str:
    return ", ".join(map(str, folds))
