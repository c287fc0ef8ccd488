"""Shapes as masks: polygons, ellipses, and what no mask can be made of.

Two rules fill polygons, each that of the tool whose files they are in. COCO's own library, pycocotools, also
serves for CVAT, whose exports of masks use it. LabelMe fills with Pillow, outline included.
"""

import math
from collections.abc import Callable, Sequence

import cv2
import numpy as np
from jaxtyping import Bool
from PIL import Image, ImageDraw

from busi.core import InputError, import_extra

Mask = Bool[np.ndarray, "h w"]
Draw = Callable[[int, int], Mask]
Points = Sequence[tuple[float, float]]

FAR = 2
"""How often the size of an image a point may lie beside it: filling farther ones takes long."""


def no_mask(kind: str) -> Draw:
    """What draws a shape that is no area."""

    def draw(*_: int) -> Mask:
        raise InputError(f"{kind} instead of a mask: draw the outline, or map its category to ignore")

    return draw


def fill_coco(polygons: Sequence[Points]) -> Draw:
    """Fill polygons as pycocotools does: a pixel belongs to it if its middle does, about."""

    def draw(height: int, width: int) -> Mask:
        coco = import_extra("pycocotools.mask", "pycocotools", "formats")
        for points in polygons:
            check_points(points, height, width)
        flat = [[float(number) for point in points for number in point] for points in polygons]
        rles = coco.frPyObjects(flat, height, width)
        return np.asarray(coco.decode(coco.merge(rles)), bool)

    return draw


def fill_pillow(points: Points) -> Draw:
    """Fill a polygon as LabelMe does, outline included."""

    def draw(height: int, width: int) -> Mask:
        check_points(points, height, width)
        image = Image.new("1", (width, height))
        ImageDraw.Draw(image).polygon(list(points), outline=1, fill=1)
        return np.asarray(image, bool)

    return draw


def fill_circle(points: Points) -> Draw:
    """Fill a circle as LabelMe does, of its middle and a point on it."""

    def draw(height: int, width: int) -> Mask:
        if len(points) != 2:
            raise InputError("circle without a middle and a point")
        check_points([*points, points[0]], height, width)
        (x, y), other = points
        radius = math.dist((x, y), other)
        image = Image.new("1", (width, height))
        ImageDraw.Draw(image).ellipse([x - radius, y - radius, x + radius, y + radius], outline=1, fill=1)
        return np.asarray(image, bool)

    return draw


def fill_ellipse(x: float, y: float, rx: float, ry: float, angle: float) -> Draw:
    """Fill an ellipse as CVAT does in its exports of masks."""

    def draw(height: int, width: int) -> Mask:
        check_points([(x, y), (x - rx, y - ry), (x + rx, y + ry)], height, width)
        canvas = np.zeros((height, width), np.uint8)
        axes = (abs(round(rx)), abs(round(ry)))
        cv2.ellipse(canvas, (round(x), round(y)), axes, angle % 360, 0, 360, 1, -1)
        return canvas.astype(bool)

    return draw


def check_points(points: Points, height: int, width: int) -> None:
    """Raise `InputError` unless these are three points or more, near an image."""
    if len(points) < 3:
        raise InputError("polygon of less than three points")
    for x, y in points:
        if not (-FAR * width <= x <= (1 + FAR) * width and -FAR * height <= y <= (1 + FAR) * height):
            raise InputError("polygon that lies far beside its image")


def pair_up(numbers: Sequence[object]) -> Points:
    """``[x, y, x, y]`` as points.

    Raises:
        InputError: If it is not that.
    """
    values = [to_number(one) for one in numbers]
    if len(values) % 2:
        raise InputError("polygon with an odd number of coordinates")
    return list(zip(values[::2], values[1::2], strict=True))


def to_number(value: object) -> float:
    """A finite number of a number or a text.

    Raises:
        InputError: If it is none.
    """
    try:
        number = float(value) if isinstance(value, (int, float, str)) else math.nan
    except (ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise InputError("coordinate that is no number")
    return number


def split_lesions(mask: Mask) -> list[Mask]:
    """The connected parts of a mask, neighbors at corners included: a lesion each."""
    number, parts = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
    return [parts == k for k in range(1, number)]
