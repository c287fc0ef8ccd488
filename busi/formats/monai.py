"""Datalists of MONAI: for each fold a JSON file that says which images train, validate and test."""

from pathlib import Path

from busi.core import CLASSES, write_json
from busi.data import SharedSplit
from busi.formats.image_pairs import write_pairs

KEYS = {"train": "training", "val": "validation", "test": "test"}
"""Our name of a split -> that of a datalist."""


def write_monai(split: SharedSplit, folder: Path, output: Path) -> str:
    """Write ``images/``, ``labels/`` and ``fold_K.json`` for each fold, in the form of a Decathlon datalist.

    An entry has the paths ``image`` and ``label`` (a mask), relative to the folder, and what else is known:
    ``id``, ``class`` (0 normal, 1 benign, 2 malignant), ``class_name`` and ``group``.

    Args:
        split: The split.
        folder: Empty.
        output: The folder that it becomes, whose name is that of the data set.

    Returns:
        What a user does next.

    Source: MONAI's ``monai.data.load_decathlon_datalist``.
    """
    names = write_pairs(
        split, lambda case: folder / "images" / f"{case}.png", lambda case: folder / "labels" / f"{case}.png"
    )
    cohort = split.cohort
    entries = {
        i: {
            "image": f"images/{case}.png",
            "label": f"labels/{case}.png",
            "id": cohort.records[i].id,
            "class": cohort.records[i].label,
            "class_name": CLASSES[cohort.records[i].label],
            "group": int(cohort.groups[i]),
        }
        for i, case in names.items()
    }
    for fold in range(split.num_folds):
        splits = split.splits(fold)
        lists = {
            key: [entry for i, entry in entries.items() if splits[i] == ours] for ours, key in KEYS.items()
        }
        described = {
            "name": output.absolute().name,
            "description": f"fold {fold} of {split.num_folds}, split {cohort.split_fingerprint}",
            "modality": {"0": "ultrasound"},
            "labels": {"0": "background", "1": "lesion"},
            **{f"num{key.capitalize()}": len(some) for key, some in lists.items()},
        }
        write_json(folder / f"fold_{fold}.json", {**described, **lists})
    first = str(output / "fold_0.json")
    return f"Next: load_decathlon_datalist({first!r}, data_list_key='training'), and so on"
