"""The sections about diagnosis: the metrics of each guide, differences between guides, and subgroups."""

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np

from busi.core import CLASSES, MALIGNANT
from busi.figures import Block, Cell, PageFigure, Section, Table
from busi.metrics import Estimates, average_sources
from busi.reporting.calibration import explain_calibration
from busi.reporting.cells import JsonObject, cell, estimate_table, to_json
from busi.reporting.charts import draw_ranking
from busi.reporting.estimates import estimate, measure_classes, subtract
from busi.reporting.guide import describe_guide
from busi.reporting.metric_titles import CLASS_METRICS, SHORT, entitle
from busi.reporting.pooling import Fit, Scored, score
from busi.reporting.shortcut import describe_shortcut
from busi.reporting.sources import explain_classes, explain_mean, source_table
from busi.reporting.subgroups import count_cells, count_header, split_by_burned_in, split_by_size
from busi.reporting.verdicts import Difference, Trainings, explain, judge, measure_training_variance, say
from busi.reporting.words import name_test_images, of_trainings
from busi.runs import Variant

NAMES = entitle(CLASS_METRICS)
OF_SOURCE = entitle(("accuracy", "macro_f1", "recall_malignant", "auroc_malignant"), SHORT)
"""Metrics of the table by source, and their titles."""
IMAGES = {"test images": "accuracy"}
COMPARED = ("accuracy", "macro_f1", "recall_malignant", "auroc_malignant", "auroc", "brier", "log_loss")
BY_FOLD = (
    "Accuracy, recall, F1, Brier score and log loss are computed over all images. AUROC, selective "
    "prediction and operating points are computed in each fold and averaged, because the probabilities of "
    "different models are not on one scale."
)
GUIDE = "The guide is the mask that a classifier sees beside the image."
TEMPERATURE = (
    "The temperature, one number fitted after training, divides the logits, so that probabilities say how "
    "often they are right. The most probable class of an image stays the same."
)
EXPLANATION_HELD_OUT = (
    "Every run tests the same images, so runs of other folds are further trainings and no more images."
)
COUNTS = {"test images": "accuracy", **{f"of them {name}": f"recall_{name}" for name in CLASSES}}
"""Title of a row -> the metric whose images it counts."""


def describe_diagnosis(
    variants: Sequence[Variant], fit: Fit | None = None
) -> tuple[list[Section], JsonObject]:
    """The sections about diagnosis, and their content as JSON."""
    scored = {variant.name: [score(seed, fit) for seed in variant.seeds] for variant in variants}
    found = {variant.name: estimate(scored[variant.name]) for variant in variants}
    titles = {variant.name: f"{variant.title}, {variant.trainings}" for variant in variants}
    whole = {titles[name]: average_sources(list(x.values())) for name, x in found.items()}
    first, columns = variants[0], scored[variants[0].name][0].columns
    calibration = explain_calibration(first, scored[first.name], given=fit is not None)
    blocks: list[Block] = [
        f"{explain_numbers(first)} {calibration} Calibration is given after the temperature.",
        TEMPERATURE if all(variant.submitted for variant in variants) else f"{GUIDE} {TEMPERATURE}",
        *explain_mean(columns),
        *explain_classes(columns),
        *source_table(OF_SOURCE, columns, found, "Diagnosis by source"),
        estimate_table(NAMES, whole, "Diagnosis by guide, with 95 % intervals", COUNTS),
    ]
    if len(variants) > 1:
        curves = {variant.name: [(one, MALIGNANT) for one in scored[variant.name]] for variant in variants}
        figure = draw_ranking(curves, {name: whole[titles[name]]["auroc_malignant"] for name in curves})
        blocks.append(PageFigure("ranking", figure, "Malignant against the rest, by guide"))
    compared, differences = compare_guides(variants, found)
    subgroups, by_subgroup = describe_subgroups(variants, scored)
    shortcut, by_shortcut = describe_shortcut(variants, scored)
    sections = [Section("Diagnosis", blocks), *compared, *shortcut, subgroups]
    by_guide: JsonObject = {}
    for variant in variants:
        section, by_guide[variant.name] = describe_guide(variant, scored[variant.name], found[variant.name])
        sections.append(section)
    content: JsonObject = {"guides": by_guide, "differences": differences, "subgroups": by_subgroup}
    return sections, content | ({"shortcut": by_shortcut} if by_shortcut else {})


def explain_numbers(variant: Variant) -> str:
    """Of which images and trainings the numbers of a variant are."""
    images = name_test_images(variant)
    text = f"{images[0].upper()}{images[1:]}, {of_trainings(variant)}, with 95 % intervals."
    if variant.held_out:
        return f"{text} {EXPLANATION_HELD_OUT}" if len(variant.seeds) > 1 else text
    return f"{text} {BY_FOLD}" if len(variant.folds) > 1 else text


