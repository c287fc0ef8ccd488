"""Image files that Pillow reads: opened in one place, for training and prediction."""

import hashlib
import struct
import warnings
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from PIL import Image, ImageSequence, UnidentifiedImageError

from busi.core import InputError, UInt8

FORMATS = ("PNG", "JPEG", "BMP", "TIFF")
MAX_PIXELS = 50_000_000
"""Of one image; more is refused before it is decoded."""
SEVERAL = "file of several images, which need a file each"
"""What is wrong with a file of more images than one where there has to be one."""
SUBFILE, NO_IMAGE = 254, 0b101
"""Tag of TIFF, and its bits of a page that is a thumbnail or a mask of another one."""

# Larger images are refused here, with a lower limit.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
# A damaged TIFF file is read or refused; what is wrong with its header does not matter.
warnings.filterwarnings("ignore", category=UserWarning, module="PIL.TiffImagePlugin")

BROKEN = (OSError, SyntaxError, ValueError, EOFError, TypeError, LookupError, ArithmeticError, struct.error)
"""What Pillow raises for damaged files."""

T = TypeVar("T")


class BadFile(InputError):
    """An image or a mask that cannot be used.

    Args:
        kind: What is wrong, in words that complete "3 images: ...".
        path: The file.
        text: The whole message, where it is another one.
    """

    def __init__(self, kind: str, path: Path, text: str = "") -> None:
        super().__init__(text or f"cannot use {path}: {kind}")
        self.kind, self.path = kind, path


def read_one(path: Path, decode: Callable[[Image.Image], T]) -> T:
    """Decode a PNG, JPEG, BMP or TIFF file of one image.

    Raises:
        BadFile: As `read_pages`, and if there are several.
    """
    pages = list(islice(read_pages(path, decode), 2))
    if len(pages) != 1:
        raise BadFile(SEVERAL if pages else "file without an image", path)
    return pages[0]


def read_pages(path: Path, decode: Callable[[Image.Image], T]) -> Iterator[T]:
    """Decode the images of a PNG, JPEG, BMP or TIFF file, one at a time.

    Args:
        path: The file. Its content decides, not its name.
        decode: Called with each opened image.

    Raises:
        BadFile: If the file is missing, damaged or no image, has one of over 50 megapixels, or `decode`
            raises `InputError`.
    """
    kind = "unreadable or truncated file"
    try:
        # From a path, Pillow maps uncompressed TIFF files to memory, and scrambles those that are rotated.
        with path.open("rb") as file, Image.open(file, formats=FORMATS) as image:
            yield from map(decode, real_pages(image))
    except InputError as error:
        raise BadFile(str(error), path) from error
    except Image.DecompressionBombError as error:
        raise BadFile("far over 50 megapixels: give a smaller image", path) from error
    except BROKEN as error:
        reason = getattr(error, "strerror", None) or str(error)
        if isinstance(error, UnidentifiedImageError):
            reason = "no image, or of a kind that is not supported"
        text = f"cannot read {path}: {reason}. Give a whole PNG, JPEG, BMP, TIFF or DICOM file"
        raise BadFile(kind, path, text) from error


def real_pages(image: Image.Image) -> Iterator[Image.Image]:
    """The images of an opened file: every page of a TIFF file but thumbnails, and masks of another page.

    Raises:
        InputError: If it is an animation, or has an image of over 50 megapixels.
    """
    if image.format == "PNG" and getattr(image, "is_animated", False):
        raise InputError("an animation: give its images as files of their own")
    for page in ImageSequence.Iterator(image) if image.format == "TIFF" else [image]:
        tags: Any = getattr(page, "tag_v2", {})
        if tags.get(SUBFILE, 0) & NO_IMAGE:
            continue
        if page.width * page.height > MAX_PIXELS:
            raise InputError(f"{page.width} x {page.height} pixels: give at most 50 megapixels")
        yield page


def pixel_hash(gray: UInt8[np.ndarray, "_ _"]) -> str:
    """Fingerprint of decoded pixels, 32 hexadecimal digits: equal for a PNG and its RGB twin."""
    height, width = gray.shape
    return hashlib.sha256(f"{height}x{width}:".encode() + gray.tobytes()).hexdigest()[:32]
