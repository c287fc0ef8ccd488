"""Which images are left out of the folds: those that a list names, and conflicts of labels."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from operator import itemgetter
from pathlib import Path

import numpy as np
from jaxtyping import Int

from busi.core import CLASSES, InputError, Record, is_file, list_some, read_given_table
from busi.data.records import Problem

EXCLUDED = "excluded"
EXCLUSIONS_MEANT = {"id": ("image", "name", "file", "filename"), "reason": ("comment", "note", "remark")}
"""Other words for the columns of a list of exclusions."""


def drop_reasons(
    records: list[Record], near_duplicates: Int[np.ndarray, " n"], conflicts: str, excluded: Collection[str]
) -> list[str]:
    """Why each image is left out of the folds: ``excluded``, ``conflict``, or nothing.

    Raises:
        InputError: If near-duplicates have different labels and `conflicts` is ``error``.
    """
    labels: dict[int, set[int]] = {}
    for record, group in zip(records, near_duplicates.tolist(), strict=True):
        if record.id not in excluded:
            labels.setdefault(group, set()).add(record.label)
    mixed = {group for group, found in labels.items() if len(found) > 1}
    clash = [
        f"{record.id} is {CLASSES[record.label]}"
        for record, group in sorted(zip(records, near_duplicates.tolist(), strict=True), key=itemgetter(1))
        if group in mixed
    ]
    if clash and conflicts == "error":
        raise InputError(
            f"{len(clash)} images in {len(mixed)} clusters show the same frame under different labels: "
            f"{', '.join(clash[:10])}. Leave them out with data.conflicts=drop or data.exclude=list.csv"
        )
    if conflicts == "keep":
        mixed = set()
    return [
        EXCLUDED if record.id in excluded else "conflict" if group in mixed else ""
        for record, group in zip(records, near_duplicates.tolist(), strict=True)
    ]


def apply_exclusions(
    path: Path | None, records: Sequence[Record], problems: Sequence[Problem]
) -> tuple[set[str], list[Problem]]:
    """Read the ids to leave out, also of images that cannot be used: these are no problem any more.

    Args:
        path: See `read_exclusions`; None excludes nothing.
        records: The images that can be used.
        problems: What is wrong with the others.

    Returns:
        The ids, and the problems; those of images that are left out are of the kind `EXCLUDED`.

    Raises:
        InputError: See `read_exclusions`.
    """
    if path is None:
        return set(), [*problems]
    excluded = read_exclusions(path, {*(one.id for one in records), *(one.id for one in problems)})
    return excluded, [replace(one, kind=EXCLUDED) if one.id in excluded else one for one in problems]


def read_exclusions(path: Path, known: set[str]) -> set[str]:
    """Read the ids to leave out from the column ``id`` of a CSV file, which may have a column ``reason``.

    Args:
        path: The file.
        known: Ids of all images.

    Raises:
        InputError: If the file is missing or wrong, or names other images.
    """
    if not is_file(path):
        raise InputError(f"data.exclude={path} does not exist: give a CSV file with the column id")
    whole = {name.strip(): name for name in known}  # cells are stripped
    table = read_given_table(path, ("id",), ("reason",), EXCLUSIONS_MEANT, {"why": "reason"})
    ids = {whole.get(row["id"], row["id"]) for row in table.values()}
    if unknown := sorted(ids - known):
        raise InputError(f"data.exclude={path} names {len(unknown)} unknown images: {list_some(unknown)}")
    return ids
