"""The axes of NIfTI, NRRD and MetaImage files as rows and columns.

ITK, and so 3D Slicer and ITK-SNAP, stores an image with its columns along the first axis and its rows along
the second one, from the upper left pixel on. Where the header says how the axes lie in space (``header``),
the image is turned and mirrored to what these programs show: the patient's right on the left, front on top.
Else it is read as ITK stores it. ``itk`` ignores the header, and ``numpy`` takes the first axis for the rows,
as in a file that somebody made of an array of rows and columns.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float, Shaped, UInt8
from PIL import Image

from busi.core import InputError, import_extra
from busi.data import to_gray

MAX_VALUES = 50_000_000
"""Pixels of one file, all its layers together."""
AXES = 3


@dataclass(frozen=True)
class Volume:
    """What a NIfTI, NRRD or MetaImage file holds.

    Attributes:
        layers: Its values along its own axes, three of them; several where segments overlap.
        affine: From indices to millimeters, right, front and up positive; None where the file does not say.
        sizes: Millimeters along each axis; None where the file does not say.
        segments: Name, layer and value of what is drawn, where the file says so.
        offset: Where it begins in the image that it was drawn on; None where it does not say.
    """

    layers: list[Shaped[np.ndarray, "x y z"]]
    affine: Float[np.ndarray, "4 4"] | None
    sizes: tuple[float, ...] | None
    segments: tuple[tuple[str, int, int], ...] | None = None
    offset: tuple[int, int, int] | None = None


@dataclass(frozen=True)
class Slice:
    """A volume of one slice as rows and columns.

    Attributes:
        layers: Rows and columns of each layer.
        spacing: Millimeters a pixel, down and across, if known.
        segments: See `Volume`.
    """

    layers: list[Shaped[np.ndarray, "h w"]]
    spacing: tuple[float, float] | None
    segments: tuple[tuple[str, int, int], ...] | None = field(default=None)


def is_unturned(volume: Volume) -> bool:
    """Whether the header is that of an array that no program has placed in space: scripts write any order."""
    return volume.affine is not None and np.array_equal(volume.affine, np.eye(4))


def to_slice(volume: Volume, orientation: str, whole: tuple[int, int] | None = None) -> Slice:
    """Turn a volume of one slice into rows and columns.

    Args:
        volume: What was read.
        orientation: One of `busi.formats.known.ORIENTATIONS`.
        whole: First and second size of the image that a part was drawn on: it is placed there.

    Raises:
        InputError: If it has several slices, or its header no sense.
    """
    layers, sizes = volume.layers, volume.sizes or (1.0, 1.0, 1.0)
    if whole is not None and volume.offset is not None and layers[0].shape[:2] != whole:
        layers = [put(layer, whole, volume.offset) for layer in layers]
    if 1 not in layers[0].shape:
        raise InputError(f"volume of {min(layers[0].shape)} slices: give a file for each image")
    order = [0, 1, 2]
    if orientation == "header" and volume.affine is not None:
        layers, order = turn(layers, volume.affine)
    (thin, *_) = [axis for axis in (2, 1, 0) if layers[0].shape[axis] == 1]
    first, second = (axis for axis in range(AXES) if axis != thin)
    turned = [np.squeeze(layer, thin) for layer in layers]
    across, down = sizes[order[first]], sizes[order[second]]
    if orientation == "numpy":
        across, down = down, across
    else:
        turned = [layer.T for layer in turned]
    # ITK writes 1 mm where nobody knows.
    known = volume.sizes is not None and not across == down == 1 and across > 0 and down > 0
    return Slice(
        [np.ascontiguousarray(x) for x in turned], (down, across) if known else None, volume.segments
    )


def turn(layers: list[Any], affine: Float[np.ndarray, "4 4"]) -> tuple[list[Any], list[int]]:
    """Turn layers so that their axes run to the patient's left, back and (of upright slices) down.

    Returns:
        The layers, and for each new axis the one that it was.
    """
    orientations = import_extra("nibabel", "nibabel", "formats").orientations
    if not np.isfinite(affine).all():
        raise InputError("header whose directions are no numbers: say --orientation itk or numpy")
    with np.errstate(all="ignore"):  # of numbers that are far too large
        now = orientations.io_orientation(affine)
    if np.isnan(now).any():
        raise InputError("header whose directions have no sense: say --orientation itk or numpy")
    axial = layers[0].shape[int(np.flatnonzero(now[:, 0] == 2)[0])] == 1
    wanted = orientations.axcodes2ornt("LPS" if axial else "LPI")
    change = orientations.ornt_transform(now, wanted)
    order = [int(np.flatnonzero(change[:, 0] == axis)[0]) for axis in range(AXES)]
    return [orientations.apply_orientation(layer, change) for layer in layers], order


def put(layer: Any, whole: tuple[int, int], offset: tuple[int, int, int]) -> Any:
    """Place a part into the image that it was drawn on.

    Raises:
        InputError: If it reaches out of it.
    """
    (left, top, _), (width, height) = offset, layer.shape[:2]
    if min(left, top) < 0 or left + width > whole[0] or top + height > whole[1]:
        raise InputError("segmentation that reaches out of its image: save it with the geometry of the image")
    placed = np.zeros((*whole, layer.shape[2]), layer.dtype)
    placed[left : left + width, top : top + height] = layer
    return placed


def slice_to_gray(values: Shaped[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w"]:
    """8-bit gray of the values of an image, by the rules of `busi.data.levels`.

    Raises:
        InputError: If they are negative or too large.
    """
    if values.dtype == np.uint8:
        return values
    if values.dtype.kind in "iub":
        if values.size and not 0 <= int(values.min()) <= int(values.max()) < 2**31:
            raise InputError(f"values from {values.min()} to {values.max()}: scale them to 0-255")
        return to_gray(Image.fromarray(values.astype(np.int32)))
    if values.dtype.kind != "f":
        raise InputError(f"values of the type {values.dtype}: scale them to 0-255")
    whole = np.isfinite(values).all() and (values == np.rint(values)).all() and values.max(initial=0) > 1
    if whole and values.min(initial=0) >= 0 and values.max(initial=0) < 2**16:
        return to_gray(Image.fromarray(values.astype(np.int32)))
    return to_gray(Image.fromarray(values.astype(np.float32)))


def color_to_gray(values: Shaped[np.ndarray, "*shape 3"]) -> UInt8[np.ndarray, "*shape"]:
    """Luma of 8-bit color, as of any other image."""
    if values.dtype != np.uint8:
        raise InputError("color of more than 8 bits: convert it to 8 bits, or to gray")
    shape = values.shape[:-1]
    flat = np.ascontiguousarray(values).reshape(1, -1, 3)
    return to_gray(Image.fromarray(flat)).reshape(shape)


def check_size(shape: tuple[int, ...]) -> None:
    """Raise `InputError` for a size that no image has, before anything of it is read."""
    count = 1
    for size in shape:
        count *= int(size)
    if count <= 0 or count > MAX_VALUES:
        raise InputError(
            f"size of {' x '.join(map(str, shape))}: give at most 50 megapixels, and at least one"
        )
