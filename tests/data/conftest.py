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


def scan(seed: int, height: int = 420, width: int = 500) -> GrayImage:
    """Speckle with tissue, a dark blob and the depth shading that all scans share."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    tissue = cv2.resize(
        rng.normal(size=(42, 30)).astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC
    )
    speckle = cv2.GaussianBlur(rng.rayleigh(size=(height, width)).astype(np.float32), (0, 0), 1.5)
    center = rng.uniform(0.3, 0.7, 2) * (width, height)
    blob = 1 - 0.7 * np.exp(-((((x - center[0]) / 60) ** 2 + ((y - center[1]) / 45) ** 2) ** 2))
    echo = (70 + 35 * tissue) * speckle * blob * np.exp(-1.6 * y / height) * 1.4
    return np.asarray(echo.clip(0, 255), np.uint8)


def burn_in(image: GrayImage) -> GrayImage:
    """Burn in a label, a ruler, a logo and a pair of calipers, the same in every image."""
    drawn = image.copy()
    height, width = image.shape
    cv2.putText(drawn, "RT BREAST 10:00", (width // 3, height - 30), cv2.FONT_HERSHEY_SIMPLEX, 0.7, 255, 2)
    cv2.putText(drawn, "LOGIQ E9", (5, 22), cv2.FONT_HERSHEY_SIMPLEX, 0.6, 230, 2)
    for y in range(20, height, 20):
        cv2.line(drawn, (width - (16 if y % 100 == 0 else 8), y), (width - 1, y), 220, 1)
    for point in ((width // 3, height // 2), (2 * width // 3, height // 2)):
        cv2.drawMarker(drawn, point, 255, cv2.MARKER_CROSS, 16, 1)
    return drawn


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
