"""Any file that holds images, as gray frames: the one way in which training and prediction read them.

PNG, JPEG, BMP and TIFF (every page) by Pillow, DICOM by `busi.data.dicom`. The content decides, not the name.
pydicom is imported once there is a DICOM file: it takes longer than predicting an image.
"""

import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np

from busi.core import UInt8
from busi.data.frames import Frame
from busi.data.images import SEVERAL, BadFile, read_one, read_pages
from busi.data.levels import to_gray

DICOM_SUFFIXES = frozenset({".dcm", ".dicom"})
SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".tif", ".tiff", *DICOM_SUFFIXES})
"""Of files that are taken for images; a DICOM file may have any other, or none."""
FIRST_ELEMENT = re.compile(rb"[\x02\x08]\0[\0-\x20]\0(UL|OB|UI|CS|DA|[\0-\x40]\0\0\0)")
"""Of group 2 or 8, little endian: its value representation, or (implicit) a short length."""
OTHER_START = re.compile(rb"\x89PNG|\xff\xd8\xff|BM|II\*\0|MM\0\*")
"""Of PNG, JPEG, BMP and TIFF."""


def read_gray(path: Path) -> UInt8[np.ndarray, "h w"]:
    """Decode a file of one image to 8-bit gray; see `busi.data.levels` and `busi.data.dicom_gray`.

    Raises:
        BadFile: As `read_frame`.
    """
    return read_frame(path).gray


def read_frame(path: Path) -> Frame:
    """Decode a file of one image.

    Raises:
        BadFile: If the file is missing, damaged, no image or several, or its gray levels have no meaning.
    """
    frames = list(islice(read_frames(path), 2))
    if len(frames) != 1:
        raise BadFile(SEVERAL if frames else "file without an image", path)
    return frames[0]


def read_frames(path: Path) -> Iterator[Frame]:
    """Decode the images of a file, one at a time.

    Raises:
        BadFile: If the file is missing, damaged, no image, or has one of over 50 megapixels.
    """
    if is_dicom(path) or (path.suffix.lower() in DICOM_SUFFIXES and not OTHER_START.match(_head(path))):
        from busi.data.dicom import read_dicom

        yield from read_dicom(path)
        return
    for gray in read_pages(path, to_gray):
        yield Frame(gray, None)


def read_nth(path: Path, number: int) -> Frame | None:
    """Decode one image of a file, counted from 1; None if it has fewer.

    Raises:
        BadFile: As `read_frames`.
    """
    return next(islice(read_frames(path), number - 1, None), None)


def pixel_format(path: Path) -> str:
    """How a file stores its pixels: Pillow's name of the mode, or e.g. ``DICOM MONOCHROME2, 8 bits``."""
    if is_dicom(path):
        from busi.data.dicom import read_header

        found = read_header(path, ("PhotometricInterpretation", "BitsStored"))
        return f"DICOM {found.get('PhotometricInterpretation')}, {found.get('BitsStored')} bits"
    return read_one(path, lambda page: page.mode)


def is_image(path: Path) -> bool:
    """Whether a file of a folder is taken for an image.

    A link that leads nowhere is, if its name is that of an image, so that it is not passed over in silence.
    """
    if path.name.startswith(".") or path.name.upper() == "DICOMDIR":
        return False
    if path.suffix.lower() in SUFFIXES:
        return path.is_file() or not path.exists()
    return path.is_file() and is_dicom(path)


def is_dicom(path: Path) -> bool:
    """Whether a file begins as DICOM files do: with their preamble, or with an element of theirs."""
    head = _head(path)
    return head[128:] == b"DICM" or FIRST_ELEMENT.match(head) is not None


def strip_suffix(name: str) -> str:
    """A name without the suffix of an image, if it has one: not that of a DICOM file ``1.2.840.1``."""
    suffix = Path(name).suffix
    return name[: -len(suffix)] if suffix.lower() in SUFFIXES else name


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(132)
    except OSError:
        return b""
