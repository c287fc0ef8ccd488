"""What every format is read into: what the annotation of an image says, and what that means."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, UInt8

from busi.core import CLASSES, NORMAL, InputError
from busi.data import (
    Problem,
    cut_mask,
    is_dicom,
    keep_spacing,
    read_frame,
    read_header,
    refuse_flat,
    refuse_inverted,
)
from busi.formats.labels import IGNORE, MASK, Meanings

Mask = Bool[np.ndarray, "h w"]


@dataclass(frozen=True)
class Shape:
    """One thing that was drawn.

    Attributes:
        word: Its category, as the file calls it.
        draw: Gives its mask for an image of a height and a width; raises `InputError` if it cannot. A mask
            that was stored has a size of its own, whatever is asked for.
    """

    word: str
    draw: Callable[[int, int], Mask]


@dataclass(frozen=True)
class Annotation:
    """What a file of another tool says about one image.

    Attributes:
        name: Of the image, below the folder that was converted.
        image: Its file.
        shapes: What was drawn.
        tags: Words about the whole image: tags, flags, a cell of a sheet.
        size: Height and width that the shapes are drawn on, where the file says so.
        patient: As the file calls the patient.
        spacing: Millimeters a pixel, down and across.
        pixels: Gives the gray image where busi cannot read the file itself, as of a NIfTI file.
        clip: Name of the clip that the image is a frame of.
        values: More columns of a manifest.
    """

    name: str
    image: Path
    shapes: tuple[Shape, ...] = ()
    tags: tuple[str, ...] = ()
    size: tuple[int, int] | None = None
    patient: str | None = None
    spacing: tuple[float, float] | None = None
    pixels: Callable[[], UInt8[np.ndarray, "h w"]] | None = None
    clip: str | None = None
    values: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Case:
    """An image with its annotation, checked: what every format is written from.

    Attributes:
        id: Unique among the cases; may hold ``/``.
        image: Its file.
        gray: Its pixels, as training sees them.
        mask: Where the lesion is, of the size of `gray`; None where nobody drew.
        label: Position in `CLASSES`.
        patient: Who must not be split, if known.
        spacing: Millimeters a pixel, down and across, if known.
        readable: Whether busi reads the file of the image itself.
        in_place: Whether a manifest may name that file where it lies.
        values: More columns of a manifest.
    """

    id: str
    image: Path
    gray: UInt8[np.ndarray, "h w"]
    mask: Mask | None
    label: int
    patient: str | None = None
    spacing: tuple[float, float] | None = None
    readable: bool = True
    in_place: bool = True
    values: Mapping[str, Any] = field(default_factory=dict)

    @property
    def undrawn(self) -> bool:
        """Whether there is a lesion that nobody drew."""
        return self.mask is None and self.label != NORMAL


@dataclass(frozen=True, slots=True)
class Unplaced(Problem):
    """An annotation that cannot be used, and may be about any image: it is damaged, or names none."""


Found = Annotation | Problem
"""What a format yields: an annotation, or what is wrong with an image or a file."""

NOTHING_SAID = "image without annotation or class: say what such images are, e.g. --empty normal"
MAY_BE_MISSING = (
    "image without annotation or class, beside an annotation that cannot be used and may be about it: mend "
    "that one, or say the class of the image in a --sheet"
)


def resolve(annotation: Annotation, name: str, meanings: Meanings, empty: int | str) -> Case:
    """Read the image, draw what was drawn on it, and decide on its class.

    Args:
        annotation: Of the image.
        name: The id of the case.
        meanings: Of words.
        empty: The class of an image on which nothing is drawn and no word says a class, or why it has none.

    Raises:
        InputError: If the image cannot be read; a shape cannot be drawn, or on another size; or there is no
            class, or several.
    """
    if annotation.pixels is None:
        gray, spacing = read_frame(annotation.image)
    else:
        gray, spacing = annotation.pixels(), None
    refuse_flat(gray)
    drawn = [shape for shape in annotation.shapes if meanings[shape.word] in (*CLASSES[1:], MASK)]
    mask = draw(annotation, drawn, gray.shape) if drawn else None
    words = {meanings[word] for word in (*annotation.tags, *(shape.word for shape in annotation.shapes))}
    label = find_class(words - {MASK, IGNORE}, bool(drawn), empty)
    if mask is not None and label == NORMAL and mask.any():
        raise InputError("normal image with a lesion drawn on it")
    if mask is not None and label != NORMAL and not mask.any():
        raise InputError("lesion with an empty mask")
    if mask is not None:
        refuse_inverted(mask)
    known = annotation.spacing or (None if spacing is None else (spacing.rows, spacing.columns))
    return Case(
        name,
        annotation.image,
        gray,
        mask,
        label,
        annotation.patient,
        keep_spacing(known),
        annotation.pixels is None,
        values=annotation.values,
    )


def find_class(names: Collection[str], drawn: bool, empty: int | str) -> int:
    """The class that words say.

    Args:
        names: Classes that were said.
        drawn: Whether a lesion was drawn.
        empty: The class of an image about which nothing is said, or why it has none.

    Raises:
        InputError: If there is none, or several.
    """
    if len(names) > 1:
        raise InputError(f"image of several classes: {' and '.join(sorted(names))}")
    if names:
        return CLASSES.index(next(iter(names)))
    if drawn:
        raise InputError("lesion without a class: map its category to one with --labels, or give a --sheet")
    if isinstance(empty, str):
        raise InputError(empty)
    return empty


def draw(annotation: Annotation, shapes: Sequence[Shape], size: tuple[int, ...]) -> Mask:
    """The union of shapes, on the part of the image that is read.

    A DICOM file may be read in part: what is drawn on all of it is cut.

    Raises:
        InputError: If the size of the annotation is not that of the image.
    """
    height, width = annotation.size or size
    whole = whole_size(annotation.image)
    if (height, width) not in (size, whole):
        raise InputError(f"annotation of another size than its image: {differ((height, width), size)}")
    union = np.zeros(size, bool)
    for shape in shapes:
        mask = shape.draw(height, width)
        if mask.shape != size and mask.shape == whole:
            mask = cut_mask(mask, annotation.image)
        if mask.shape != size:
            raise InputError(f"mask of another size than its image: {differ(mask.shape, size)}")
        union |= mask
    return union


def whole_size(path: Path) -> tuple[int, int] | None:
    """Height and width of a DICOM file as its header says; None of any other."""
    if not is_dicom(path):
        return None
    header = read_header(path, ("Rows", "Columns"))
    return int(header["Rows"]), int(header["Columns"])


def differ(one: tuple[int, ...], other: tuple[int, ...]) -> str:
    """Two sizes in words, width first."""
    turned = ", turned" if one[::-1] == tuple(other) and one != other else ""
    return f"{one[1]} x {one[0]} for {other[1]} x {other[0]} pixels{turned}"
