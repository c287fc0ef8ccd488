"""LabelMe: a JSON file an image, read and written."""

import base64
import binascii
import io
import json
import math
import posixpath
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np
from jaxtyping import Bool
from PIL import Image

from busi.core import CLASSES, NORMAL, InputError, write_whole
from busi.data import BROKEN, Problem, real_pages, to_gray, to_lesion
from busi.formats.annotations import Annotation, Case, Found, Shape, Unplaced
from busi.formats.conversion import Conversion
from busi.formats.files import OtherKind, read_json
from busi.formats.images import climb, split_path, stem_of
from busi.formats.placing import name_of, place_image
from busi.formats.shapes import Draw, fill_circle, fill_pillow, no_mask, pair_up, split_lesions

VERSION = "5.5.0"
"""Of LabelMe, whose format this is; shapes of the type ``mask`` are in it from 5.3 on."""

T = TypeVar("T")


def read(conversion: Conversion) -> Iterator[Found]:
    """Read a folder of JSON files and images, or one JSON file.

    Flags that are on, of the image or of a shape, are words about the image. Images without a JSON file have
    no annotation.
    """
    used: set[Path] = set()
    stems = {stem_of(name) for name in conversion.images.files}
    for path in conversion.files:
        if path.suffix.lower() != ".json" and path != conversion.path:
            continue
        name, image = path.relative_to(conversion.folder).as_posix(), None
        try:
            content = read_json(path)
            if "shapes" not in content and "imagePath" not in content:
                raise OtherKind("JSON of another kind")
            image = find_image(content, path, conversion, stems)
            used.add(image[1])
            yield read_content(content, path, *image)
        except OtherKind as error:
            yield Problem(name, str(error), name)
        except InputError as error:
            yield Unplaced(name, str(error), name) if image is None else Problem(image[0], str(error), name)
    if conversion.path.is_dir():
        for name, path in conversion.images.files.items():
            if path not in used:
                yield Annotation(name, path)


def find_image(
    content: Mapping[str, Any], path: Path, conversion: Conversion, stems: Collection[str]
) -> tuple[str, Path]:
    """Name and file of the image that a file is about: the file itself where the image stands in it.

    Raises:
        InputError: If there is none, or another one has the name of the file.
    """
    given = content.get("imagePath")
    text = given.replace("\\", "/") if isinstance(given, str) else ""
    place, names = conversion.place_of(path), list_names(text, conversion.place_of(path))
    if there := [name for name in names if name in conversion.images.files]:
        return conversion.images.find(there[0])
    if not isinstance(content.get("imageData"), str):
        failed = None
        for name in names:
            try:
                return conversion.images.find(name, place=place if split_path(name)[1] else "")
            except InputError as error:
                failed = failed or error
        assert failed is not None
        raise failed
    own = path.relative_to(conversion.folder).with_suffix("").as_posix()
    if own in stems:
        raise InputError("imagePath that is not there, beside an image of the name of the file: correct it")
    return f"{own}.png", path


def read_content(content: Mapping[str, Any], path: Path, name: str, image: Path) -> Annotation:
    """The annotation of an image that one file holds."""
    shapes, tags = [], read_flags(content)
    if not isinstance(content.get("shapes"), list):
        raise InputError("damaged LabelMe file: shapes is no list")
    for shape in content["shapes"]:
        if not isinstance(shape, dict) or type(shape.get("label")) not in (str, int):
            raise InputError("shape without a label")
        shapes.append(Shape(str(shape["label"]), read_shape(shape)))
        tags += read_flags(shape)
    size = (content.get("imageHeight"), content.get("imageWidth"))
    if any(type(number) is not int for number in size if number is not None):
        raise InputError("size that is no whole number")
    return Annotation(
        name,
        image,
        tuple(shapes),
        tuple(tags),
        None if None in size else size,  # type: ignore[arg-type]
        pixels=(lambda: open_image(content["imageData"], to_gray)) if image == path else None,
    )


