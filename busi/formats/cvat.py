"""CVAT's XML 1.1 for images, read and written."""

import logging
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np

from busi.core import CLASSES, NORMAL, InputError, import_extra, printable, write_whole
from busi.data import Problem
from busi.formats.annotations import Annotation, Case, Found, Mask, Shape, Unplaced
from busi.formats.conversion import Conversion
from busi.formats.files import MAX_TEXT, OtherKind
from busi.formats.images import stem_of
from busi.formats.placing import place_image
from busi.formats.run_lengths import check_runs, from_runs, to_runs
from busi.formats.shapes import (
    Draw,
    fill_coco,
    fill_ellipse,
    no_mask,
    pair_up,
    split_lesions,
    to_number,
)

log = logging.getLogger(__name__)

FILE = "annotations.xml"
MAX_DEPTH = 12
"""Of elements in each other; CVAT's own files have seven."""
NO_AREAS = {"points": "points", "polyline": "a line"}


def read(conversion: Conversion) -> Iterator[Found]:
    """Read the XML files of a folder, or one of them; a tag is a word about its image."""
    attributes: dict[str, None] = {}
    for path in conversion.files:
        if path.suffix.lower() != ".xml" and path != conversion.path:
            continue
        place = "" if conversion.image_folder else conversion.place_of(path)
        try:
            for image in read_elements(path):
                name = image.get("name") or ""
                attributes |= {str(one.get("name")): None for one in image.iter("attribute")}
                if image.tag == "track":
                    kind = "track of a video: export the task as CVAT for images 1.1"
                    yield Unplaced(f"track {image.get('id')}", kind, path.name)
                    continue
                try:
                    stem, subset = stem_of(name) == name, image.get("subset") or ""  # as frames of videos
                    name, file = conversion.images.find(name, stem, place=place, subset=subset)
                    yield read_image(image, name, file)
                except InputError as error:
                    yield Problem(name or f"image {image.get('id')}", str(error), name or path.name)
        except OtherKind as error:
            yield Problem(path.name, str(error), path.name)
        except InputError as error:
            yield Unplaced(path.name, str(error), path.name)
    conversion.images.tell_unused()
    if attributes:
        names = printable(", ".join(attributes))
        log.warning("Attributes are not read (%s): give the class as a label, a tag or in a --sheet", names)


def read_elements(path: Path) -> Iterator[Any]:
    """The elements of a file that stand for an image or a track, one at a time.

    Raises:
        InputError: If it is damaged, nested too deep, or has definitions of its own.
        OtherKind: If its elements stand for something else.
    """
    refused = import_extra("defusedxml", "defusedxml", "formats").DefusedXmlException
    iterparse = import_extra("defusedxml.ElementTree", "defusedxml", "formats").iterparse
    depth, top = 0, None
    try:
        if path.stat().st_size > MAX_TEXT:
            raise InputError(f"file of over {MAX_TEXT // 10**6} MB")
        for event, element in iterparse(path, events=("start", "end"), forbid_dtd=True):
            if event == "start":
                depth += 1
                if top is None:
                    top = element
                if depth > MAX_DEPTH:
                    raise InputError("XML that is nested too deep")
                if top.tag != "annotations":
                    raise OtherKind("XML of another kind")
                continue
            depth -= 1
            if depth == 1:
                if element.tag in ("image", "track"):
                    yield element
                assert top is not None
                top.clear()
    except refused as error:
        raise InputError("XML with definitions of its own") from error
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise InputError("damaged XML") from error
    except OSError as error:
        raise InputError(f"file that cannot be read ({error.strerror})") from error


def read_image(image: Any, name: str, path: Path) -> Annotation:
    """The annotation of one image."""
    size = (to_whole(image.get("height")), to_whole(image.get("width")))
    shapes, tags = [], []
    for element in image:
        word = element.get("label")
        if word is None:
            raise InputError(f"{element.tag} without a label")
        if element.tag == "tag":
            tags.append(word)
        else:
            shapes.append(Shape(word, read_shape(element)))
    return Annotation(name, path, tuple(shapes), tuple(tags), size)


def to_whole(text: str | None) -> int:
    """A whole number that stands in an attribute.

    Raises:
        InputError: If it is none.
    """
    if text is None or not text.strip().isdecimal():
        raise InputError("size or run length that is no whole number")
    return int(text)


def read_shape(element: Any) -> Draw:
    """What draws a shape."""
    if element.tag == "polygon":
        return fill_coco([pair_up(split(element.get("points"), ";,"))])
    if element.tag == "ellipse":
        x, y, rx, ry = (to_number(element.get(name)) for name in ("cx", "cy", "rx", "ry"))
        return fill_ellipse(x, y, rx, ry, to_number(element.get("rotation") or 0))
    if element.tag != "mask":
        return no_mask(NO_AREAS.get(element.tag, f"a {element.tag}"))
    left, top, width, height = (to_whole(element.get(name)) for name in ("left", "top", "width", "height"))
    runs = check_runs([to_whole(text) for text in split(element.get("rle"), ",")])

    def draw(whole_height: int, whole_width: int) -> Mask:
        if min(left, top, width, height) < 0 or left + width > whole_width or top + height > whole_height:
            raise InputError("mask that reaches out of its image")
        mask = np.zeros((whole_height, whole_width), bool)
        mask[top : top + height, left : left + width] = from_runs(runs, height, width)
        return mask

    return draw


def split(text: str | None, separators: str) -> list[str]:
    """The parts of an attribute."""
    for separator in separators[1:]:
        text = (text or "").replace(separator, separators[0])
    return [part for part in (text or "").split(separators[0]) if part.strip()]


def write(cases: Iterable[Case], folder: Path) -> None:
    """Write images and ``annotations.xml``: one mask a lesion, and the class as a tag of the image."""
    top = ElementTree.Element("annotations")
    ElementTree.SubElement(top, "version").text = "1.1"
    meta = ElementTree.SubElement(ElementTree.SubElement(top, "meta"), "task")
    labels = ElementTree.SubElement(meta, "labels")
    for word in CLASSES:
        label = ElementTree.SubElement(labels, "label")
        ElementTree.SubElement(label, "name").text = word
        ElementTree.SubElement(label, "type").text = "any"
    for number, case in enumerate(cases):
        height, width = case.gray.shape
        values = {"id": str(number), "name": place_image(case, folder / "images")}
        image = ElementTree.SubElement(top, "image", {**values, "width": str(width), "height": str(height)})
        word = CLASSES[case.label]
        ElementTree.SubElement(image, "tag", {"label": word, "source": "manual"})
        for lesion in split_lesions(case.mask) if case.mask is not None and case.label != NORMAL else []:
            ElementTree.SubElement(image, "mask", describe(lesion, word))
    ElementTree.indent(top)
    tree = ElementTree.ElementTree(top)
    write_whole(folder / FILE, lambda part: tree.write(part, encoding="utf-8", xml_declaration=True))


def describe(lesion: Mask, word: str) -> dict[str, str]:
    """The attributes of a lesion's mask."""
    rows, columns = np.flatnonzero(lesion.any(1)), np.flatnonzero(lesion.any(0))
    top, left = int(rows[0]), int(columns[0])
    part = lesion[top : rows[-1] + 1, left : columns[-1] + 1]
    return {
        "label": word,
        "source": "manual",
        "occluded": "0",
        "rle": ", ".join(map(str, to_runs(part))),
        "left": str(left),
        "top": str(top),
        "width": str(part.shape[1]),
        "height": str(part.shape[0]),
        "z_order": "0",
    }
