"""The pixels of images and annotations: files decoded to 8-bit gray and to masks."""

import hashlib
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, UnidentifiedImageError

from busi.core import NORMAL, InputError, Record


def read_gray(path: Path) -> UInt8[np.ndarray, "h w"]:
    """Decode an image of any mode to 8-bit gray.

    16-bit images are scaled by their full range (value / 257). Color becomes ITU-R 601 luma,
    which leaves a gray image stored as RGB as it is. Transparency is ignored.

    Raises:
        InputError: If the file is missing, truncated, or no image.
    """
    try:
        with Image.open(path) as image:
            return to_gray(image)
    except (OSError, UnidentifiedImageError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(f"cannot read {path}: {error}") from error


def to_gray(image: Image.Image) -> UInt8[np.ndarray, "h w"]:
    """8-bit gray of an image of any mode; see `read_gray`."""
    if image.mode.startswith("I"):
        wide = np.asarray(image, dtype=np.int64).clip(0, 65535)
        return ((wide + 128) // 257).astype(np.uint8)
    return np.array(image.convert("L"))


def read_mask(record: Record, height: int, width: int) -> UInt8[np.ndarray, "{height} {width}"]:
    """Decode the annotation: the union of a record's mask files, values 0 and 1.

    Raises:
        BadMask: If a mask has another size than the image or more than two values.
        InputError: If a file is unreadable.
    """
    union = np.zeros((height, width), np.uint8)
    for path in record.masks:
        mask = read_gray(path)
        if mask.shape != union.shape:
            raise BadMask("mask of another size than its image", path)
        values = np.unique(mask)
        if len(values) > 2 or (len(values) == 2 and values[0] != 0):
            raise BadMask("mask with more than two values", path)
        union |= (mask > 0).astype(np.uint8)
    if record.label != NORMAL and record.masks and not union.any():
        raise BadMask("lesion with an empty mask", record.masks[0])
    return union


class BadMask(InputError):
    """A readable mask that cannot be an annotation of its image."""

    def __init__(self, kind: str, path: Path) -> None:
        super().__init__(f"{kind}: {path}")
        self.kind, self.path = kind, path


def pixel_hash(gray: UInt8[np.ndarray, "_ _"]) -> str:
    """Fingerprint of decoded pixels, 32 hexadecimal digits: equal for a PNG and its RGB twin."""
    height, width = gray.shape
    return hashlib.sha256(f"{height}x{width}:".encode() + gray.tobytes()).hexdigest()[:32]
