"""A split that several tools use: the folds of all images of a data set, and what may train beside each."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from busi.core import InputError, Record, list_some
from busi.data.catalog import DataSet
from busi.data.cohort import Cohort, build_cohort
from busi.data.exclusions import apply_exclusions
from busi.data.external import build_external_cohort
from busi.data.options import check_folds
from busi.data.pool import read_sources
from busi.data.records import Reading
from busi.data.splits import name_splits, separate

NUM_FOLDS = 5
"""Of training, unless somebody says otherwise."""


@dataclass(frozen=True)
class SharedSplit:
    """The folds of a data set.

    Attributes:
        data: The data set.
        cohort: Its images with groups and folds; its splits are those of fold 0.
        num_folds: Number of folds.
    """

    data: DataSet
    cohort: Cohort
    num_folds: int

    def splits(self, fold: int) -> list[str]:
        """Each image's part in the run of a fold: ``train``, ``val``, ``test`` or ``dropped``."""
        splits = name_splits(self.cohort.folds, fold, self.num_folds)
        torn = separate(splits, self.cohort.groups)
        return ["dropped" if drop else split for split, drop in zip(splits, torn, strict=True)]

    def outside(self, fold: int) -> list[bool]:
        """Which images may train a model that predicts a fold: those of the others, and of no group in it."""
        folds, groups = self.cohort.folds, self.cohort.groups
        inside = np.isin(groups, groups[folds == fold])
        return list(map(bool, (folds >= 0) & (folds != fold) & ~inside))

    def rows(self) -> list[dict[str, object]]:
        """The table of all images, those that are in no fold included; it names no run and no patient."""
        rows = [{name: x for name, x in row.items() if name != "split"} for row in self.cohort.rows()]
        # What only one run drops, because the given folds tear its group apart, is in a fold.
        return [row if row["fold"] == "" else {**row, "reason": ""} for row in rows]


def share_split(
    data: DataSet,
    *,
    cache_dir: Path,
    num_folds: int | None = None,
    split_seed: int = 0,
    folds: str | None = None,
    exclude: Path | None = None,
    on_bad: str = "error",
) -> SharedSplit:
    """Split a data set as training does.

    Args:
        data: The data set.
        cache_dir: Where decoded data is kept.
        num_folds: Number of folds; None for that of the split that the data gives, else 5. With 1, all images
            are in one fold.
        split_seed: Of the assignment to folds.
        folds: ``grouped`` or ``published``; None for ``published`` where the data gives one split, as a
            manifest with the column ``fold`` does.
        exclude: CSV file with the column ``id``: more images to leave out.
        on_bad: ``error``, or ``skip`` to go on without unusable files.

    Raises:
        InputError: As `busi.data.cohort.build_cohort`.
    """
    reading = read_sources({data.name: {"root": str(data.root), "read": data.read}})
    given = find_given(reading[0])
    published = folds == "published" or (folds is None and given is not None and num_folds in (None, given))
    number = num_folds or (given if published else None) or NUM_FOLDS
    common: dict[str, Any] = {"cache_dir": cache_dir, "on_bad": on_bad}
    try:
        if published and folds is None:
            check_given(reading, exclude)
        if number == 1:
            cohort, _ = build_external_cohort(
                reading, known=([], []), seen=(), fold=0, need_masks=False, exclude=exclude, **common
            )
            return SharedSplit(data, cohort, 1)
        check_folds(0, None, number)
        common |= {"fold": 0, "leave_out": None, "num_folds": number, "split_seed": split_seed}
        common |= {"conflicts": "drop", "exclude": exclude, "need_masks": False, "subset": None}
        cohort = build_cohort(reading, **common, published=published)
    except InputError as error:
        raise InputError(as_options(str(error))) from error
    return SharedSplit(data, cohort, number)


def find_given(records: list[Record]) -> int | None:
    """Number of folds of the split that the data gives; None if it gives none, or several."""
    having = [set(one.published_folds) for one in records if one.published_folds]
    numbers = set.intersection(*having) if having else set()
    return numbers.pop() if len(numbers) == 1 else None


def check_given(reading: Reading, exclude: Path | None) -> None:
    """Raise `InputError` if some images have a fold and others that are used have none.

    Args:
        reading: The images.
        exclude: See `share_split`.
    """
    records, problems = reading
    excluded, _ = apply_exclusions(exclude, records, problems)
    without = [one.id for one in records if not one.published_folds and one.id not in excluded]
    if without:
        raise InputError(
            f"{len(without)} of {len(records)} images have no fold ({list_some(without)}), and the others "
            "have: give each a fold, or say --folds grouped, which makes folds anew"
        )


def as_options(text: str) -> str:
    """An error of training, in the words of a command with ordinary arguments."""
    return re.sub(
        r"\bdata\.(on_bad|num_folds|folds|exclude)(=?)",
        lambda found: f"--{found[1].replace('_', '-')}{' ' * bool(found[2])}",
        text,
    )
