"""The values that pass between the rooms of the package, and the one error that users see."""

from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from jaxtyping import Float, Int64
from torch import Tensor

CLASSES = ("normal", "benign", "malignant")
"""Class names; a label is the position in this tuple."""

NORMAL, BENIGN, MALIGNANT = range(3)


class InputError(Exception):
    """Something that the user gave is wrong; the message is one line that says what to do."""


@dataclass(frozen=True, slots=True)
class Record:
    """One picture of a data set, as files.

    Attributes:
        id: Unique name, e.g. ``benign (100)``.
        image: The picture.
        masks: Files whose union is the annotation. Empty for a picture without lesion, and for
            one that nobody annotated.
        label: Position in `CLASSES`.
        annotated: Whether `masks` is the truth (a normal picture has the empty mask).
        patient: Identifier of the patient or other unit that must not be split, if known.
    """

    id: str
    image: Path
    masks: tuple[Path, ...]
    label: int
    annotated: bool = True
    patient: str | None = None


class Batch(TypedDict):
    """What a loader gives to a module."""

    image: Float[Tensor, "b 1 h w"]  # [0, 1]
    mask: Float[Tensor, "b 1 h w"]  # {0, 1}, the annotation
    guide: Float[Tensor, "b 1 h w"]  # [0, 1], the mask that the classifier is given
    label: Int64[Tensor, " b"]
    group: Int64[Tensor, " b"]
    id: list[str]
