"""Small data sets, written as real files."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from jaxtyping import UInt8
from PIL import Image

from busi.core.types import CLASSES

GrayImage = UInt8[np.ndarray, "h w"]
PER_CLASS = 12


def draw(seed: int, height: int = 72, width: int = 80) -> GrayImage:
    """An image with structure of its own, so that two seeds are no near-duplicates."""
    noise = np.random.default_rng(seed).normal(size=(height, width))
    smooth = cv2.GaussianBlur(noise, (0, 0), 2)
    image: GrayImage = (255 * (smooth - smooth.min()) / np.ptp(smooth)).astype(np.uint8)
    return image


def save(path: Path, image: GrayImage, mode: str = "L") -> Path:
    Image.fromarray(image).convert(mode).save(path)
    return path


def lesion(height: int = 72, width: int = 80) -> GrayImage:
    mask = np.zeros((height, width), np.uint8)
    mask[20:50, 20:60] = 255
    return mask


@pytest.fixture
def write_busi(tmp_path: Path) -> Callable[[], Path]:
    """Write a folder in the BUSI layout: twelve images of each class."""

    def write() -> Path:
        root = tmp_path / "busi"
        for label, name in enumerate(CLASSES):
            (root / name).mkdir(parents=True)
            for number in range(1, PER_CLASS + 1):
                save(root / name / f"{name} ({number}).png", draw(100 * label + number))
                mask = lesion() * np.uint8(label > 0)
                save(root / name / f"{name} ({number})_mask.png", mask, "1")
        return root

    return write


@pytest.fixture
def root(write_busi: Callable[[], Path]) -> Path:
    return write_busi()
