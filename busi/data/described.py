"""What is kept of an image for comparison with others: the image itself, small, and its features.

Source: features of Lowe, IJCV 60 (2004), rooted as by Arandjelović and Zisserman, CVPR 2012.
"""

from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Float32, UInt8

from busi.data.detail import detail

VERSION = 2
"""Part of the key of cached answers: raised whenever `find_duplicates` may answer differently."""

SIDE = 208
"""Images are compared at SIDE * SIDE pixels, so that near-duplicates of another size look alike."""
FEATURES = 300
"""Per image, strongest first; all serve the check of a pair."""

GrayImage = UInt8[np.ndarray, "_ _"]


class Description(NamedTuple):
    """What is kept of an image: about 100 kB, so that images need not stay in memory."""

    small: UInt8[np.ndarray, "h w"]
    points: Float32[np.ndarray, "n 2"]  # x, y in pixels of `small`
    sizes: Float32[np.ndarray, " n"]  # diameters in pixels of `small`
    features: UInt8[np.ndarray, "n 128"]
    thumbnail: Float32[np.ndarray, " 256"]  # of unit length, or zero if the image is constant


def describe_image(gray: GrayImage, upright: bool = True) -> Description:
    """Describe an image for comparison. A constant one has no features and a zero thumbnail.

    Args:
        gray: Of any size.
        upright: Whether features are described as they lie. Else they turn with what they show: once for
            each main direction.
    """
    scale = SIDE / np.sqrt(gray.size)
    size = [max(8, round(length * scale)) for length in gray.shape[::-1]]  # width, height
    small = cv2.resize(gray, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    thumbnail = cv2.resize(detail(small), (16, 16), interpolation=cv2.INTER_AREA).ravel()
    thumbnail -= thumbnail.mean()
    # A low threshold, as shadows hold the faint structure that tells frames apart.
    sift = cv2.SIFT.create(2 * FEATURES, 3, 0.01, 10, 1.6, cv2.CV_8U)
    found = sift.detect(small, None)
    if upright:
        # These match better, and no near-duplicate is turned. Detection repeats a point per direction.
        found = list({(point.pt, point.size): point for point in found}.values())
        for point in found:
            point.angle = 0.0
    found = sorted(found, key=lambda point: (-point.response, point.pt, point.size, point.angle))
    strongest = found[:FEATURES]
    points, features = sift.compute(small, strongest) if strongest else ([], None)
    return Description(
        small,
        np.array([point.pt for point in points], np.float32).reshape(-1, 2),
        np.array([point.size for point in points], np.float32),
        np.zeros((0, 128), np.uint8) if features is None else features.astype(np.uint8),
        np.asarray(thumbnail / max(float(np.linalg.norm(thumbnail)), 1e-6), np.float32),
    )


def root_features(features: UInt8[np.ndarray, "n 128"]) -> Float32[np.ndarray, "n 128"]:
    """Unit vectors whose distance is the Hellinger distance of the histograms."""
    wide = features.astype(np.float32)
    return np.asarray(np.sqrt(wide / np.maximum(wide.sum(axis=1, keepdims=True), 1e-6)), np.float32)
