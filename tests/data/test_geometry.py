import cv2
import numpy as np
import pytest

from busi.data.geometry import fit_inset, letterbox, letterbox_mask, quantize, unletterbox

SIZES = [(1, 1), (1, 500), (3, 3), (700, 200), (200, 700), (471, 562), (256, 256), (64, 63)]


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_image_lies_centered_in_its_square_with_its_aspect(height: int, width: int) -> None:
    size = 96
    top, left, inner_height, inner_width = fit_inset(height, width, size)
    square = letterbox(np.full((height, width), 200, np.uint8), size)
    assert square.shape == (size, size)
    assert max(inner_height, inner_width) == size
    assert inner_height == pytest.approx(max(1, height * size / max(height, width)), abs=0.5)
    assert abs(top - (size - inner_height - top)) <= 1
    assert abs(left - (size - inner_width - left)) <= 1
    inside = np.zeros_like(square, bool)
    inside[top : top + inner_height, left : left + inner_width] = True
    assert (square[inside] == 200).all()
    assert not square[~inside].any()


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_smooth_map_survives_the_way_there_and_back(height: int, width: int) -> None:
    rows, columns = np.mgrid[:height, :width]
    image = (127 + 100 * np.sin(rows / 60) * np.cos(columns / 60)).astype(np.uint8)
    back = unletterbox(letterbox(image, 256).astype(np.float32), height, width)
    assert back.shape == image.shape
    assert np.abs(back - image).max() < 4


def test_shrinking_is_that_of_opencv_by_area() -> None:
    image = np.random.default_rng(0).integers(0, 256, (512, 512), np.uint8)
    smooth = cv2.GaussianBlur(image, (0, 0), 4)
    reference = cv2.resize(smooth, (128, 128), interpolation=cv2.INTER_AREA)
    assert np.abs(letterbox(smooth, 128).astype(int) - reference).max() <= 3


def test_mask_keeps_its_place_and_its_share() -> None:
    mask = np.zeros((400, 300), np.uint8)
    mask[100:200, 50:250] = 1
    square = letterbox_mask(mask, 200)
    expected = np.zeros((200, 200), np.uint8)
    expected[50:100, 25 + 25 : 25 + 125] = 1
    assert np.array_equal(square, expected)


def test_half_is_lesion_after_rounding_too() -> None:
    probs = np.linspace(0, 1, 2001, dtype=np.float32)[None]
    levels = quantize(probs)
    assert np.array_equal(levels >= 128, probs >= 0.5)
    assert (levels.min(), levels.max()) == (0, 255)
    assert np.abs(levels / 255 - probs).max() <= 0.5 / 255 + 1e-6
