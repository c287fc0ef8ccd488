"""The formats: what each is called, how it is recognized, and what reads and writes it."""

import importlib
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from busi.core import InputError, is_file, is_there


class Format(NamedTuple):
    """One format.

    Attributes:
        title: In words.
        module: Of this room, with ``read`` and ``write``.
        writes: Whether it is written, too.
        holds_classes: Whether what is written says the class of an image on which nothing is drawn.
    """

    title: str
    module: str
    writes: bool = False
    holds_classes: bool = True


FORMATS = {
    "manifest": Format("a manifest, a data set by its name, or a folder in a known layout", "manifest", True),
    "coco": Format("COCO JSON", "coco", True),
    "labelme": Format("LabelMe JSON", "labelme", True),
    "cvat": Format("CVAT XML 1.1 for images", "cvat", True),
    "cvat-masks": Format("CVAT segmentation mask 1.1", "cvat_masks"),
    "nifti": Format("NIfTI", "volumes", True, False),
    "nrrd": Format("NRRD", "volumes", True, False),
    "metaimage": Format("MetaImage", "volumes"),
    "dicom-seg": Format("DICOM Segmentation", "dicom_segmentations"),
    "sheet": Format("a sheet of cases, Excel or CSV", "sheet"),
}
"""Every format by its name."""
WRITTEN = tuple(name for name, one in FORMATS.items() if one.writes)
SPLIT = ("nnunet", "monai")
"""What `busi.split` writes."""
MAX_PARSED = 20
"""JSON files of a folder that are opened to recognize it."""
ORIENTATIONS = ("header", "itk", "numpy")
"""How the axes of a NIfTI, NRRD or MetaImage file become rows and columns, see `busi.formats.orientation`."""
HEAD = 600
"""Bytes of a file by which its kind is known."""


def reader(name: str) -> Callable[..., Iterator[Any]]:
    """The function that reads a format."""
    read: Callable[..., Iterator[Any]] = importlib.import_module(f"busi.formats.{FORMATS[name].module}").read
    return read


def writer(name: str) -> Callable[..., None]:
    """The function that writes a format."""
    module = importlib.import_module(f"busi.formats.{FORMATS[name].module}")
    write: Callable[..., None] = getattr(module, f"write_{name}", None) or module.write
    return write


def recognize(path: Path, has_columns: bool = False) -> str:
    """The format of a file or a folder, by its content.

    Args:
        path: Of it; what is not there is the name of a data set.
        has_columns: Whether columns were named: a CSV file is a sheet then.

    Raises:
        InputError: If it is in none, or in several.
    """
    from busi.formats.files import list_all

    if not is_there(path):
        return "manifest"
    if is_file(path):
        found = recognize_file(path, has_columns)
        if found is None:
            raise InputError(
                f"{path} is in no format that is known ({', '.join(FORMATS)}): say which with --from"
            )
        return found
    names, parsed = set[str](), 0
    for file in list_all(path):
        json = is_json(read_head(file))
        parsed += json
        if json and parsed > MAX_PARSED:  # of the kind that the first ones are, or a problem of its reader
            continue
        if found := recognize_file(file, has_columns, True):
            names.add(found)
    if (path / "labelmap.txt").is_file() and (path / "SegmentationClass").is_dir():
        names.add("cvat-masks")
    if names and {FORMATS[name].module for name in names} == {"volumes"}:  # images of one, masks of another
        return max(names)
    if len(names) > 1:
        raise InputError(f"{path} holds several formats: {', '.join(sorted(names))}. Say which with --from")
    return names.pop() if names else "manifest"


def recognize_file(path: Path, has_columns: bool, in_folder: bool = False) -> str | None:
    """The format of a file; None of an image, and of what is none.

    Args:
        path: Of it.
        has_columns: Whether columns were named.
        in_folder: Whether it is one of a folder: tables beside annotations are not what is read.
    """
    head = read_head(path)
    if head.startswith(b"NRRD"):
        return "nrrd"
    if is_nifti(head):
        return "nifti"
    if is_metaimage(head):
        return "metaimage"
    if is_json(head):
        return recognize_json(path)
    if b"<annotations" in head:
        return "cvat"
    if head[128:132] == b"DICM":
        from busi.formats.dicom_images import is_segmentation

        return "dicom-seg" if is_segmentation(path) else None
    if in_folder:
        return None
    if path.suffix.lower() in (".xlsx", ".xlsm"):
        return "sheet"
    if path.suffix.lower() in (".csv", ".tsv", ".txt"):
        return "sheet" if has_columns else "manifest"
    return None


def is_json(head: bytes) -> bool:
    """Whether a file that begins so is JSON."""
    return head.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"{")


def recognize_json(path: Path) -> str | None:
    """COCO, LabelMe or neither."""
    from busi.formats.files import read_json

    try:
        content = read_json(path)
    except InputError:
        return None
    if isinstance(content.get("images"), list) and isinstance(content.get("annotations", []), list):
        return "coco"
    return "labelme" if isinstance(content.get("shapes"), list) else None


def read_head(path: Path) -> bytes:
    """How a file begins; unpacked if it is compressed."""
    try:
        with path.open("rb") as file:
            head = file.read(HEAD)
    except OSError:
        return b""
    if head.startswith(b"\x1f\x8b"):
        try:
            return zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(head, HEAD)
        except zlib.error:
            return head
    return head


def is_nifti(head: bytes) -> bool:
    """Whether a file that begins so is a NIfTI file of either version."""
    sizes = [int.from_bytes(head[:4], order) for order in ("little", "big")]
    return (348 in sizes and head[344:347] in (b"n+1", b"ni1")) or (540 in sizes and head[4:7] == b"n+2")


def is_metaimage(head: bytes) -> bool:
    """Whether a file that begins so is a MetaImage file."""
    lines = [line.partition(b"=") for line in head.split(b"\n")]
    first, sign, value = (part.strip() for part in lines[0])
    return sign == b"=" and (
        (first, value) == (b"ObjectType", b"Image")
        or (first in (b"NDims", b"Comment") and any(name.strip() == b"DimSize" for name, *_ in lines))
    )