def compare_guides(
    variants: Sequence[Variant], found: Mapping[str, Mapping[str, Estimates]]
) -> tuple[list[Section], JsonObject]:
    """Differences between every two guides on the folds that both have.

    Args:
        variants: One for each guide.
        found: The metrics of each guide on all of its folds, by source.
    """
    columns: dict[str, Difference] = {}
    for one, other in combinations(variants, 2):
        shared = [fold for fold in one.folds if fold in other.folds]
        if not shared:
            continue
        scored = [[score(seed) for seed in variant.only(shared).seeds] for variant in (one, other)]
        tested = [seeds[0].columns["id"] for seeds in scored]
        both = np.intersect1d(tested[0], tested[1])
        same = all(len(ids) == len(both) for ids in tested)
        if not same:  # one of them left out lesions that nobody annotated
            scored = [[x.only(np.isin(x.columns["id"], both)) for x in seeds] for seeds in scored]
        ours, theirs = (
            found[variant.name] if same and list(variant.folds) == shared else estimate(seeds)
            for variant, seeds in zip((one, other), scored, strict=True)
        )
        training_variance = measure_training_variance([measure_trainings(seeds) for seeds in scored])
        listed = ", ".join(map(str, shared))
        on = "" if len(shared) == len(one.folds) == len(other.folds) else f", fold {listed}"
        on += "" if same else f", {len(both)} images that both have"
        columns[f"{one.name} - {other.name}{on}"] = Difference(
            subtract(ours, theirs),
            (len(scored[0]), len(scored[1])),
            training_variance,
            (one.num_members, other.num_members),
        )
    if not columns:
        return [], {}
    names = entitle(COMPARED)
    bounds = {name: x for name, x in columns.items() if "ground_truth" in name}
    results = {name: x for name, x in columns.items() if name not in bounds}
    about = (
        explain(results, COMPARED)
        if results
        else "Differences are paired: the same images and the same resamples for both."
    )
    blocks: list[Block] = [f"{about} Lower is better for Brier score and log loss."]
    for name, verdicts in judge(results, COMPARED).items():
        blocks.append(f"{name}: {say(verdicts, names, results[name].claims)}.")
    if bounds:
        blocks.append(
            "The guide ground_truth gives the label away: its gain is an upper bound and not a result."
        )
    captions = {"Differences between guides": results, "Distance to the upper bound": bounds}
    blocks += [
        estimate_table(names, {key: one.found for key, one in part.items()}, caption, IMAGES)
        for caption, part in captions.items()
        if part
    ]
    section = Section("Do the guides help?", blocks)
    return [section], {name: to_json(x.found) for name, x in columns.items()}


def measure_trainings(seeds: Sequence[Scored]) -> Trainings:
    """The metrics of each training alone, without resamples."""
    each = [average_sources(list(estimate([one], num_resamples=0).values())) for one in seeds]
    return {name: [float(one.columns[name][0]) for one in each] for name in each[0].columns}


def describe_subgroups(
    variants: Sequence[Variant], scored: Mapping[str, Sequence[Scored]]
) -> tuple[Section, JsonObject]:
    """Some metrics of subgroups, for every guide."""
    names = ("accuracy", "recall_benign", "recall_malignant", "auroc_malignant")
    rows: list[list[Cell]] = []
    values = JsonObject()
    for variant in variants:
        seeds = scored[variant.name]
        groups = {**split_by_size(seeds[0].columns), **split_by_burned_in(seeds[0].columns)}
        found = {
            name: average_sources(list(estimate(seeds, measure_classes, kept).values()))
            for name, kept in groups.items()
        }
        rows += [
            [
                *(variant.name, name, int(kept.sum()), *count_cells(seeds[0].columns, kept)),
                *(cell(metric, found[name]) for metric in names),
            ]
            for name, kept in groups.items()
        ]
        values[variant.name] = {name: to_json(x) for name, x in found.items()}
    text = (
        "A third of the lesions, or the images without burned-in annotations, are a smaller sample than all "
        "images, so their intervals are wider. If images with burned-in annotations do better, the model may "
        "have learned from these annotations. A value without an interval has too few cases, or is undefined "
        "in most resamples, because a fold lacks a class."
    )
    counts = count_header(scored[variants[0].name][0].columns)
    header = ["guide", "", "images", *counts, *entitle(names).values()]
    return Section("Subgroups", [text, Table(header, rows)]), values
