"""The DICOM images below a folder, and what tells segmentations from them."""

import filecmp
import io
from pathlib import Path
from typing import NamedTuple

import pydicom

from busi.core import InputError
from busi.data import is_dicom, read_header
from busi.formats.annotations import Found, Unplaced
from busi.formats.files import list_all

BINARY, LABELMAP = "1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7"
"""SOP classes of segmentations with a frame a segment, and with a number a pixel."""
META, MAX_BEGINNING = b"\2\0", 1 << 16
"""The group of the elements before the data set, and how many bytes these may have without a preamble."""
DEFLATED = "1.2.840.10008.1.2.1.99"
TAGS = ("SOPClassUID", "SOPInstanceUID", "Rows", "Columns", "NumberOfFrames")


class Image(NamedTuple):
    """A DICOM image.

    Attributes:
        name: Below its folder.
        path: Its file.
        size: Height and width.
        frames: How many it has.
    """

    name: str
    path: Path
    size: tuple[int, int]
    frames: int


def find_images(folders: list[Path]) -> tuple[dict[str, list[Image]], list[Found]]:
    """The DICOM images below some folders.

    Returns:
        The images of each identifier, one of those that are the same byte by byte; and what is neither an
        image nor a segmentation that can be read.
    """
    images: dict[str, list[Image]] = {}
    unread: dict[Path, Found] = {}
    for folder in folders:
        for path in list_all(folder):
            if path.name.upper() == "DICOMDIR" or not is_dicom(path) or is_segmentation(path):
                continue
            name, header = path.relative_to(folder).as_posix(), read_tags(path)
            if not header:
                unread[path.resolve()] = Unplaced(
                    name, "DICOM file that is damaged, or deflated as a whole: save it anew", name
                )
                continue
            size = (to_count(header.get("Rows")), to_count(header.get("Columns")))
            image = Image(name, path, size, to_count(header.get("NumberOfFrames"), 1))
            group = images.setdefault(header.get("SOPInstanceUID") or str(path), [])
            if not any(filecmp.cmp(path, one.path, shallow=False) for one in group):
                group.append(image)
    return images, [*unread.values()]


def is_segmentation(path: Path) -> bool:
    """Whether a DICOM file is a segmentation."""
    return read_tags(path).get("SOPClassUID") in (BINARY, LABELMAP)


def read_tags(path: Path) -> dict[str, str]:
    """What tells images and segmentations apart; empty of a damaged file."""
    try:
        refuse_deflated(path)
    except Exception:  # pydicom raises whatever a damaged file makes its parts raise
        return {}
    return read_header(path, TAGS)


def to_count(text: str | None, missing: int = 0) -> int:
    """A number of a header; what it is where there is none."""
    return int(text) if text and text.isdecimal() else missing


def read_beginning(path: Path) -> pydicom.Dataset:
    """What a file says of itself before its data set, with or without the preamble; empty if it says nothing.

    Raises:
        InputError: If it is damaged.
    """
    with path.open("rb") as file:
        content = file.read(MAX_BEGINNING)
    if content[128:132] == b"DICM":
        return pydicom.filereader.read_file_meta_info(path)
    if content[:2] != META:  # the data set begins at once
        return pydicom.Dataset()
    end = 12 + int.from_bytes(content[8:12], "little")  # as its first element says
    if content[:8] != META + b"\0\0UL\4\0" or end > len(content) or content[end : end + 2] == META:
        raise InputError("damaged DICOM")
    return pydicom.dcmread(io.BytesIO(bytes(128) + b"DICM" + content[:end])).file_meta


def refuse_deflated(path: Path) -> None:
    """Raise `InputError` for a file that is packed as a whole, and may unpack to anything."""
    if str(read_beginning(path).get("TransferSyntaxUID")) == DEFLATED:
        raise InputError("DICOM file that is deflated as a whole: save it without")
