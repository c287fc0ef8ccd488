"""The one mapping between an image and the square that a network sees, and the way back."""

from typing import NamedTuple

import numpy as np
from PIL import Image

from busi.core import Float32, UInt8


class Inset(NamedTuple):
    """Where an image lies inside its square, in pixels of the square."""

    top: int
    left: int
    height: int
    width: int


def fit_inset(height: int, width: int, size: int) -> Inset:
    """Place an image of `height` x `width` pixels, aspect kept, in the middle of a square.

    Args:
        height: Of the image, in pixels, at least 1.
        width: Of the image, in pixels, at least 1.
        size: Side of the square in pixels.
    """
    scale = size / max(height, width)
    inner_height = max(1, round(height * scale))
    inner_width = max(1, round(width * scale))
    return Inset((size - inner_height) // 2, (size - inner_width) // 2, inner_height, inner_width)


def letterbox(image: UInt8[np.ndarray, "h w"], size: int) -> UInt8[np.ndarray, "{size} {size}"]:
    """Scale a gray image into a square, aspect kept, black outside.

    Training, prediction and export all call this function: resizing differs between libraries by
    more than rounding. Pillow's bilinear filter widens when it shrinks, so nothing aliases.
    """
    top, left, height, width = fit_inset(image.shape[0], image.shape[1], size)
    square = np.zeros((size, size), np.uint8)
    inner = Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR)
    square[top : top + height, left : left + width] = np.asarray(inner)
    return square


def letterbox_mask(mask: UInt8[np.ndarray, "h w"], size: int) -> UInt8[np.ndarray, "{size} {size}"]:
    """Scale a {0, 1} mask into the square of `letterbox`; a pixel half covered counts as covered."""
    return (letterbox(mask * np.uint8(255), size) >= 128).astype(np.uint8)


def unletterbox(
    probs: Float32[np.ndarray, "s s"], height: int, width: int
) -> Float32[np.ndarray, "{height} {width}"]:
    """Bring a probability map back to the image's own size, padding removed.

    Args:
        probs: Map over the square, [0, 1].
        height: Of the original image, in pixels.
        width: Of the original image, in pixels.

    Returns:
        The map, which cannot be written to.
    """
    top, left, inner_height, inner_width = fit_inset(height, width, probs.shape[0])
    inner = np.ascontiguousarray(probs[top : top + inner_height, left : left + inner_width])
    original = Image.fromarray(inner).resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(original, np.float32)


def quantize(probs: Float32[np.ndarray, "*shape"]) -> UInt8[np.ndarray, "*shape"]:
    """Probabilities as 8-bit values: 128 and above are those of at least one half."""
    levels: UInt8[np.ndarray, "*shape"] = np.floor(probs * np.float32(255) + np.float32(0.5)).astype(np.uint8)
    return levels
