"""COCO JSON: polygons and run lengths, compressed and not, read and written."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from busi.core import CLASSES, NORMAL, InputError, import_extra, write_json
from busi.data import Problem
from busi.formats.annotations import Annotation, Case, Found, Shape, Unplaced
from busi.formats.conversion import Conversion
from busi.formats.files import OtherKind, read_json
from busi.formats.images import name_no_folders
from busi.formats.placing import place_image
from busi.formats.run_lengths import check_runs, from_runs
from busi.formats.shapes import (
    Draw,
    fill_coco,
    no_mask,
    pair_up,
    split_lesions,
)

FILE = "annotations/instances_default.json"
"""Where CVAT and other tools look for it."""


def read(conversion: Conversion) -> Iterator[Found]:
    """Read the JSON files of a folder, or one of them.

    An annotation with a category and neither a segmentation nor a box is a tag of its image. So is the value
    ``class`` of an image, if it is a class.
    """
    for path in conversion.files:
        if path.suffix.lower() != ".json" and path != conversion.path:
            continue
        try:
            content = read_json(path)
            if "images" not in content and "annotations" not in content:
                raise OtherKind("JSON of another kind")
            yield from read_content(content, path, conversion)
        except OtherKind as error:
            yield Problem(path.name, str(error), path.name)
        except InputError as error:
            yield Unplaced(path.name, str(error), path.name)
    conversion.images.tell_unused()


def read_content(content: Mapping[str, Any], path: Path, conversion: Conversion) -> Iterator[Found]:
    """The annotations of one file; images may lie in a folder that is called as its subset.

    Raises:
        InputError: If it lacks a list, or a category has two names.
    """
    names = read_categories(as_list(content.get("categories"), "categories"))
    images = as_list(content.get("images"), "images")
    counts = Counter(key_of(image, "id") for image in images)
    drawn: dict[int | str | None, list[Any]] = {}
    for one in as_list(content.get("annotations"), "annotations"):
        drawn.setdefault(key_of(one, "image_id"), []).append(one)
    how: dict[str, Any] = {
        "place": "" if conversion.image_folder else conversion.place_of(path),
        "bare": name_no_folders(image.get("file_name") for image in images if isinstance(image, dict)),
        "subset": path.stem.rpartition("_")[2],
    }
    for number, image in enumerate(images, 1):
        name, key = image.get("file_name") if isinstance(image, dict) else None, key_of(image, "id")
        if not isinstance(name, str):
            yield Problem(f"image {number}", "image without file_name", path.name)
            continue
        try:
            name, file = conversion.images.find(name, **how)
            if key is None:
                raise InputError("image without an id")
            if counts[key] > 1:
                raise InputError(f"image with the id of another one ({key})")
            yield read_image(image, drawn.get(key, []), names, name, file)
        except InputError as error:
            yield Problem(name, str(error), name)
        drawn |= {} if key is None else {key: []}
    for key, left in drawn.items():
        if left:
            kind = "annotation of an image that the file does not list"
            yield Unplaced(f"image_id {key}", kind, f"{len(left)} of {path.name}")


def read_categories(listed: list[Any]) -> dict[int | str, str]:
    """What each category is called.

    Raises:
        InputError: If two have one id.
    """
    names: dict[int | str, str] = {}
    for one in listed:
        key, name = key_of(one, "id"), one.get("name") if isinstance(one, dict) else None
        if key is not None and name and names.setdefault(key, str(name)) != str(name):
            raise InputError(f"two categories with the id {key}: {names[key]} and {name}")
    return names


def key_of(one: object, name: str) -> int | str | None:
    """An id, which is a number or a text; None where there is none."""
    key = whole(one.get(name)) if isinstance(one, dict) else None
    return key if type(key) is int or type(key) is str else None


def whole(value: object) -> object:
    """A number as a whole one, if it is: pandas writes 1.0 for 1."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def as_list(value: object, name: str) -> list[Any]:
    """A list, or an empty one where there is none."""
    if value is None:
        return []
    if not isinstance(value, list):
        raise InputError(f"damaged COCO file: {name} is no list")
    return value


