"""Classes, records, and the one error that users see."""

from dataclasses import dataclass
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
        patient: Identifier of the patient or other unit that must not be split, if known.
    """

    id: str
    image: Path
    masks: tuple[Path, ...]
    label: int
    annotated: bool = True
    patient: str | None = None
