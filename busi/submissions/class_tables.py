"""Tables of class probabilities that other tools wrote."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from busi.core import CLASSES, NORMAL, InputError, read_given_table
from busi.data import parse_fold
from busi.submissions.case_names import CaseNames, list_images

PROBS = tuple(f"prob_{name}" for name in CLASSES)
LOGITS = tuple(f"logit_{name}" for name in CLASSES)
MEANT = {
    "id": ("name", "file", "filename", "case", "identifier"),
    "fold": ("split", "model"),
    **{f"prob_{name}": (f"p{name}", f"probability{name}", f"score{name}") for name in CLASSES},
}
OTHER_NAMES = {"image": "id", **{name: f"prob_{name}" for name in CLASSES}}
SUM = 0.002
"""By how much probabilities of an image may miss 1: three numbers of three decimals do by at most 0.0015."""


class ClassRow(NamedTuple):
    """What is predicted for an image.

    Attributes:
        image: Its position in the cohort.
        fold: Of the model, if that is said.
        split: ``test``, or ``val`` for an image that the model was chosen by.
        logits: Of each class; logarithms of probabilities where these are given.
    """

    image: int
    fold: int | None
    split: str
    logits: Float[np.ndarray, " 3"]


def read_classes(path: Path, names: CaseNames, labels: Sequence[int]) -> tuple[list[ClassRow], list[str]]:
    """Read a table with ``id``, and ``prob_...`` or ``logit_...`` of each class.

    ``fold`` is the fold of the model. ``split`` is ``test``, or ``val`` for predictions that calibrate the
    model of that fold. ``prob_normal`` may be left out if no image is normal.

    Args:
        path: Of the table.
        names: Of the images.
        labels: Of all images of the data.

    Returns:
        The rows, and the names of images that cannot be used.

    Raises:
        InputError: If it is no clear table, names images that are not there or one twice, or has numbers that
            are no probabilities.
    """
    columns = ("fold", "split", *PROBS, *LOGITS)
    table = read_given_table(path, ("id",), columns, MEANT, OTHER_NAMES)
    kinds = [kind for kind in (PROBS, LOGITS) if any(row[name] for row in table.values() for name in kind)]
    if len(kinds) != 1:
        raise InputError(
            f"{path}: give the columns {', '.join(PROBS)} or {', '.join(LOGITS)}, one kind of the two"
        )
    (kind,) = kinds
    lacks_normal = kind is PROBS and not any(row[PROBS[NORMAL]] for row in table.values())
    if lacks_normal and NORMAL in labels:
        raise InputError(f"{path} has no {PROBS[NORMAL]}, and normal images are scored: give it")
    rows, wrong, unknown, unusable = [], list[str](), list[str](), list[str]()
    for number, row in table.items():
        where = f"row {number} ({row['id']})"
        if names.is_unusable(row["id"]):
            unusable.append(row["id"])
            continue
        image = names.find(row["id"])
        if image is None:
            unknown.append(where)
            continue
        texts = ["0" if lacks_normal and k == NORMAL else row[name] for k, name in enumerate(kind)]
        values = _numbers(texts)
        if values is None or (kind is PROBS and not _are_probs(values)):
            wrong.append(f"{where}: {', '.join(text or 'nothing' for text in texts)}")
            continue
        logits = np.log(np.maximum(values, np.finfo(np.float64).tiny)) if kind is PROBS else values
        rows.append(
            ClassRow(
                image,
                read_fold(row["fold"], f"{path}, {where}") if row["fold"] else None,
                _split(row, path, where),
                logits,
            )
        )
    if unknown:
        raise InputError(f"{path} names {list_images(unknown)} that the data does not have. {names.hint}")
    if wrong:
        rule = "give numbers from 0 to 1 that sum to 1" if kind is PROBS else "give finite numbers"
        raise InputError(f"{path} has {list_images(wrong)} with wrong numbers: {rule}")
    _check_once(path, rows, names)
    return rows, unusable


def read_fold(text: str, where: str) -> int:
    """The fold that a cell holds.

    Raises:
        InputError: If it holds none.
    """
    try:
        return parse_fold(text)
    except ValueError as error:
        raise InputError(f"{where}: fold is '{text}': give a whole number from 0 to 999") from error


def _check_once(path: Path, rows: Sequence[ClassRow], names: CaseNames) -> None:
    """Raise `InputError` if an image is scored twice, or chooses the model that it tests."""
    seen: set[tuple[int, object, str]] = set()
    twice = list[str]()
    for row in rows:
        key = (row.image, row.fold if row.split == "val" else None, row.split)
        if key in seen:
            twice.append(names.ids[row.image])
        seen.add(key)
    if twice:
        raise InputError(f"{path} has {list_images(twice)} twice: keep one row of each")
    tested = {(row.image, row.fold) for row in rows if row.split == "test"}
    both = [names.ids[row.image] for row in rows if row.split == "val" and (row.image, row.fold) in tested]
    if both:
        raise InputError(f"{path} has {list_images(both)} both as val and as test of one fold: keep one")
    if any(row.split == "val" and row.fold is None for row in rows):
        raise InputError(f"{path} has rows of the split val without a fold: say whose model predicted them")


def _numbers(texts: Sequence[str]) -> Float[np.ndarray, " 3"] | None:
    """Numbers, which may have a decimal comma, as spreadsheets of many countries write them."""
    try:
        values = np.array([float(text.replace(",", ".")) for text in texts])
    except ValueError:
        return None
    return values if np.isfinite(values).all() else None


def _are_probs(values: Float[np.ndarray, " 3"]) -> bool:
    return bool((values >= 0).all() and (values <= 1).all() and abs(values.sum() - 1) <= SUM)


def _split(row: dict[str, str], path: Path, where: str) -> str:
    text = row["split"].lower() or "test"
    if text not in ("val", "test"):
        raise InputError(
            f"{path}, {where}: split is '{row['split']}': give test, val, or nothing, which is test. Leave "
            "out predictions of training images"
        )
    return text
