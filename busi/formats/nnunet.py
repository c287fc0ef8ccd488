"""The raw data set of nnU-Net v2: ``imagesTr``, ``labelsTr``, ``dataset.json``, and ``splits_final.json``."""

import re
from pathlib import Path

from busi.core import InputError, write_json
from busi.data import SharedSplit
from busi.formats.image_pairs import write_pairs

NAME = re.compile(r"Dataset(?!000)\d{3}_[\w-]+", re.ASCII)
"""Of a folder that nnU-Net takes for a data set."""


def check_name(name: str) -> None:
    """Raise `InputError` unless nnU-Net would take a folder of this name for a data set."""
    if not NAME.fullmatch(name):
        raise InputError(
            f"{name}: nnU-Net wants a folder named DatasetNNN_NAME, e.g. --output nnUNet_raw/Dataset501_BUSI"
        )


def write_nnunet(split: SharedSplit, folder: Path, output: Path) -> str:
    """Write a data set that nnU-Net trains on with the given folds.

    nnU-Net has training and validation images alone. Fold k of both is the same: what tests there in busi is
    the validation part here, and all other images train. No group is in both.

    Args:
        split: The split.
        folder: Empty.
        output: The folder that it becomes, ``Dataset501_BUSI``, whose name is that of the data set.

    Returns:
        What a user does next.

    Source: nnU-Net's ``documentation/dataset_format.md`` and ``manual_data_splits.md``.
    """
    name = output.absolute().name
    names = write_pairs(
        split,
        lambda case: folder / "imagesTr" / f"{case}_0000.png",
        lambda case: folder / "labelsTr" / f"{case}.png",
    )
    described = {
        "name": name,
        "channel_names": {"0": "ultrasound"},
        "labels": {"background": 0, "lesion": 1},
        "numTraining": len(names),
        "file_ending": ".png",
        "overwrite_image_reader_writer": "NaturalImage2DIO",
    }
    write_json(folder / "dataset.json", described)
    folds = split.cohort.folds
    parts = []
    for fold in range(split.num_folds):
        outside = split.outside(fold)
        parts.append(
            {
                "train": sorted(case for i, case in names.items() if outside[i]),
                "val": sorted(case for i, case in names.items() if folds[i] == fold),
            }
        )
    write_json(folder / "splits_final.json", parts)
    number = name[7:10]
    return (
        f"Next: nnUNetv2_plan_and_preprocess -d {number} -c 2d --verify_dataset_integrity; copy "
        f"splits_final.json to $nnUNet_preprocessed/{name}; nnUNetv2_train {number} 2d FOLD for each fold"
    )
