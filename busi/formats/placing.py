"""Images beside the annotations that are written."""

import shutil
from pathlib import Path

from PIL import Image

from busi.data import file_name, is_dicom
from busi.figures import write_png
from busi.formats.annotations import Case

AS_THEY_ARE = ("PNG", "JPEG", "BMP")
MODES = ("1", "L", "P", "RGB", "RGBA")
ORIENTATION = 274
"""EXIF's tag; 1 is upright."""


def name_of(case: Case) -> str:
    """The name of the files about a case, without suffix."""
    return file_name(case.id)


def place_image(case: Case, folder: Path) -> str:
    """Put the image of a case into a folder, for any tool to open; the name of its file.

    A PNG, JPEG or BMP file of 8 bits that is stored upright is copied as it is. Of any other file, what
    training sees becomes a PNG file: the tissue region of a DICOM file, without its header.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if case.readable and is_plain(case.image):
        return copy_image(case, folder)
    return write_png(folder / f"{name_of(case)}.png", case.gray, durable=False).name


def copy_image(case: Case, folder: Path) -> str:
    """Copy the file of an image; the name of the new one."""
    folder.mkdir(parents=True, exist_ok=True)
    suffix = case.image.suffix if not is_dicom(case.image) else ".dcm"
    name = f"{name_of(case)}{suffix.lower()}"
    shutil.copyfile(case.image, folder / name)
    return name


def is_plain(path: Path) -> bool:
    """Whether every tool shows a file as training sees it."""
    if is_dicom(path):
        return False
    with Image.open(path) as image:
        upright = image.getexif().get(ORIENTATION, 1) == 1
        return image.format in AS_THEY_ARE and image.mode in MODES and upright
