"""Counts of what is known of the images of a data set: scanners, BI-RADS, patients, published folds."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Int

from busi.core import CLASSES, Record
from busi.data import natural
from busi.reporting.survey import clusters, random_split_leak

UNKNOWN = "not known"


def count_classes(records: Sequence[Record], attribute: str) -> dict[str, dict[str, int]]:
    """Images of each class by an attribute of records, such as ``scanner``.

    Returns:
        Value -> class -> number of images, values in natural order and `UNKNOWN` last; empty if no image
        has a value.
    """
    found: dict[str, Counter[str]] = {}
    for record in records:
        found.setdefault(getattr(record, attribute) or UNKNOWN, Counter())[CLASSES[record.label]] += 1
    if set(found) <= {UNKNOWN}:
        return {}
    names = sorted(found, key=lambda name: (name == UNKNOWN, natural(name)))
    return {name: {one: found[name][one] for one in CLASSES} for name in names}


def describe_spacing(records: Sequence[Record]) -> dict[str, Any] | None:
    """How many images have a known pixel spacing, and its range in millimeters; None if none has."""
    known = [record.spacing for record in records if record.spacing is not None]
    if not known:
        return None
    return {"images": len(known), "smallest": min(map(min, known)), "largest": max(map(max, known))}


def count_patients(
    records: Sequence[Record], near_duplicates: Int[np.ndarray, " n"]
) -> dict[str, Any] | None:
    """Count patients, and find near-duplicates that cross them; None if no patient is known.

    Args:
        records: The images.
        near_duplicates: Group of near-duplicates of each image.

    Returns:
        ``patients``; of each class, ``patients_of_class``; ``images_without_patient``; ``images_a_patient``,
        number of images -> number of patients; ``several_classes``, the number of patients with images of
        more than one; ``random_split_leak``, the share of test images whose patient trains, as
        `random_split_leak`; and ``crossing``, ids of the near-duplicates that lie in several patients.
    """
    units = _units(records)
    known = [(record.source, record.patient) for record in records if record.patient is not None]
    if not known:
        return None
    counts = Counter(known)
    labels = {(r.source, r.patient, r.label) for r in records if r.patient is not None}
    return {
        "patients": len(counts),
        "patients_of_class": {name: sum(one[2] == k for one in labels) for k, name in enumerate(CLASSES)},
        "images_without_patient": len(records) - len(known),
        "images_a_patient": {str(size): n for size, n in sorted(Counter(counts.values()).items())},
        "several_classes": sum(n > 1 for n in Counter(one[:2] for one in labels).values()),
        "random_split_leak": random_split_leak(np.array([record.label for record in records]), units),
        "crossing": [
            [records[i].id for i in members]
            for members in clusters(near_duplicates)
            if len({units[i] for i in members if records[i].patient is not None}) > 1
        ],
    }


def check_published_folds(
    records: Sequence[Record], near_duplicates: Int[np.ndarray, " n"]
) -> dict[str, dict[str, Any]]:
    """Find what crosses the folds that a data set has published.

    Returns:
        Number of folds -> ``images`` of each fold, ``without``, the number of images in none; ``patients``,
        the number of those with images in several folds; and ``crossing``, ids of the near-duplicates that
        lie in several folds.
    """
    units, found = _units(records), {}
    for number in sorted({number for record in records for number in record.published_folds}):
        folds = [record.published_folds.get(number) for record in records]
        sizes = Counter(fold for fold in folds if fold is not None)
        found[str(number)] = {
            "images": [sizes[fold] for fold in sorted(sizes)],
            "without": folds.count(None),
            "patients": sum(_cross(folds, members) for members in clusters(units)),
            "crossing": [
                [records[i].id for i in members]
                for members in clusters(near_duplicates)
                if _cross(folds, members)
            ],
        }
    return found


def _cross(folds: Sequence[int | None], members: Sequence[int]) -> bool:
    return len({folds[i] for i in members} - {None}) > 1


def _units(records: Sequence[Record]) -> Int[np.ndarray, " n"]:
    """Patient of each image as a number; an image without one is its own."""
    first: dict[tuple[str, str], int] = {}
    return np.array(
        [
            i if record.patient is None else first.setdefault((record.source, record.patient), i)
            for i, record in enumerate(records)
        ],
        np.int64,
    )
