"""Detail of two images: whether it agrees where one is laid on the other."""

import cv2
import numpy as np
from jaxtyping import Bool, Float, Float32, UInt8

MIN_OVERLAP = 0.25
"""Of the smaller image."""
DETAIL = 0.29
"""Least correlation of detail in the overlap: most near-duplicates reach 0.9, other pairs stay below 0.24."""
MEDIAN_DETAIL = 0.12
"""The same of the median over small windows."""
TEXTLESS = 0.24
"""The same beside burned-in text: equal words on other tissue reach 0.22, near-duplicates 0.26."""
STROKE = 60
"""Gray levels between burned-in text and what is around it."""

GrayImage = UInt8[np.ndarray, "_ _"]


def details_agree(one: GrayImage, other: GrayImage, transform: Float[np.ndarray, "2 3"]) -> bool:
    """Whether two images show the same detail, also beside burned-in text.

    Args:
        one: An image, small, as `busi.data.described.describe_image` makes it.
        other: Another one.
        transform: What lays `other` on `one`.
    """
    overall, median = agreement(one, other, transform)
    if overall < DETAIL or median < MEDIAN_DETAIL:
        return False
    return agreement(one, other, transform, textless=True)[0] >= TEXTLESS


def near_strokes(gray: GrayImage) -> Bool[np.ndarray, "h w"]:
    """Where thin, sharp, bright strokes are, and a few pixels around them."""
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (9, 9))
    thin = cv2.morphologyEx(gray, cv2.MORPH_TOPHAT, disc) > STROKE
    sharp = cv2.morphologyEx(gray, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > STROKE
    return cv2.dilate((thin & sharp).astype(np.uint8), np.ones((9, 9), np.uint8)) > 0


def agreement(
    one: GrayImage, other: GrayImage, transform: Float[np.ndarray, "2 3"], textless: bool = False
) -> tuple[float, float]:
    """Correlation of detail between `one` and `other` taken to its frame.

    Args:
        one: An image.
        other: Another one.
        transform: What lays `other` on `one`.
        textless: Leave out what is near thin bright strokes in either.

    Returns:
        Over the overlap, and the median over small windows in it (text covers less than half of them).
        Both in [-1, 1]; zeros if the overlap is small or has no structure.
    """
    size = one.shape[::-1]
    moved = cv2.warpAffine(other, transform, size, borderMode=cv2.BORDER_REPLICATE)
    inside = cv2.warpAffine(np.full_like(other, 255), transform, size) == 255
    area = other.size * abs(float(np.linalg.det(transform[:, :2])))
    if inside.sum() < MIN_OVERLAP * min(one.size, area):
        return 0.0, 0.0
    if textless:
        inside &= ~near_strokes(one) & ~near_strokes(moved)
    x, y = (np.where(inside, detail(image), np.float32(0)) for image in (one, moved))
    xy, xx, yy = x * y, x * x, y * y
    overall = float(xy.sum() / np.sqrt(xx.sum() * yy.sum() + 1e-6))
    xy, xx, yy = (cv2.GaussianBlur(product, (0, 0), 7.0) for product in (xy, xx, yy))
    structured = inside & (xx + yy > 0.02)  # black borders agree in any two images
    if not structured.any():
        return 0.0, 0.0
    return overall, float(np.median(xy[structured] / np.sqrt(xx[structured] * yy[structured] + 1e-6)))


def detail(gray: GrayImage) -> Float32[np.ndarray, "h w"]:
    """Structure of about 2 to 12 pixels, divided by the contrast around it: no depth shading, no gain."""
    fine = gray.astype(np.float32)
    coarse = cv2.GaussianBlur(fine, (0, 0), 5.0)
    spread = np.sqrt(cv2.GaussianBlur((fine - coarse) ** 2, (0, 0), 8.0))
    # 4 gray levels: quantization noise in black areas is no structure.
    return np.asarray((cv2.GaussianBlur(fine, (0, 0), 0.8) - coarse) / (spread + 4.0), np.float32)
