"""Any file that holds images, as gray frames.

PNG, JPEG, BMP and TIFF (every page) by Pillow, DICOM by `busi.data.dicom`. The content decides, not the name.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from busi.data.dicom import Frame, read_dicom
from busi.data.images import read_pages
from busi.data.levels import to_gray

DICOM_SUFFIXES = frozenset({".dcm", ".dicom"})
FIRST_ELEMENT = re.compile(rb"[\x02\x08]\0[\0-\x20]\0(UL|OB|UI|CS|DA|[\0-\x40]\0\0\0)")
"""Of group 2 or 8, little endian: its value representation, or (implicit) a short length."""
OTHER_START = re.compile(rb"\x89PNG|\xff\xd8\xff|BM|II\*\0|MM\0\*")
"""Of PNG, JPEG, BMP and TIFF."""


def read_frames(path: Path) -> Iterator[Frame]:
    """Decode the images of a file, one at a time.

    Raises:
        InputError: If the file is missing, damaged, no image, or has one of over 50 megapixels.
    """
    if is_dicom(path) or (path.suffix.lower() in DICOM_SUFFIXES and not OTHER_START.match(_head(path))):
        yield from read_dicom(path)
        return
    for gray in read_pages(path, to_gray):
        yield Frame(gray, None)


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(132)
    except OSError:
        return b""


def is_dicom(path: Path) -> bool:
    """Whether a file begins as DICOM files do: with their preamble, or with an element of theirs."""
    head = _head(path)
    return head[128:] == b"DICM" or FIRST_ELEMENT.match(head) is not None
