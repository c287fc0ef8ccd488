"""How good a diagnosis is, arm by arm, in subgroups, and how arms differ."""

from collections.abc import Mapping, Sequence
from itertools import combinations

from busi.core import CLASSES, MALIGNANT
from busi.figures import Block, Cell, Picture, Section, Table
from busi.metrics import Estimates
from busi.reporting.cells import Facts, cell, estimate_table, facts
from busi.reporting.charts import draw_ranking
from busi.reporting.pooling import Judged, estimate, judge, measure_calls
from busi.reporting.subgroups import split_by_marks, split_by_size
from busi.reporting.variant import CALIBRATION, describe_arm
from busi.runs import Arm

NAMES = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "macro_f1": "macro-F1",
    **{f"recall_{name}": f"recall, {name}" for name in CLASSES},
    **{f"auroc_{name}": f"AUROC, {name} against the rest" for name in CLASSES},
    "auroc": "AUROC, mean of the three",
    **CALIBRATION,
}
COMPARED = ("accuracy", "macro_f1", "recall_malignant", "auroc_malignant", "auroc", "brier", "log_loss")
ENOUGH_SEEDS = 3
EXPLANATION = (
    "Test pictures of all folds, means over seeds, 95 % intervals. Shares and losses are over all pictures; "
    "AUROC, referral and operating points are computed in each fold and averaged, since the scores of "
    "different models are not on one scale. Every decision (temperature, threshold, conformal set) was made "
    "by the validation fold of the same run. Calibration is given after the temperature."
)


def describe_diagnosis(arms: Sequence[Arm]) -> tuple[list[Section], Facts]:
    """The sections on diagnosis, and their numbers."""
    judged = {arm.name: [judge(seed) for seed in arm.seeds] for arm in arms}
    found = {arm.name: estimate(judged[arm.name]) for arm in arms}
    titles = {arm.name: f"{arm.title}, {arm.trainings}" for arm in arms}
    blocks: list[Block] = [
        EXPLANATION,
        estimate_table(NAMES, {titles[name]: x for name, x in found.items()}, "Diagnosis by guide"),
    ]
    if len(arms) > 1:
        curves = {arm.name: [(one, MALIGNANT) for one in judged[arm.name]] for arm in arms}
        figure = draw_ranking(curves)
        blocks.append(Picture("ranking", figure, "Malignant against the rest, by guide"))
    compared, differences = compare(arms, found)
    groups, by_group = describe_groups(arms, judged)
    sections = [Section("Diagnosis", blocks), *compared, groups]
    of_arms: Facts = {}
    for arm in arms:
        section, of_arms[arm.name] = describe_arm(arm, judged[arm.name], found[arm.name])
        sections.append(section)
    return sections, {"arms": of_arms, "differences": differences, "subgroups": by_group}


def compare(arms: Sequence[Arm], found: Mapping[str, Estimates]) -> tuple[list[Section], Facts]:
    """Differences of every two arms on the folds that both have.

    Args:
        arms: What is compared.
        found: The numbers of each arm on all of its folds.
    """
    columns: dict[str, Estimates] = {}
    for one, other in combinations(arms, 2):
        shared = [fold for fold in one.folds if fold in other.folds]
        if not shared:
            continue
        ours, theirs = (
            found[arm.name]
            if list(arm.folds) == shared
            else estimate([judge(seed) for seed in arm.only(shared).seeds])
            for arm in (one, other)
        )
        on = "" if len(shared) == len(one.folds) == len(other.folds) else f", fold {_listed(shared)}"
        columns[f"{one.name} - {other.name}{on}"] = ours - theirs
    if not columns:
        return [], {}
    fewest = min(len(arm.seeds) for arm in arms)
    text = (
        "Paired: the same groups are drawn for both. An interval that holds 0 shows no difference. Less is "
        "better for Brier score and log loss. The intervals leave out what another training would change: a "
        f"claim needs at least {ENOUGH_SEEDS} seeds of each arm"
    )
    text += f", and one has {fewest}: none can be made." if fewest < ENOUGH_SEEDS else "."
    if any(arm.name == "annotated" for arm in arms):
        text += " The guide of the arm annotated gives the label away: what is gained there is not a result."
    names = {name: NAMES[name] for name in COMPARED}
    bounds = {name: x for name, x in columns.items() if "annotated" in name}
    results = {name: x for name, x in columns.items() if name not in bounds}
    tables = [
        estimate_table(names, chosen, caption)
        for chosen, caption in ((results, "Differences of arms"), (bounds, "Distance to the upper bound"))
        if chosen
    ]
    return [Section("Do the guides help?", [text, *tables])], {name: facts(x) for name, x in columns.items()}


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
        "was learned. A number without an interval is undefined in most draws, since a fold lacks a class."
    )
    header = ["guide", "", "pictures", *(NAMES[name] for name in names)]
    return Section("Subgroups", [text, Table(header, rows)]), values


def _listed(folds: Sequence[int]) -> str:
    return ", ".join(map(str, folds))
