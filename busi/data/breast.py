"""The records of BrEaST-Lesions-USG: 256 images of as many patients, with a workbook of clinical data."""

import re
from pathlib import Path

from busi.core import CLASSES, NORMAL, InputError, Record
from busi.data.layouts import (
    NO_MASK,
    Layout,
    Row,
    index_rows,
    list_images,
    match_rows,
    read_label,
    unknown_label,
)
from busi.data.records import Problem, Reading, has_images
from busi.data.workbook import read_sheet

IMAGES = "BrEaST-Lesions_USG-images_and_masks"
TABLE = "BrEaST-Lesions-USG-clinical-data*.xlsx"
LAYOUT = Layout(
    "breast",
    "BrEaST-Lesions-USG",
    (f"{IMAGES}*/", TABLE),
    "BREAST_ROOT",
    "https://www.cancerimagingarchive.net/collection/breast-lesions-usg",
)
COLUMNS = ("CaseID", "Mask_tumor_filename", "Pixel_size", "BIRADS", "Classification")
MASK = re.compile(r"(.+)_(tumor|other)\d*", re.IGNORECASE)
MISSING = frozenset({"", "not available", "not applicable"})
MILLIMETERS = 10
"""A centimeter, in which ``Pixel_size`` is given."""
MAX_PIXEL = 0.1
"""Centimeters a pixel; those published are 0.0052 to 0.011."""


def read_breast(root: Path) -> Reading:
    """Read BrEaST-Lesions-USG as it was published.

    Args:
        root: The folder with ``BrEaST-Lesions_USG-images_and_masks`` and the workbook
            ``BrEaST-Lesions-USG-clinical-data-Dec-15-2023.xlsx`` (of any date), or one that holds it alone.
            The folder of images may have the name of its archive, and may lie in a folder of that name.

    Returns:
        Records and problems. Masks of other findings (``caseNNN_otherK.png``) are not read.

    Raises:
        WrongLayout: If the folder holds something else.
        InputError: If openpyxl is not installed, the workbook is damaged or one of several, or nobody knows
            which folder has the images.

    Source: Pawłowska et al., "Curated benchmark dataset for ultrasound based breast lesion analysis",
    Scientific Data 11 (2024).
    """
    folder = LAYOUT.find(root)
    tables = sorted(folder.glob(TABLE))
    if len(tables) > 1:
        raise InputError(f"{folder} has several tables, keep one: {', '.join(x.name for x in tables)}")
    table = tables[0].name
    found, problems = list_images(find_images(folder))
    tumors: dict[str, list[Path]] = {}
    images = {}
    for name, path in found.items():
        if (mask := MASK.fullmatch(name)) is None:
            images[name] = path
        elif mask[2].casefold() == "tumor":
            tumors.setdefault(mask[1], []).append(path)
    rows = read_sheet(tables[0], ("Image_filename", *COLUMNS), extra="excel")
    matched, unmatched = match_rows(images, index_rows(tables[0], rows, "Image_filename", COLUMNS), table)
    made = [read_image(name, path, row, tumors.get(name, []), table) for name, path, row in matched]
    problems += [*unmatched, *(one for one in made if isinstance(one, Problem))]
    for name in tumors.keys() - images.keys():
        problems += [Problem(name, "mask without an image", path.name) for path in tumors[name]]
    return LAYOUT.finish(folder, [one for one in made if isinstance(one, Record)], problems)


def find_images(folder: Path) -> Path:
    """The folder of images: the one of that name, or one in it, as archives nest it.

    Raises:
        InputError: If several have images.
    """
    outer = [path for path in folder.glob(f"{IMAGES}*") if path.is_dir()]
    inner = [path for one in outer for path in one.glob(f"{IMAGES}*") if path.is_dir()]
    found = sorted(path for path in (*outer, *inner) if has_images(path))
    if len(found) > 1:
        listed = ", ".join(str(path.relative_to(folder)) for path in found)
        raise InputError(f"{folder} has several folders of images, keep one: {listed}")
    return found[0] if found else min(outer)


def read_image(name: str, path: Path, row: Row, masks: list[Path], table: str) -> Record | Problem:
    """The record of an image, or what is wrong with it."""
    values = {column: "" if row[column].casefold() in MISSING else row[column] for column in COLUMNS}
    label = read_label(values["Classification"])
    named = [text.strip() for text in values["Mask_tumor_filename"].split("&") if text.strip()]
    there = [mask.name for mask in masks]
    spacing = read_spacing(values["Pixel_size"])
    if label is None:
        return unknown_label(name, row["Classification"], table)
    if missing := [text for text in named if text not in there]:
        return Problem(name, f"mask that {table} names and that is not there", ", ".join(missing))
    if unnamed := [text for text in there if text not in named]:
        return Problem(name, f"mask that {table} does not name", ", ".join(unnamed))
    if label == NORMAL and named:
        return Problem(name, f"{CLASSES[NORMAL]} image with the mask of a tumor", ", ".join(named))
    if label != NORMAL and not named:
        return Problem(name, NO_MASK, path.name)
    if spacing == 0:
        return Problem(name, f"Pixel_size in {table} that is no size in centimeters", row["Pixel_size"])
    return Record(
        name,
        path,
        tuple(path.with_name(text) for text in named),
        label,
        patient=values["CaseID"] or name,
        source=LAYOUT.name,
        birads=values["BIRADS"].casefold() or None,
        spacing=(spacing, spacing) if spacing else None,
    )


def read_spacing(text: str) -> float | None:
    """Millimeters a pixel of centimeters as text; None where it is missing, 0 where it is no such size."""
    if not text:
        return None
    try:
        centimeters = float(text.replace(",", "."))
    except ValueError:
        return 0.0
    return round(MILLIMETERS * centimeters, 9) if 0 < centimeters <= MAX_PIXEL else 0.0
