"""The section about segmentation: how well the predicted masks agree with the annotations."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Bool

from busi.core import CLASSES, NORMAL, InputError, Record
from busi.figures import Block, Cell, Overlay, PageFigure, Section, Table, title_mask
from busi.metrics import Estimates, average_sources
from busi.reporting.cells import JsonObject, cell, estimate_table, to_json
from busi.reporting.charts import draw_cases, draw_sizes
from busi.reporting.estimates import estimate_masks
from busi.reporting.metric_titles import MASK_METRICS, entitle
from busi.reporting.overlays import read_overlay
from busi.reporting.pooling import Columns, join, rows_by_source
from busi.reporting.sources import explain_mean, source_table, sources_to_json
from busi.reporting.subgroups import Groups, count_cells, count_header, split_by_burned_in, split_by_size
from busi.reporting.words import name_test_images, of_trainings
from busi.runs import Predictions, Variant, find_records_of

NAMES = entitle(MASK_METRICS)
OF_SUBGROUP = ("dice", "hd95", "lesion_miss_rate", "normal_fp_rate")
"""As many metrics as tables of sources and subgroups have room for."""
EXPLANATION = (
    "Dice, IoU and HD95 (95th-percentile Hausdorff distance; the image's diagonal if nothing is predicted) "
    "are means over images with a lesion, at the original size. A lesion is missed if the predicted mask "
    "does not touch it. A normal image has a false mask if its predicted mask has any pixel. In the Dice "
    "of all images an empty mask of a normal image counts as 1."
)
COUNTS = {"images": "dice_all", "of them with a lesion": "dice"}
"""Title of a row -> the metric whose images it counts."""
NUM_FALSE = 3
"""Number of normal images with a false mask that are drawn."""


def describe_masks(variant: Variant) -> tuple[Section, JsonObject]:
    """The section about segmentation, and its content as JSON."""
    seeds = [join(seed) for seed in variant.seeds]
    columns = seeds[0]
    label, lesion = columns["label"], columns["area"] > 0
    every = estimate_masks(seeds)
    groupings: dict[str, Groups] = {
        "by_class": {"all": label >= 0} | {name: label == k for k, name in enumerate(CLASSES)},
        "by_size": split_by_size(columns),
        "by_burned_in": split_by_burned_in(columns),
    }
    found = {
        grouping: {name: mean_of_masks(seeds, kept) for name, kept in groups.items()}
        for grouping, groups in groupings.items()
    }
    parts, by_part, title = describe_parts(variant, seeds)
    about = f"{name_test_images(variant)}, {of_trainings(variant)}"
    subgroups = {**groupings["by_size"], **groupings["by_burned_in"]}
    blocks: list[Block] = [
        EXPLANATION,
        *explain_mean(columns),
        *source_table(entitle(OF_SUBGROUP), columns, {"": every}, f"By source, {about}, with 95 % intervals"),
        estimate_table(NAMES, found["by_class"], f"Masks: {about}, with 95 % intervals", COUNTS),
        *([estimate_table(NAMES, by_part, title, COUNTS)] if len(by_part) > 1 else []),
        subgroup_table(subgroups, lesion, columns, {**found["by_size"], **found["by_burned_in"]}),
    ]
    if lesion.any():
        dice = np.mean([one["dice"] for one in seeds], axis=0)
        figure = draw_sizes(columns["lesion_share"][lesion], dice[lesion], label[lesion])
        text = f"Dice of each of {int(lesion.sum())} lesions against its size"
        blocks.append(PageFigure("dice_by_size", figure, text))
    blocks += draw_examples(variant.seeds[0])
    return Section("Segmentation", blocks), {
        "seeds": [seed[0].seeds for seed in variant.seeds],
        **{
            key: {name: to_json(x) for name, x in groups.items()}
            for key, groups in {**found, parts: by_part}.items()
        },
        **sources_to_json(every),
    }


def mean_of_masks(seeds: Sequence[Columns], kept: Bool[np.ndarray, " n"] | None = None) -> Estimates:
    """Means over seeds and sources."""
    return average_sources(list(estimate_masks(seeds, kept).values()))


def describe_parts(variant: Variant, seeds: Sequence[Columns]) -> tuple[str, dict[str, Estimates], str]:
    """Metrics of each fold, or of each training where all of them test the same images.

    Args:
        variant: The runs.
        seeds: The test rows of each seed.

    Returns:
        Name of the entry in ``report.json``, the metrics of each part by its title, and a caption.
    """
    if variant.held_out:
        trainings = {f"fold {one.fold}, seed {one.seed}": one for (one,) in variant.seeds}
        by_training = {name: mean_of_masks([join([one])]) for name, one in trainings.items()}
        return "by_training", by_training, "Training by training, each on the same images"
    folds = {f"fold {fold}": seeds[0]["fold"] == fold for fold in variant.folds}
    return "by_fold", {name: mean_of_masks(seeds, kept) for name, kept in folds.items()}, "Fold by fold"


def subgroup_table(
    groups: Groups, lesion: Bool[np.ndarray, " n"], columns: Columns, found: Mapping[str, Estimates]
) -> Table:
    """Some metrics of subgroups, one subgroup in each row."""
    rows: list[list[Cell]] = [
        [
            name,
            int((kept & lesion).sum()),
            *count_cells(columns, kept),
            *(cell(metric, found[name]) for metric in OF_SUBGROUP),
        ]
        for name, kept in groups.items()
    ]
    caption = "By size of the lesion (thirds, by the share of the image), and by burned-in annotations"
    header = ["", "lesions", *count_header(columns), *entitle(OF_SUBGROUP).values()]
    return Table(header, rows, caption)


def draw_examples(seed: Sequence[Predictions]) -> list[Block]:
    """Draw the best, median and worst lesion of each class, and normals with the largest false masks.

    Args:
        seed: The folds of one seed. Their images and maps are read.
    """
    examples = {name: choose(seed, name) for name in CLASSES[::-1]}
    runs = {one.fold: one.run for rows in examples.values() for one, _ in rows}
    try:
        records = find_records_of(runs)
        return [
            PageFigure(
                f"examples_{name}",
                draw_cases([make_overlay(one, i, records[one.fold]) for one, i in rows]),
                caption(name),
            )
            for name, rows in examples.items()
            if rows
        ]
    except InputError as error:
        return [f"No images are shown here: {error}."]


def choose(seed: Sequence[Predictions], name: str) -> list[tuple[Predictions, int]]:
    """Choose the images of a class that are drawn, as runs and rows of their columns."""
    label = CLASSES.index(name)
    rows = [
        (one, i)
        for one in seed
        for i in np.flatnonzero((one.columns["split"] == "test") & (one.columns["label"] == label)).tolist()
    ]
    if name == CLASSES[NORMAL]:
        false = [(one, i) for one, i in rows if one.columns["pred_area"][i] > 0]
        return sorted(false, key=lambda example: -example[0].columns["pred_area"][example[1]])[:NUM_FALSE]
    ranked = sorted(rows, key=lambda example: -example[0].columns["dice"][example[1]])
    places = sorted({0, len(ranked) // 2, len(ranked) - 1}) if ranked else []
    return [ranked[place] for place in places]


def make_overlay(one: Predictions, row: int, records: Mapping[str, Record]) -> Overlay:
    """An image with its annotation and its predicted mask, and what is said of them.

    Args:
        one: Of the run that predicted it.
        row: Of its columns.
        records: The data of the run, see `busi.runs.find_records`.

    Raises:
        InputError: See `read_overlay`.
    """
    columns = one.columns
    name, label = str(columns["id"][row]), CLASSES[columns["label"][row]]
    made = read_overlay(one, name, records)
    shown = name if len(rows_by_source(columns)) == 1 else f"{columns['source'][row]}: {name}"
    return replace(made, title=title_mask(shown, label, columns["dice"][row], made.mask, made.pred))


def caption(name: str) -> str:
    """The caption of the examples of a class."""
    if name == CLASSES[NORMAL]:
        return "Normal images with the largest false masks: image, annotation (none), prediction (orange)"
    return f"Best, median and worst {name} lesion: image, annotation (blue, dashed), prediction (orange)"
