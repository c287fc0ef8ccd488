"""Annotations: mask files decoded to 0 and 1."""

import numpy as np
from jaxtyping import Bool, Shaped, UInt8
from PIL import Image, ImageOps

from busi.core import NORMAL, InputError, Record
from busi.data.files import is_dicom
from busi.data.images import BadFile, read_one
from busi.data.levels import PHOTOMETRIC, is_wide, refuse_wide_color


def read_mask(record: Record, height: int, width: int) -> UInt8[np.ndarray, "{height} {width}"]:
    """Decode the annotation: the union of a record's mask files, values 0 and 1.

    Where the image is a part of a DICOM file, the mask may be drawn on that part or on the whole.

    Raises:
        BadFile: If a file is unreadable or DICOM, or a mask has another size than the image, reaches out of
            the part of a DICOM file that is read, is ambiguous (see `to_lesion`), or empty though there is a
            lesion.
    """
    union = np.zeros((height, width), np.uint8)
    for path in record.masks:
        if is_dicom(path):
            raise BadFile("mask that is a DICOM file: convert it to PNG", path)
        mask = read_one(path, to_mask)
        if mask.shape != union.shape and is_dicom(record.image):
            from busi.data.dicom import cut_mask  # pydicom, which most data sets do not need

            try:
                mask = cut_mask(mask, record.image)
            except InputError as error:
                raise BadFile(str(error), path) from error
        if mask.shape != union.shape:
            raise BadFile("mask of another size than its image", path)
        union |= mask.astype(np.uint8)
    if record.label != NORMAL and record.masks and not union.any():
        raise BadFile("lesion with an empty mask", record.masks[0])
    return union


def to_mask(image: Image.Image) -> Bool[np.ndarray, "h w"]:
    """Where a mask image of an annotation shows the lesion; see `to_values`.

    Raises:
        InputError: As `to_lesion`, or if the whole border belongs to the lesion, which may be inverted.
    """
    lesion = to_lesion(image)
    refuse_inverted(lesion)
    return lesion


def to_lesion(image: Image.Image) -> Bool[np.ndarray, "h w"]:
    """Where a mask image shows the lesion, which has one value; see `to_values`.

    Raises:
        InputError: As `to_values`, or if there are several values beside the background.
    """
    values = to_values(image)
    lesion = values != 0
    seen = values[lesion]
    if seen.size and not (seen == seen[0]).all():
        raise InputError("mask with more than two values")
    return np.asarray(lesion)


def to_values(image: Image.Image) -> Shaped[np.ndarray, "h w"]:
    """The values of a mask image, upright as its EXIF orientation says.

    The background is 0: what is black or transparent. All else is a gray level of any depth, or the number of
    a color, 32 bits. A color under transparent pixels is not seen. Where the whole image has one color, black
    included, and parts are transparent, the background is what is transparent.

    Raises:
        InputError: If it is of 16-bit color, of more than 8 bits with 0 for white, or has a palette with
            several black colors.
    """
    refuse_wide_color(image)
    wide, tags = is_wide(image), getattr(image, "tag_v2", {})
    if wide and tags.get(PHOTOMETRIC) == 0:
        raise InputError("mask of more than 8 bits whose 0 is white: invert it")
    image = ImageOps.exif_transpose(image)
    if wide or (image.mode in ("1", "L") and not image.has_transparency_data):
        values = np.array(image)
        if (transparent := image.info.get("transparency")) is not None:
            values[values == transparent] = 0
        return values
    if image.mode == "P" and not image.has_transparency_data:
        refuse_two_blacks(image)
    pixels = np.array(image.convert("RGBA"))
    color, alpha = pixels[..., :3], pixels[..., 3]
    lesion = alpha > 0
    if lesion.all() or (color != color[0, 0]).any():
        lesion &= color.any(-1)
    seen, shades = color[lesion], np.unique(alpha[lesion])
    gray = len(shades) < 2 and seen.any(-1).all() and (seen == seen[:, :1]).all()
    values = pixels[..., 0] if gray else pixels.view(np.uint32)[..., 0]
    return np.where(lesion, values, values.dtype.type(0))


def refuse_two_blacks(image: Image.Image) -> None:
    """Raise `InputError` if several values of an image with a palette are black."""
    palette = image.getpalette() or []
    used = np.unique(np.asarray(image)).tolist()
    if sum(not any(palette[3 * k : 3 * k + 3]) for k in used) > 1:
        raise InputError("mask with a palette in which several colors are black: write it in gray")


def refuse_inverted(lesion: Bool[np.ndarray, "h w"]) -> None:
    """Raise `InputError` if the whole border belongs to the lesion."""
    if all(edge.all() for edge in (lesion[0], lesion[-1], lesion[:, 0], lesion[:, -1])):
        raise InputError("mask whose whole border is lesion: is it inverted?")
