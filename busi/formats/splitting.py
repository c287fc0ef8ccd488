"""The split of a data set in the files of other frameworks, so that they train and test on exactly it."""

import logging
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

from busi.core import check_new, whole_folder, write_table, writing_to
from busi.data import SharedSplit
from busi.formats.folds_csv import write_manifest
from busi.formats.monai import write_monai
from busi.formats.nnunet import check_name, write_nnunet

log = logging.getLogger(__name__)

Writer = Callable[[SharedSplit, Path, Path], str]
"""From a split, an empty folder and the folder that it becomes, as it was typed, to what a user does next."""
WRITERS: Mapping[str, Writer] = {"csv": write_manifest, "monai": write_monai, "nnunet": write_nnunet}


def write_split(split: SharedSplit, to: str, output: Path) -> Path:
    """Write a split for a framework, beside ``split.csv`` with the group and fold of every image.

    Args:
        split: The split.
        to: A key of `WRITERS`.
        output: The folder; new.

    Raises:
        InputError: If the folder is there, has a name that the framework does not take, or cannot be written.
    """
    check_output(to, output)
    with writing_to(output), whole_folder(output) as part:
        told = WRITERS[to](split, part, output)
        write_table(part / "split.csv", describe_rows(split, needs_masks=to != "csv"))
    rows = describe_rows(split, needs_masks=to != "csv")
    left_out = Counter(str(row["reason"]) for row in rows if row["reason"])
    listed = "".join(f", {number} left out ({reason})" for reason, number in sorted(left_out.items()))
    number = len(rows) - left_out.total()
    log.info("%d images in %d folds%s: %s", number, split.num_folds, listed, output / "split.csv")
    log.info("%s", told)
    return output


def describe_rows(split: SharedSplit, needs_masks: bool) -> list[dict[str, object]]:
    """The rows of ``split.csv``; a reason says why an image is left out.

    Args:
        split: The split.
        needs_masks: Whether lesions that nobody annotated are left out.
    """
    rows = split.rows()
    for row, record in zip(rows, split.cohort.records, strict=False):
        if needs_masks and not record.annotated and not row["reason"]:
            row["reason"], row["fold"] = "no mask", ""
    return rows


def check_output(to: str, output: Path) -> None:
    """Raise `InputError` unless a split can be written to a folder; before anything slow is done.

    Args:
        to: A key of `WRITERS`.
        output: The folder.
    """
    if to == "nnunet":
        check_name(output.absolute().name)
    check_new(output)
