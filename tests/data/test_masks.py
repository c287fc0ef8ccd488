"""Mask files of every kind: the lesion, or one error where it is not clear."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from busi.core import BENIGN, NORMAL, InputError, Record
from busi.data.masks import read_mask
from tests.data.conftest import GrayImage, draw, lesion
from tests.data.test_images import ORIENTATION, UPRIGHT

SHAPE = lesion() > 0
ZERO = np.zeros(SHAPE.shape, np.uint8)
FULL = np.full(SHAPE.shape, 255, np.uint8)
BAND = np.repeat(np.arange(72)[:, None] < 10, 80, axis=1)  # a part of the background


def merge(*channels: GrayImage) -> Image.Image:
    mode = {2: "LA", 3: "RGB", 4: "RGBA"}[len(channels)]
    return Image.merge(mode, [Image.fromarray(np.asarray(x, np.uint8)) for x in channels])


def paint(color: tuple[int, int, int]) -> tuple[GrayImage, ...]:
    return tuple(SHAPE * np.uint8(x) for x in color)


def palette(*colors: tuple[int, int, int]) -> Image.Image:
    image = Image.fromarray(SHAPE.astype(np.uint8))
    image.putpalette([x for color in colors for x in color])
    return image


def read(path: Path, label: int = BENIGN) -> GrayImage:
    return read_mask(Record("x", path, (path,), label), *SHAPE.shape)


GOOD: dict[str, Callable[[], Image.Image]] = {
    "1 bit": lambda: Image.fromarray(SHAPE),
    "0 and 255": lambda: Image.fromarray(lesion()),
    "0 and 1": lambda: Image.fromarray(SHAPE.astype(np.uint8)),
    "0 and 76": lambda: Image.fromarray(SHAPE * np.uint8(76)),
    "16 bits, 1": lambda: Image.fromarray(SHAPE.astype(np.uint16)),
    "16 bits, 65535": lambda: Image.fromarray(SHAPE * np.uint16(65535)),
    "RGB white": lambda: merge(*paint((255, 255, 255))),
    "RGB red": lambda: merge(*paint((255, 0, 0))),
    "RGB green": lambda: merge(*paint((0, 255, 0))),
    "RGB blue": lambda: merge(*paint((0, 0, 255))),
    "RGB almost black": lambda: merge(*paint((0, 0, 1))),
    "palette red": lambda: palette((0, 0, 0), (128, 0, 0)),
    "palette 1": lambda: palette((0, 0, 0), (1, 1, 1)),
    "RGBA opaque": lambda: merge(*paint((255, 255, 255)), FULL),
    "RGBA opaque red": lambda: merge(*paint((255, 0, 0)), FULL),
    "alpha, all white": lambda: merge(FULL, FULL, FULL, lesion()),
    "alpha, all red": lambda: merge(FULL, ZERO, ZERO, lesion()),
    "alpha, all black": lambda: merge(ZERO, ZERO, ZERO, lesion()),
    "alpha, half opaque": lambda: merge(FULL, FULL, FULL, lesion() // 2),
    "alpha of LA": lambda: merge(FULL, lesion()),
    "alpha and color": lambda: merge(*paint((255, 0, 0)), lesion()),
    "white hidden": lambda: merge(*[SHAPE * 255 + BAND * 255] * 3, np.where(BAND, 0, 255)),
}


@pytest.mark.parametrize("name", GOOD)
def test_the_lesion_is_what_is_neither_black_nor_transparent(tmp_path: Path, name: str) -> None:
    for suffix in ("png", "tif"):
        GOOD[name]().save(tmp_path / f"m.{suffix}")
        assert np.array_equal(read(tmp_path / f"m.{suffix}"), SHAPE), suffix


def test_a_transparent_color_is_background(tmp_path: Path) -> None:
    levels = np.where(SHAPE, 255, 7).astype(np.uint8)
    Image.fromarray(levels).save(tmp_path / "m.png", transparency=7)
    assert np.array_equal(read(tmp_path / "m.png"), SHAPE)
    Image.fromarray(levels.astype(np.uint16)).save(tmp_path / "w.png", transparency=7)
    assert np.array_equal(read(tmp_path / "w.png"), SHAPE)
    image = palette((255, 255, 255), (200, 0, 0))
    image.save(tmp_path / "p.png", transparency=0)
    assert np.array_equal(read(tmp_path / "p.png"), SHAPE)


SOFT = np.where(SHAPE, 255, np.where(np.roll(SHAPE, 1, 0), 128, 0))
TWO = [SHAPE * 255, BAND * 255, ZERO]
BAD: dict[str, tuple[Callable[[], Image.Image], str]] = {
    "anti-aliased": (lambda: Image.fromarray(SOFT.astype(np.uint8)), "more than two values"),
    "gray levels": (lambda: Image.fromarray((SHAPE * 2 + BAND).astype(np.uint8)), "more than two values"),
    "two colors": (lambda: merge(*TWO), "more than two values"),
    "two colors of one luma": (
        lambda: merge(SHAPE * 100, BAND * 51, ZERO),
        "more than two values",
    ),
    "soft alpha": (lambda: merge(FULL, FULL, FULL, SOFT), "more than two values"),
    "an image": (lambda: Image.fromarray(draw(0)), "more than two values"),
    "no background": (lambda: Image.fromarray(SHAPE + np.uint8(1)), "more than two values"),
    "inverted": (lambda: Image.fromarray(255 - lesion()), "whole border is lesion: is it inverted"),
    "everything": (lambda: Image.fromarray(FULL), "whole border is lesion: is it inverted"),
    "opaque white": (lambda: merge(FULL, FULL, FULL, FULL), "whole border is lesion: is it inverted"),
    "a hole": (lambda: merge(FULL, FULL, FULL, 255 - lesion()), "whole border is lesion: is it inverted"),
    "two blacks": (lambda: palette((0, 0, 0), (0, 0, 0)), "several colors are black"),
    "empty": (lambda: Image.fromarray(ZERO), "lesion with an empty mask"),
    "nothing opaque": (lambda: merge(*paint((255, 255, 255)), ZERO), "lesion with an empty mask"),
    "another size": (lambda: Image.fromarray(lesion(40, 80)), "another size than its image"),
    "turned": (lambda: Image.fromarray(lesion().T), "another size than its image"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_mask_that_is_not_clear_is_one_error(tmp_path: Path, name: str) -> None:
    make, words = BAD[name]
    make().save(tmp_path / "m.png")
    with pytest.raises(InputError, match=words) as raised:
        read(tmp_path / "m.png")
    assert str(tmp_path / "m.png") in str(raised.value)


def test_floating_point_16_bit_color_and_white_zero(tmp_path: Path) -> None:
    Image.fromarray(SHAPE.astype(np.float32)).save(tmp_path / "a.tif")
    assert np.array_equal(read(tmp_path / "a.tif"), SHAPE)
    Image.fromarray(np.where(SHAPE, np.nan, 0).astype(np.float32)).save(tmp_path / "b.tif")
    with pytest.raises(InputError, match="more than two values"):
        read(tmp_path / "b.tif")
    Image.fromarray(SHAPE * np.uint16(65535)).save(tmp_path / "c.tif", tiffinfo={262: 0})
    with pytest.raises(InputError, match="0 is white: invert it"):
        read(tmp_path / "c.tif")


def test_an_empty_mask_of_a_normal_image_is_right(tmp_path: Path) -> None:
    merge(FULL, FULL, FULL, ZERO).save(tmp_path / "m.png")
    assert not read(tmp_path / "m.png", NORMAL).any()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_masks_are_turned_as_a_viewer_turns_them(tmp_path: Path, orientation: int) -> None:
    stored, exif = np.triu(SHAPE), Image.Exif()
    exif[ORIENTATION] = orientation
    Image.fromarray(stored * np.uint8(255)).save(tmp_path / "m.png", exif=exif)
    expected = UPRIGHT[orientation](stored)
    record = Record("x", tmp_path, (tmp_path / "m.png",), BENIGN)
    assert np.array_equal(read_mask(record, *expected.shape), expected)


def test_several_pages_are_no_mask(tmp_path: Path) -> None:
    page = Image.fromarray(lesion())
    page.save(tmp_path / "m.tif", save_all=True, append_images=[page])
    with pytest.raises(InputError, match="file of several images"):
        read(tmp_path / "m.tif")
