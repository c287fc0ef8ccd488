"""How well the masks agree with the annotations."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool

from busi.core import CLASSES, NORMAL, InputError
from busi.data import file_name, read_gray, read_mask
from busi.figures import Block, Cell, Overlay, Picture, Section, Table
from busi.metrics import Estimates
from busi.reporting.cells import Facts, cell, estimate_table, facts
from busi.reporting.charts import draw_cases, draw_sizes
from busi.reporting.pooling import estimate_masks, join
from busi.reporting.subgroups import Groups, split_by_marks, split_by_size
from busi.runs import Arm, Predictions, find_records

NAMES = {
    "dice": "lesion Dice",
    "iou": "lesion IoU",
    "hd95": "HD95, pixels",
    "lesion_miss_rate": "lesions missed",
    "normal_fp_rate": "normals with a false mask",
    "dice_all": "Dice of all pictures",
}
EXPLANATION = (
    "Dice, IoU and HD95 (95th-percentile Hausdorff distance; the diagonal where nothing is predicted) are "
    "means over pictures with a lesion, at the original size. A lesion is missed when its mask does not "
    "touch it; a normal picture has a false mask when any pixel is marked. Dice of all pictures counts an "
    "empty mask of a normal picture as 1."
)
NUM_FALSE = 3
"""Normal pictures with a false mask that are drawn."""


def describe_masks(arm: Arm) -> tuple[Section, Facts]:
    """The section on segmentation, and its numbers."""
    tables = [join(seed) for seed in arm.seeds]
    table = tables[0]
    label, lesion = table["label"], table["area"] > 0
    ways: dict[str, Groups] = {
        "by_class": {"all": label >= 0} | {name: label == k for k, name in enumerate(CLASSES)},
        "by_fold": {f"fold {fold}": table["fold"] == fold for fold in arm.folds},
        "by_size": split_by_size(table),
        "by_marks": split_by_marks(table),
    }
    found = {
        way: {name: estimate_masks(tables, kept) for name, kept in groups.items()}
        for way, groups in ways.items()
    }
    some = {**ways["by_size"], **ways["by_marks"]}
    blocks: list[Block] = [
        EXPLANATION,
        estimate_table(NAMES, found["by_class"], f"Test pictures, {arm.trainings}, with 95 % intervals"),
        estimate_table(NAMES, found["by_fold"], "Fold by fold"),
        group_table(some, lesion, {**found["by_size"], **found["by_marks"]}),
    ]
    if lesion.any():
        dice = np.mean([one["dice"] for one in tables], axis=0)
        figure = draw_sizes(table["lesion_share"][lesion], dice[lesion], label[lesion])
        blocks.append(Picture("dice_by_size", figure, "Dice of each lesion against its size"))
    blocks += draw_examples(arm.seeds[0])
    return Section("Segmentation", blocks), {
        "seeds": [seed[0].seeds for seed in arm.seeds],
        **{way: {name: facts(x) for name, x in groups.items()} for way, groups in found.items()},
    }


def group_table(groups: Groups, lesion: Bool[np.ndarray, " n"], found: Mapping[str, Estimates]) -> Table:
    """Some numbers of subgroups, one a row."""
    names = ("dice", "hd95", "lesion_miss_rate", "normal_fp_rate")
    rows: list[list[Cell]] = [
        [name, int((kept & lesion).sum()), *(cell(name_of, found[name]) for name_of in names)]
        for name, kept in groups.items()
    ]
    caption = (
        "By size of the lesion (thirds, by the share of the picture), and by callipers or text in the picture"
    )
    return Table(["", "lesions", *(NAMES[name] for name in names)], rows, caption)


def draw_examples(seed: Sequence[Predictions]) -> list[Block]:
    """Best, median and worst lesions of each class, and normals with the largest false masks.

    Args:
        seed: The folds of one seed. Their pictures are opened, and their maps.
    """
    try:
        cases = {name: choose(seed, name) for name in CLASSES[::-1]}
        return [
            Picture(f"examples_{name}", draw_cases([overlay(one, i) for one, i in chosen]), caption(name))
            for name, chosen in cases.items()
            if chosen
        ]
    except InputError as error:
        return [f"No pictures are shown here: {error}."]


def choose(seed: Sequence[Predictions], name: str) -> list[tuple[Predictions, int]]:
    """Which pictures of a class are drawn: runs, and rows of their tables."""
    label = CLASSES.index(name)
    rows = [
        (one, i)
        for one in seed
        for i in np.flatnonzero((one.columns["split"] == "test") & (one.columns["label"] == label)).tolist()
    ]
    if name == CLASSES[NORMAL]:
        false = [(one, i) for one, i in rows if one.columns["pred_area"][i] > 0]
        return sorted(false, key=lambda case: -case[0].columns["pred_area"][case[1]])[:NUM_FALSE]
    ranked = sorted(rows, key=lambda case: -case[0].columns["dice"][case[1]])
    places = sorted({0, len(ranked) // 2, len(ranked) - 1}) if ranked else []
    return [ranked[place] for place in places]


def overlay(one: Predictions, row: int) -> Overlay:
    """A picture with its annotation and its predicted mask.

    Raises:
        InputError: If the picture or the map is no longer there.
    """
    name = str(one.columns["id"][row])
    record = find_records(one.run).get(name)
    if record is None:
        raise InputError(f"{name} is no longer in the data of {one.run.folder}")
    gray = read_gray(record.image)
    probs = read_gray(one.run.folder / "maps" / f"{file_name(name)}.png")
    if probs.shape != gray.shape:
        raise InputError(f"{name} has another size than when {one.run.folder} predicted it")
    mask = read_mask(record, *gray.shape).astype(bool)
    title = f"{name}   Dice {one.columns['dice'][row]:.2f}"
    if not mask.any():
        title = f"{name}   false mask on {one.columns['pred_area'][row] / mask.size:.1%} of the picture"
    return Overlay(title, gray, mask, one.run.mask_rule(probs / 255))


def caption(name: str) -> str:
    """What the examples of a class show."""
    if name == CLASSES[NORMAL]:
        return "Normal pictures with the largest false masks: picture, annotation (none), prediction (orange)"
    return f"Best, median and worst {name} lesion: picture, annotation (green), prediction (orange)"
