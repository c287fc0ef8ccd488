"""Masks and maps of probabilities that other tools wrote: PNG, NPY and NIfTI files as one array."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Shaped, UInt8
from PIL import Image

from busi.core import InputError
from busi.data import MAX_PIXELS, BadFile, quantize, read_one, to_values
from busi.formats import is_unturned, read_nifti, to_slice
from busi.submissions.submission import Said

UNTURNED = (
    "NIfTI file whose header is the unit matrix, as scripts and MONAI write it for any order of axes: say "
    '"orientation" in submission.json ("itk" where columns come first, as in MONAI, "numpy" where rows do, '
    'or "header" to obey it)'
)
NOT_TOLD = "values beside 0 and one other: say in submission.json whether they are labels or probabilities"


class Predicted(NamedTuple):
    """What was predicted for an image.

    Attributes:
        mask: The lesion.
        shown: Its map in 8 bits: probabilities, or 0 and 255.
    """

    mask: Bool[np.ndarray, "h w"]
    shown: UInt8[np.ndarray, "h w"]


def read_predicted(path: Path, said: Said) -> Predicted:
    """Read a mask or a map of probabilities.

    Args:
        path: A PNG, NPY or NIfTI file.
        said: What is known of the values.

    Raises:
        InputError: If it is damaged, not of two dimensions, or its values mean no lesion; what is wrong, in
            words that complete "3 masks: ...".
    """
    name = path.name.lower()
    if name.endswith((".nii", ".nii.gz")):
        return interpret(read_slice(path, said.orientation), said)
    return interpret(read_image(path, said) if name.endswith(".png") else read_npy(path), said)


def read_slice(path: Path, orientation: str | None) -> Shaped[np.ndarray, "h w"]:
    """The values of a NIfTI file of one slice, turned as `busi.formats` turns it.

    Raises:
        InputError: If it is damaged, or holds several slices; or if nobody says how it is turned, and its
            header is that of an array which no program has placed in space.
    """
    volume = read_nifti(path)
    if orientation is None and is_unturned(volume):
        raise InputError(UNTURNED)
    try:
        (values,) = to_slice(volume, orientation or "header").layers
    except InputError as error:
        raise InputError(
            str(error).replace("say --orientation", 'say "orientation" in submission.json:')
        ) from error
    return values


def read_npy(path: Path) -> Shaped[np.ndarray, "h w"]:
    """The values of an array, without its axes of length 1.

    Raises:
        InputError: If it is damaged, of another kind, or of more than two axes.
    """
    try:
        return np.array(flat(np.load(path, mmap_mode="r", allow_pickle=False)))
    except InputError:
        raise
    except Exception as error:  # numpy raises whatever a damaged file makes its parts raise
        raise InputError("damaged file, or none of its kind") from error


def read_image(path: Path, said: Said) -> Shaped[np.ndarray, "h w"]:
    """The values of a PNG file, by the rules of all masks; see `busi.data.masks.to_values`.

    Raises:
        InputError: As there; or if it is in color, and gray is meant or nothing is black.
    """
    try:
        values = read_one(path, decode)
    except BadFile as error:
        raise InputError(error.kind) from error
    if values.dtype == np.uint32 and (said.values == "probabilities" or values.all()):
        raise InputError("mask in color without a black pixel, or probabilities in color: write it in gray")
    return values


def decode(image: Image.Image) -> Shaped[np.ndarray, "h w"]:
    """The values of an opened image.

    Raises:
        InputError: As `busi.data.masks.to_values`; or if it has a palette whose first color is not black, and
            may mean the background: a prediction may fill an image, so nothing else would tell.
    """
    if image.mode == "P" and any((image.getpalette() or [0])[:3]):
        raise InputError("mask with a palette whose first color is not black: write it in gray")
    return to_values(image)


def flat(values: Shaped[np.ndarray, "..."]) -> Shaped[np.ndarray, "h w"]:
    """An array without its axes of length 1.

    Raises:
        InputError: If more or fewer than two axes are left.
    """
    check_shape(values.shape)
    kept = [size for size in values.shape if size != 1]
    if values.ndim == 2:
        return values
    if len(kept) != 2:
        raise InputError(f"array of {' x '.join(map(str, values.shape))} values: give height x width")
    return values.reshape(kept)


def check_shape(shape: tuple[int, ...]) -> None:
    """Raise `InputError` if an array is empty, or larger than any image."""
    if not 0 < np.prod(shape, dtype=np.float64) <= MAX_PIXELS:
        raise InputError(f"array of {' x '.join(map(str, shape))} values: give 1 to 50 million")


def interpret(values: Shaped[np.ndarray, "h w"], said: Said) -> Predicted:
    """The lesion that values mean.

    Labels are 0 and anything else. Probabilities are floats from 0 to 1, or all that 8 or 16 bits hold.

    Raises:
        InputError: If they mean none.
    """
    if values.dtype.kind not in "biuf":
        raise InputError(f"values of the type {values.dtype}: give numbers")
    if values.dtype.kind == "f":
        if not np.isfinite(values).all():
            raise InputError("values that are not finite")
        whole = bool((values == np.rint(values)).all())
        if said.values == "probabilities" or (said.values is None and not whole):
            if values.min() < 0 or values.max() > 1:
                raise InputError("probabilities outside of 0 to 1: apply the sigmoid, or the softmax")
            return of_probabilities(values.astype(np.float32), said.threshold)
        if not whole:
            raise InputError("labels that are no whole numbers")
    elif said.values == "probabilities" and values.dtype.kind != "b":
        if values.dtype.kind != "u" or values.dtype.itemsize > 2:
            raise InputError("probabilities in whole numbers of neither 8 nor 16 bits: give floats")
        scale = np.float32(np.iinfo(values.dtype).max)
        return of_probabilities(values.astype(np.float32) / scale, said.threshold)
    lesion = values != 0
    if said.values is None and lesion.any() and (values[lesion] != values[lesion][0]).any():
        raise InputError(NOT_TOLD)
    if values.dtype.kind in "if" and values.min() < 0:
        raise InputError("labels below 0")
    return Predicted(lesion, lesion.astype(np.uint8) * np.uint8(255))


def of_probabilities(probs: Shaped[np.ndarray, "h w"], threshold: float) -> Predicted:
    """The lesion of a map of probabilities."""
    return Predicted(np.asarray(probs >= threshold), quantize(probs))
