"""Classes, records, and the one error that users see."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

CLASSES = ("normal", "benign", "malignant")
"""Class names; a label is the position in this tuple."""

NORMAL, BENIGN, MALIGNANT = range(3)


class InputError(Exception):
    """Something that the user gave is wrong; the message is one line that says what to do."""


@dataclass(frozen=True, slots=True)
class Record:
    """One image of a data set, as files.

    Attributes:
        id: Unique name, e.g. ``benign (100)``.
        image: The image.
        masks: Files whose union is the annotation. Empty for an image without lesion, and for
            one that nobody annotated.
        label: Position in `CLASSES`.
        annotated: Whether `masks` is the truth (a normal image has the empty mask).
        patient: Identifier of the patient or other unit that must not be split, if known; within its source.
        source: Short name of the data set or hospital that it is from, e.g. ``busbra``.
        scanner: The device that made it, if known.
        birads: BI-RADS category as the source gives it, e.g. ``4a``, if known.
        spacing: Millimeters a pixel, down and across, if known.
        published_folds: Number of folds -> the fold of a split that its source published.
    """

    id: str
    image: Path
    masks: tuple[Path, ...]
    label: int
    annotated: bool = True
    patient: str | None = None
    source: str = ""
    scanner: str | None = None
    birads: str | None = None
    spacing: tuple[float, float] | None = None
    published_folds: Mapping[int, int] = field(default_factory=dict)