def read_image(
    image: Mapping[str, Any], annotations: list[Any], names: Mapping[Any, str], name: str, path: Path
) -> Annotation:
    """The annotation of one image."""
    size: Any = (whole(image.get("height")), whole(image.get("width")))
    if any(type(number) is not int for number in size if number is not None):
        raise InputError("size that is no whole number")
    shapes, tags = [], [word for word in CLASSES if image.get("class") == word]
    for one in annotations:
        word = names.get(key_of(one, "category_id"))
        if word is None:
            raise InputError(f"category {one.get('category_id')!r} that the file does not name")
        if one.get("segmentation"):
            shapes.append(Shape(word, read_segmentation(one["segmentation"])))
        elif one.get("bbox"):
            shapes.append(Shape(word, no_mask("a box")))
        else:
            tags.append(word)
    return Annotation(name, path, tuple(shapes), tuple(tags), None if None in size else size)


def read_segmentation(value: object) -> Draw:
    """What draws the segmentation of one annotation."""
    if isinstance(value, list):
        polygons = value if isinstance(value[0], list) else [value]
        if not all(isinstance(one, list) for one in polygons):
            raise InputError("polygon that is no list of numbers")
        return fill_coco([pair_up(one) for one in polygons])
    counts, size = (value.get("counts"), value.get("size")) if isinstance(value, dict) else (None, None)
    runs = unpack_counts(counts) if isinstance(counts, str) else check_runs(counts)

    def draw(height: int, width: int) -> np.ndarray[Any, np.dtype[np.bool_]]:
        if size != [height, width]:
            raise InputError(f"run lengths of another size than the image: {size} for {[height, width]}")
        return from_runs(runs, height, width, by_rows=False)

    return draw


def unpack_counts(text: str) -> list[int]:
    """The run lengths of COCO's compressed form: five bits a letter, from the third on as differences.

    pycocotools decodes them too, but takes a text that is too short for a mask of random pixels.

    Raises:
        InputError: If it is damaged.

    Source: ``rleFrString`` in pycocotools' maskApi.c.
    """
    runs: list[int] = []
    value = shift = 0
    for letter in text:
        bits = ord(letter) - 48
        if not 0 <= bits < 64 or shift > 60:
            raise InputError("damaged run lengths")
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            value -= (bits & 16 and 1) << shift
            runs.append(value + (runs[-2] if len(runs) > 2 else 0))
            value = shift = 0
    if shift:
        raise InputError("run lengths that are cut off")
    return check_runs(runs)


def write(cases: Iterable[Case], folder: Path) -> None:
    """Write images and one JSON file: compressed run lengths, which hold every mask exactly, one a lesion.

    An image of a lesion that nobody drew has its class as the value ``class``: pycocotools reads no
    annotation without a segmentation. ``iscrowd`` is 0, for tools leave out what is 1 when they score.
    """
    coco = import_extra("pycocotools.mask", "pycocotools", "formats")
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for case in cases:
        height, width = case.gray.shape
        name = place_image(case, folder / "images")
        images.append({"id": len(images) + 1, "file_name": name, "width": width, "height": height})
        if case.undrawn:
            images[-1]["class"] = CLASSES[case.label]
        for lesion in split_lesions(case.mask) if case.mask is not None and case.label != NORMAL else []:
            rle = coco.encode(np.asfortranarray(lesion.astype(np.uint8)))
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": len(images),
                    "category_id": case.label + 1,
                    "segmentation": {"size": [height, width], "counts": rle["counts"].decode()},
                    "area": int(coco.area(rle)),
                    "bbox": coco.toBbox(rle).tolist(),
                    "iscrowd": 0,
                }
            )
    categories = [{"id": k + 1, "name": name, "supercategory": ""} for k, name in enumerate(CLASSES)]
    write_json(folder / FILE, {"images": images, "annotations": annotations, "categories": categories})
