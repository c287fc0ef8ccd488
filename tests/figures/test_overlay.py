"""Overlays without a plotting library, and gray levels as PNG files."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from busi.figures.overlay import COLOR, draw_overlay, encode_outline, outline
from busi.figures.png import write_png


def make(rng: np.random.Generator, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """An image, and a mask that may be empty, full, or end with the image."""
    noise = ndimage.gaussian_filter(rng.standard_normal((height, width)), 4)
    return rng.integers(0, 256, (height, width), np.uint8), noise > rng.choice([-9, -0.05, 0.0, 0.05, 9])


def test_the_line_is_what_an_erosion_takes_away() -> None:
    rng = np.random.default_rng(0)
    for _ in range(60):
        height, width = rng.integers(1, 120, 2).tolist()
        height *= int(rng.choice([1, 8]))  # lines of one to four pixels
        _, mask = make(rng, height, width)
        thickness = max(1, round(max(height, width) / 250))
        np.testing.assert_array_equal(
            outline(mask), mask & ~ndimage.binary_erosion(mask, iterations=thickness)
        )


def test_opacity_tints_the_inside_and_leaves_the_rest() -> None:
    gray, mask = make(np.random.default_rng(1), 60, 80)
    mask[20:50, 20:60] = True
    line = outline(mask)
    plain, half, full = (draw_overlay(gray, mask, opacity) for opacity in (0.0, 0.5, 1.0))
    for drawn in (plain, half, full):
        np.testing.assert_array_equal(drawn[~mask], np.repeat(gray[~mask][:, None], 3, axis=1))
        assert (drawn[line] == COLOR).all()
    inner = mask & ~line
    np.testing.assert_array_equal(plain[inner], np.repeat(gray[inner][:, None], 3, axis=1))
    np.testing.assert_array_equal(half[inner], ((gray[inner][:, None] + np.array(COLOR)) / 2).round())
    assert (full[inner] == COLOR).all()


@pytest.mark.parametrize("levels", [1, 2, 200, 255, 256])
def test_256_colors_show_what_rgb_shows(levels: int) -> None:
    """Exactly if a gray level is free; else the pixels of the rarest one are off by one level."""
    rng = np.random.default_rng(levels)
    for _ in range(10):
        gray, mask = make(rng, 97, 103)
        gray = rng.permutation(256).astype(np.uint8)[gray % np.int64(levels)]
        with Image.open(io.BytesIO(encode_outline(gray, mask))) as image:
            shown = np.asarray(image.convert("RGB"))
        expected, line = draw_overlay(gray, mask), outline(mask)
        assert (shown[line] == COLOR).all()
        seen = np.unique(gray[~line], return_counts=True)[1]
        other = (shown != expected).any(axis=2)
        assert other.sum() == (seen.min() if len(seen) == 256 else 0)
        assert np.abs(shown.astype(int) - expected)[other].max(initial=0) <= 1


def test_gray_levels_come_back_as_they_were_written(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for shape in ((1, 1), (1, 70), (70, 1), (33, 47)):
        for gray in (
            rng.integers(0, 256, shape, np.uint8),
            np.zeros(shape, np.uint8),
            rng.integers(0, 256, shape[::-1], np.uint8).T,
        ):
            with Image.open(write_png(tmp_path / "maps" / "x.png", gray)) as image:
                assert image.mode == "L"
                np.testing.assert_array_equal(np.asarray(image), gray)
    assert [path.name for path in (tmp_path / "maps").iterdir()] == ["x.png"]
