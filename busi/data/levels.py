"""Which values of an image become black and white, and its 8-bit gray in between."""

import logging
from functools import lru_cache
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from busi.core import InputError, Shaped, UInt8

log = logging.getLogger(__name__)

DEPTHS = (8, 10, 12, 14, 16)
"""Bits that scanners use."""
BITS_PER_SAMPLE, PHOTOMETRIC = 258, 262
"""Tags of TIFF."""


def to_gray(image: Image.Image) -> UInt8[np.ndarray, "h w"]:
    """8-bit gray of an image of any mode, upright as its EXIF orientation says.

    - 8 bits: as they are. Color becomes ITU-R 601 luma, which leaves a gray image stored as RGB as it is.
      What is transparent becomes black.
    - More bits: 0 is black. White is the highest value of the bits that the file says (12-bit TIFF), or else
      of the fewest of 8, 10, 12, 14 and 16 bits that hold every value.
    - Floating point: 0 is black. White is 1 if no value is above it, or else 255.

    Raises:
        InputError: If values are negative, not finite, or above 65535 (floating point: 255); of 16-bit color,
            which Pillow cuts to 8 bits; or of a mode that has no gray.
    """
    refuse_wide_color(image)
    tags: Any = getattr(image, "tag_v2", {})
    bits, transparent = max(tags.get(BITS_PER_SAMPLE, (16,))), image.info.get("transparency")
    ImageOps.exif_transpose(image, in_place=True)
    if not is_wide(image):
        return np.array(over_black(image).convert("L"))
    values = np.array(image)
    gray = float_to_gray(values) if image.mode == "F" else wide_to_gray(values, bits)
    if tags.get(PHOTOMETRIC) == 0:  # white is 0, which Pillow minds up to 8 bits only
        gray = 255 - gray
    if isinstance(transparent, int):
        gray[values == transparent] = 0
    return gray


def is_wide(image: Image.Image) -> bool:
    """Whether the values of an opened image have more than 8 bits."""
    return image.mode == "F" or image.mode.startswith("I")


def refuse_wide_color(image: Image.Image) -> None:
    """Raise `InputError` for an opened image of 16-bit color, of which Pillow keeps the upper 8 bits."""
    tags: Any = getattr(image, "tag_v2", {})
    wide = max(tags.get(BITS_PER_SAMPLE, (8,))) > 8
    wide |= any(";16" in str(tile[3]) for tile in getattr(image, "tile", ()))
    if wide and not is_wide(image):
        raise InputError("color of more than 8 bits: convert it to 8 bits, or to gray")


def over_black(image: Image.Image) -> Image.Image:
    """An image as it looks on black; itself if nothing of it is transparent."""
    if not image.has_transparency_data:
        return image
    seen = image.convert("RGBA")
    if seen.getchannel("A").getextrema() == (255, 255):
        return image
    return Image.alpha_composite(Image.new("RGBA", image.size, (0, 0, 0, 255)), seen)


def wide_to_gray(values: Shaped[np.ndarray, "*shape"], bits: int) -> UInt8[np.ndarray, "*shape"]:
    """Scale whole numbers to 8 bits.

    Args:
        values: At least 0.
        bits: That the file says each value has. 16 and more are those of a container, and say nothing: the
            bits that are used count.

    Raises:
        InputError: If a value is negative or above 65535.
    """
    low, high = int(values.min(initial=0)), int(values.max(initial=0))
    if low < 0:
        raise InputError(f"values from {low} to {high}: scale them to 0-255")
    if bits >= DEPTHS[-1] or high >= 2**bits:
        bits = used_bits(high)
    if bits == 8:
        return values.astype(np.uint8)
    return scale(values, 0.0, 2.0**bits - 1)


def used_bits(high: int) -> int:
    """The fewest bits of `DEPTHS` that hold a value; says which.

    Raises:
        InputError: If it is above 65535.
    """
    bits = next((bits for bits in DEPTHS if high < 2**bits), 0)
    if not bits:
        raise InputError(f"values up to {high}: scale them to 0-255")
    say(f"An image of more than 8 bits uses {bits} of them: 0 is taken as black, {2**bits - 1} as white")
    return bits


def float_to_gray(values: Shaped[np.ndarray, "*shape"]) -> UInt8[np.ndarray, "*shape"]:
    """Scale floating-point values of 0-1 or 0-255 to 8 bits.

    Raises:
        InputError: If a value is not finite, negative or above 255.
    """
    if not np.isfinite(values).all():
        raise InputError("values that are infinite or no numbers: scale them to 0-255")
    low, high = float(values.min(initial=0)), float(values.max(initial=0))
    if low < 0 or high > 255:
        raise InputError(f"floating-point values from {low:g} to {high:g}: scale them to 0-1 or 0-255")
    white = 1.0 if high <= 1 else 255.0
    say(f"An image of floating-point values: 0 is taken as black, {white:g} as white")
    return scale(values, 0.0, white)


def scale(values: Shaped[np.ndarray, "*shape"], low: float, high: float) -> UInt8[np.ndarray, "*shape"]:
    """Map [low, high], a positive range, to 0-255."""
    share = (np.asarray(values, np.float64) - low) / (high - low)
    return np.asarray((255 * share.clip(0, 1)).round().astype(np.uint8))


def refuse_flat(gray: UInt8[np.ndarray, "_ _"]) -> None:
    """Raise `InputError` for an image of one or two gray levels: it shows nothing, or is a mask."""
    if not gray.size:
        return
    low, high = gray.min(), gray.max()
    if low == high:
        raise InputError(f"every pixel has the same gray level ({low}): it shows nothing")
    if gray.size > 2 and ((gray == low) | (gray == high)).all():
        raise InputError(f"no gray level but {low} and {high}: it is a mask. Give its image")


@lru_cache(maxsize=256)
def say(text: str) -> None:
    """Log a line once a process: every image of a data set may be a reason for it."""
    log.warning(text)
