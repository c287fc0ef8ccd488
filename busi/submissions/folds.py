"""The fold of each prediction of a submission, and whether all predictions are there."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from busi.core import InputError, list_some, read_given_table
from busi.data import SharedSplit
from busi.submissions.case_names import CaseNames, list_names
from busi.submissions.class_tables import read_fold
from busi.submissions.leaks import check_leaks, read_splits
from busi.submissions.submission import Submission

MEANT = {"id": ("image", "name", "file", "filename", "case"), "fold": ("split",)}

Statement = tuple[str, Mapping[int, int]]
"""Where folds are said, and position of an image -> fold."""


@dataclass(frozen=True)
class Folds:
    """The folds of a submission.

    Attributes:
        of: Position of a scored image -> the fold of the model that predicted it.
        stated: Whether the submission says them; else they are those of the data.
        number: Of folds, those without predictions included.
        words: How it is known that no fold trained on what it predicts, as a sentence.
    """

    of: Mapping[int, int]
    stated: bool
    number: int
    words: str


def find_folds(
    one: Submission,
    split: SharedSplit,
    names: CaseNames,
    given: Mapping[str, Mapping[int, int | None]],
    validated: Mapping[int, Collection[int]],
    partial: bool,
) -> Folds:
    """Find the fold of each predicted image, check that all of them are there, and that none leaks.

    Args:
        one: The submission.
        split: The data.
        names: Of its images.
        given: ``mask`` and ``row`` (of the table), as far as there are any -> position of an image -> its
            fold, if that is known.
        validated: Fold -> positions of the images by which its model was chosen.
        partial: Accept that whole folds are missing.

    Raises:
        InputError: If folds contradict each other, some are missing, or one trained on what it predicts.
    """
    training = read_splits(one.splits, names) if one.splits else None
    statements: list[Statement] = [
        (f"its {what}", {i: fold for i, fold in folds.items() if fold is not None})
        for what, folds in given.items()
    ]
    if one.folds:
        statements.append((one.folds.name, read_folds(one.folds, names)))
    if training:
        statements.append((str(one.splits), training.folds))
    stated = merge(one.name, statements, names)
    scored = {i for folds in given.values() for i in folds if split.cohort.folds[i] >= 0}
    if stated and (without := sorted(scored - stated.keys())):
        raise InputError(
            f"{one.name} says the fold of some predictions, and not that of "
            f"{list_names(without, names)}: say it of all, or of none"
        )
    known = stated or {i: int(split.cohort.folds[i]) for i in scored}
    whole = [
        check_complete(one.name, what, folds, split, names, stated, partial, what == "mask")
        for what, folds in given.items()
    ]
    of = {i: known[i] for i in sorted(scored)}
    words = check_leaks(one.name, of, bool(stated), split, names, training, validated)
    number = count_folds(one.name, stated, all(whole), split) if stated else split.num_folds
    return Folds(of, bool(stated), number, words)


def count_folds(name: str, stated: Mapping[int, int], whole: bool, split: SharedSplit) -> int:
    """The number of folds of a submission; of one that lacks some, at least that of the data.

    Args:
        name: Of the submission.
        stated: Position of an image -> fold, as it says.
        whole: Whether no fold is missing.
        split: The data.

    Raises:
        InputError: If they are not counted from 0.
    """
    used = sorted(set(stated.values()))
    number = len(used) if whole else max(len(used), split.num_folds)
    if used[-1] >= number:
        listed = list_some([str(fold) for fold in used])
        raise InputError(
            f"{name} has predictions of the folds {listed}: count folds from 0, and leave none out"
            + ("" if whole else f" (the data has {split.num_folds}; --num-folds says otherwise)")
        )
    return number


def merge(name: str, statements: Sequence[Statement], names: CaseNames) -> dict[int, int]:
    """The folds that all statements together say.

    Raises:
        InputError: If two contradict each other.
    """
    merged: dict[int, tuple[int, str]] = {}
    for where, folds in statements:
        for i, fold in folds.items():
            other, first = merged.setdefault(i, (fold, where))
            if other != fold:
                raise InputError(
                    f"{name}: {names.ids[i]} is in fold {other} by {first}, and in fold {fold} by {where}: "
                    "correct one"
                )
    return {i: fold for i, (fold, _) in merged.items()}


def check_complete(
    name: str,
    what: str,
    there: Collection[int],
    split: SharedSplit,
    names: CaseNames,
    stated: Mapping[int, int],
    partial: bool,
    annotated: bool,
) -> bool:
    """Raise `InputError` if a prediction is missing, unless that of its whole fold is and may be.

    Args:
        name: Of the submission.
        what: What is predicted: ``mask``, or ``row`` of the table.
        there: The images that have one.
        split: The data.
        names: Of its images.
        stated: The folds that the submission says.
        partial: Accept that whole folds are missing.
        annotated: Whether lesions that nobody annotated need none.

    Returns:
        Whether none is missing.
    """
    cohort = split.cohort
    wanted = [i for i in range(len(cohort.records)) if cohort.folds[i] >= 0]
    if annotated:
        wanted = [i for i in wanted if cohort.records[i].annotated]
    missing = [i for i in wanted if i not in there]
    fold_of = {i: stated.get(i, int(cohort.folds[i])) for i in wanted}
    begun = {fold_of[i] for i in wanted if i in there}
    if not missing or (partial and not {fold_of[i] for i in missing} & begun):
        if begun:
            return not missing
        raise InputError(f"{name} has no {what} of an image that is scored. {names.hint}")
    if partial:
        missing = [i for i in missing if fold_of[i] in begun]
    whole = not partial and not {fold_of[i] for i in missing} & begun
    how = "predict them too" + (", or say --partial to score the other folds" if whole else "")
    raise InputError(
        f"{name} lacks the {what} of {list_names(missing, names)}, of {len(wanted)} images: {how}"
    )


def read_folds(path: Path, names: CaseNames) -> dict[int, int]:
    """Read a table with the columns ``id`` and ``fold``.

    Raises:
        InputError: If it is none, or names an image that is not there, or twice.
    """
    folds: dict[int, int] = {}
    for number, row in read_given_table(path, ("id", "fold"), (), MEANT, {"image": "id"}).items():
        i, where = names.find(row["id"]), f"{path}, row {number}"
        if names.is_unusable(row["id"]):
            continue
        if i is None:
            raise InputError(f"{where}: the data has no image {row['id']}. {names.hint}")
        if i in folds:
            raise InputError(f"{where}: {row['id']} is there twice: keep one")
        folds[i] = read_fold(row["fold"], where)
    return folds
