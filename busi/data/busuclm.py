"""The records of BUS-UCLM: 683 images of 37 patients, whose masks say the class by their color."""

import logging
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from busi.core import BENIGN, CLASSES, MALIGNANT, NORMAL, InputError, Record
from busi.data.contents import map_threads
from busi.data.images import BadFile, read_one
from busi.data.layouts import (
    NO_MASK,
    Layout,
    Row,
    list_images,
    match_rows,
    read_label,
    read_rows,
    stray_masks,
    unknown_label,
)
from busi.data.levels import over_black
from busi.data.records import Problem, Reading

log = logging.getLogger(__name__)

LAYOUT = Layout(
    "busuclm",
    "BUS-UCLM",
    ("images", "masks", "INFO.csv"),
    "BUSUCLM_ROOT",
    "https://data.mendeley.com/datasets/7fvgj4jsp7",
)
SCANNER = "Siemens ACUSON S2000"
"""Of all images."""
COLORS = {(0, 255, 0): BENIGN, (255, 0, 0): MALIGNANT}
NAME = re.compile(r"([A-Za-z]{4})_\d+")
"""Four letters for the patient, and a number."""
SAME_PATIENT = {"CHCO": "CHVI"}
"""CHCO_000 to 003 are pixel for pixel CHVI_005, 008, 009 and 013."""
FLAGS = {"y": True, "n": False}
"""Yes and No; one of the published ones is Y."""


def read_busuclm(root: Path, doppler: bool = True, combined: bool = True) -> Reading:
    """Read BUS-UCLM as it was published.

    Args:
        root: The folder with ``images``, ``masks`` and ``INFO.csv``, or one that holds it alone.
        doppler: Keep images with color Doppler (37 as published).
        combined: Keep files of two images side by side (6 as published).

    Returns:
        Records and problems. The patient is the first four letters of a name. A normal image needs no mask,
        and none is taken; any other whose mask has another size than the image cannot be used (HESN_002 to
        005, which were cropped).

    Raises:
        WrongLayout: If the folder holds something else.
        InputError: If ``INFO.csv`` is damaged.

    Source: Vallez et al., "BUS-UCLM: breast ultrasound lesion segmentation dataset", Scientific Data 12
    (2025).
    """
    folder = LAYOUT.find(root)
    images, problems = list_images(folder / "images")
    masks, more = list_images(folder / "masks")
    rows = read_rows(folder / "INFO.csv", "Image", ("Label", "Doppler", "Combined"))
    matched, unmatched = match_rows(images, rows, "INFO.csv")
    problems += [*more, *unmatched, *stray_masks(masks, images.keys())]
    unwanted = [name for name, keep in (("Doppler", doppler), ("Combined", combined)) if not keep]
    matched, left_out, unclear = leave_out(matched, unwanted)
    if left_out:
        log.info("BUS-UCLM: left out %d images (data.read.doppler, data.read.combined)", left_out)
    found = map_threads(lambda one: read_image(*one, masks.get(one[0])), matched, "")
    problems += [*unclear, *(one for one in found if isinstance(one, Problem))]
    if not found and left_out:
        raise InputError(f"every image of {folder} is left out (data.read.doppler, data.read.combined)")
    return LAYOUT.finish(folder, [one for one in found if isinstance(one, Record)], problems)


def leave_out(
    matched: list[tuple[str, Path, Row]], unwanted: Sequence[str]
) -> tuple[list[tuple[str, Path, Row]], int, list[Problem]]:
    """Leave out the images that have a yes in a column.

    Args:
        matched: Name, file and row of each image.
        unwanted: The columns.

    Returns:
        Those that stay, the number of those left out, and a problem for each that says neither yes nor no.
    """
    kept, problems = [], []
    for name, path, row in matched:
        flags = {column: FLAGS.get(row[column][:1].casefold()) for column in unwanted}
        if unclear := [f"{column} {row[column]!r}" for column, flag in flags.items() if flag is None]:
            problems.append(Problem(name, "neither yes nor no in INFO.csv", f"{name}: {', '.join(unclear)}"))
        elif not any(flags.values()):
            kept.append((name, path, row))
    return kept, len(matched) - len(kept) - len(problems), problems


def read_image(name: str, path: Path, row: Row, mask: Path | None) -> Record | Problem:
    """The record of an image, or what is wrong with it."""
    label, patient = read_label(row["Label"]), NAME.fullmatch(name)
    if label is None:
        return unknown_label(name, row["Label"], "INFO.csv")
    if patient is None:
        return Problem(name, "name that does not begin with the four letters of a patient", path.name)
    if label != NORMAL and mask is None:
        return Problem(name, NO_MASK, path.name)
    if mask is not None:
        try:
            seen = read_one(mask, label_of_color)
        except BadFile as error:
            return Problem(name, error.kind, mask.name)
        if seen is not None and seen != label:  # a lesion with a black mask is found out later
            color = f"{mask.name} ({CLASSES[label]} in INFO.csv, {CLASSES[seen]} by color)"
            return Problem(name, "label that disagrees with the color of its mask", color)
    prefix = patient[1].upper()
    return Record(
        name,
        path,
        () if label == NORMAL or mask is None else (mask,),
        label,
        patient=SAME_PATIENT.get(prefix, prefix),
        source=LAYOUT.name,
        scanner=SCANNER,
    )


def label_of_color(image: Image.Image) -> int | None:
    """The class that the color of a mask says: green benign, red malignant; None for a black mask.

    Raises:
        InputError: If a pixel has another color, or both are there.
    """
    pixels = np.asarray(over_black(image).convert("RGB"), np.uint8).reshape(-1, 3)
    colors = np.unique(pixels[pixels.any(axis=1)], axis=0)
    labels = {COLORS.get((int(r), int(g), int(b))) for r, g, b in colors}
    if None in labels or len(labels) > 1:
        raise InputError("mask that is not green (benign) or red (malignant) on black")
    return labels.pop() if labels else None
