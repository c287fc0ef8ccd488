"""CVAT's archive "Segmentation mask 1.1": a colored image of each image, and what the colors mean."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Int64
from PIL import Image

from busi.core import InputError
from busi.data import Problem, is_image, read_one
from busi.formats.annotations import Annotation, Found, Shape, Unplaced
from busi.formats.conversion import Conversion
from busi.formats.files import list_all
from busi.formats.images import Images
from busi.formats.shapes import Draw

BACKGROUND = 0
MAX_LIST = 50_000_000
"""Bytes of a list of names."""
LISTS = "ImageSets"
MASKS = ("SegmentationClass", "SegmentationObject")
DEEPER = f"mask in a folder {MASKS[0]} that lies deeper: convert the folder around that one by itself"


def read(conversion: Conversion) -> Iterator[Found]:
    """Read the folder of an unpacked archive; the images are in it, or in the folder of ``--images``."""
    folder = conversion.folder
    words = read_colors(folder / "labelmap.txt")
    top = conversion.image_folder or folder
    images = Images(top, lambda path: is_image(path) and {*MASKS}.isdisjoint(path.relative_to(top).parts))
    seen = set()
    for path in conversion.files:
        place = path.relative_to(folder)
        if MASKS[0] not in place.parts[:-1]:
            continue
        if place.parts[0] != MASKS[0]:
            yield Unplaced(place.as_posix(), DEEPER, path.name)
            continue
        name = path.relative_to(folder / MASKS[0]).with_suffix("").as_posix()
        seen.add(name)
        try:
            found = images.find(name, stem=True)
        except InputError as error:
            yield Unplaced(name, str(error), path.name)
            continue
        try:
            yield Annotation(*found, read_mask_image(path, words))
        except InputError as error:
            yield Problem(name, getattr(error, "kind", str(error)), path.name)
    for name in list_names(folder):
        if name not in seen:
            try:
                yield Annotation(*images.find(name, stem=True))
            except InputError as error:
                yield Problem(name, str(error), name)
    images.tell_unused()


def read_mask_image(path: Path, words: Mapping[int, str]) -> tuple[Shape, ...]:
    """What a colored image shows."""
    colors = [int(color) for color in np.unique(read_one(path, to_colors)) if color != BACKGROUND]
    if unknown := [color for color in colors if color not in words]:
        shown = ", ".join(f"{color >> 16},{color >> 8 & 255},{color & 255}" for color in unknown[:3])
        raise InputError(f"mask with a color that labelmap.txt does not name ({shown})")
    return tuple(Shape(words[color], pick(path, color)) for color in colors if words[color] != "background")


def pick(path: Path, color: int) -> Draw:
    """What gives the pixels of one color."""

    def draw(*_: int) -> Bool[np.ndarray, "h w"]:
        return np.asarray(read_one(path, to_colors) == color)

    return draw


def to_colors(image: Image.Image) -> Int64[np.ndarray, "h w"]:
    """The colors of an image as numbers, red in front."""
    red, green, blue = np.moveaxis(np.asarray(image.convert("RGB"), np.int64), -1, 0)
    return np.asarray(red << 16 | green << 8 | blue)


def read_colors(path: Path) -> dict[int, str]:
    """What each color means: lines like ``benign:0,128,0::``.

    Raises:
        InputError: If the file cannot be read, or has no colors.
    """
    lines = read_text(path).splitlines()
    words: dict[int, str] = {}
    for line in lines:
        name, _, rest = line.partition(":")
        parts = rest.partition(":")[0].split(",")
        if line.startswith("#") or not line.strip():
            continue
        if len(parts) != 3 or not all(part.strip().isdecimal() and int(part) < 256 for part in parts):
            raise InputError(f"{path}: '{line[:60]}' is no name and color, as benign:0,128,0::")
        red, green, blue = map(int, parts)
        color = red << 16 | green << 8 | blue
        if words.setdefault(color, name) != name:
            raise InputError(f"{path}: {words[color]} and {name} have one color")
    return words


def read_text(path: Path) -> str:
    """The text of labelmap.txt or of a list of names.

    Raises:
        InputError: If it is missing, damaged or far too long.
    """
    try:
        if path.stat().st_size > MAX_LIST:
            raise InputError(f"{path} is over {MAX_LIST // 10**6} MB, and no list of names")
        return path.read_text(encoding="utf-8-sig", errors="replace")
    except OSError as error:
        raise InputError(f"cannot read {path}: give the whole folder that CVAT exports") from error


def list_names(folder: Path) -> list[str]:
    """The images that the lists of the archive name.

    Raises:
        InputError: If a list cannot be read.
    """
    names: dict[str, None] = {}
    for path in list_all(folder / LISTS) if (folder / LISTS).is_dir() else ():
        if path.suffix.lower() == ".txt":
            names.update(dict.fromkeys(read_text(path).split("\n")))
    return [name.strip() for name in names if name.strip()]