def list_names(text: str, place: str) -> list[str]:
    """The paths that an image may have; LabelMe writes it from the folder of the JSON file on.

    A path of another place may also be that of a file beside the JSON file.

    Args:
        text: What the file says.
        place: Its folder.
    """
    names = [posixpath.normpath(posixpath.join(above, text)) for above in climb(place)]
    return [*names, posixpath.join(place, posixpath.basename(text)), text] if split_path(text)[1] else names


def read_flags(content: Mapping[str, Any]) -> list[str]:
    """The flags that are on."""
    flags = content.get("flags")
    return [str(name) for name, on in flags.items() if on is True] if isinstance(flags, dict) else []


def read_shape(shape: Mapping[str, Any]) -> Draw:
    """What draws a shape."""
    kind, given = shape.get("shape_type") or "polygon", shape.get("points")
    if not isinstance(given, list) or not all(isinstance(one, list) and len(one) == 2 for one in given):
        raise InputError("shape without points")
    points = pair_up([number for point in given for number in point])
    if kind == "polygon":
        return fill_pillow(points)
    if kind == "circle":
        return fill_circle(points)
    if kind != "mask":
        return no_mask(f"a {kind}")
    if len(points) != 2 or not isinstance(shape.get("mask"), str):
        raise InputError("mask without its corners or its pixels")
    (left, top), (right, bottom) = ((math.trunc(x), math.trunc(y)) for x, y in points)

    def draw(height: int, width: int) -> Bool[np.ndarray, "h w"]:
        part = open_image(shape["mask"], to_lesion)
        if part.shape != (bottom + 1 - top, right + 1 - left):
            raise InputError("mask of another size than its corners say")
        if min(left, top) < 0 or right >= width or bottom >= height:
            raise InputError("mask that reaches out of its image")
        mask = np.zeros((height, width), bool)
        mask[top : bottom + 1, left : right + 1] = part
        return mask

    return draw


def open_image(text: str, decode: Callable[[Image.Image], T]) -> T:
    """Decode an image that a JSON file holds in base64.

    Raises:
        InputError: If it is damaged, or of over 50 megapixels.
    """
    try:
        with Image.open(io.BytesIO(base64.b64decode(text)), formats=("PNG", "JPEG", "BMP", "TIFF")) as image:
            for page in real_pages(image):
                return decode(page)
            raise ValueError("it has none")
    except (*BROKEN, binascii.Error, Image.DecompressionBombError) as error:
        raise InputError("damaged image inside of a JSON file") from error


def write(cases: Iterable[Case], folder: Path) -> None:
    """Write each image with its JSON file: one shape of the type ``mask`` a lesion, the class as a flag."""
    for case in cases:
        height, width = case.gray.shape
        content = {
            "version": VERSION,
            "flags": {name: k == case.label for k, name in enumerate(CLASSES)},
            "shapes": [
                to_shape(lesion, CLASSES[case.label])
                for lesion in (
                    split_lesions(case.mask) if case.mask is not None and case.label != NORMAL else []
                )
            ],
            "imagePath": place_image(case, folder),
            "imageData": None,
            "imageHeight": height,
            "imageWidth": width,
        }
        text = json.dumps(content, indent=2)
        write_whole(
            folder / f"{name_of(case)}.json",
            partial(Path.write_text, data=text, encoding="utf-8"),
            durable=False,
        )


def to_shape(lesion: Bool[np.ndarray, "h w"], word: str) -> dict[str, Any]:
    """A lesion as LabelMe's shape of the type ``mask``."""
    (top, left), (bottom, right) = np.argwhere(lesion).min(0).tolist(), np.argwhere(lesion).max(0).tolist()
    part = lesion[top : bottom + 1, left : right + 1].astype(np.uint8) * 255
    return {
        "label": word,
        "points": [[float(left), float(top)], [float(right), float(bottom)]],
        "group_id": None,
        "description": "",
        "shape_type": "mask",
        "flags": {},
        "mask": base64.b64encode(cv2.imencode(".png", part)[1].tobytes()).decode("ascii"),
    }
