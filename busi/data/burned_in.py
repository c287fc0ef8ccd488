"""Burned-in annotations: calipers and text that the scanner wrote into the image."""

import cv2
import numpy as np
from jaxtyping import UInt8

STEP = 110  # gray levels between a stroke and what is within a few pixels of it: speckle is smoother
THINNER_THAN = 9  # pixels
LENGTH = (5, 60)  # pixels: characters, crosses and dashes, not edges of tissue
AREA = 8  # pixels
MARGIN = 0.03  # of the longer side: the border holds the scanner's own frame and logo, on every image
STROKES = 2  # one alone is as often a bright speckle


def count_strokes(gray: UInt8[np.ndarray, "h w"]) -> int:
    """Count bright thin strokes with edges that are sharper than those of tissue.

    An estimate: strokes that are darker than bright tissue around them are missed.
    """
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (THINNER_THAN, THINNER_THAN))
    thin = cv2.morphologyEx(gray, cv2.MORPH_TOPHAT, disc) > STEP
    sharp = cv2.morphologyEx(gray, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > STEP
    parts = cv2.connectedComponentsWithStats((thin & sharp).astype(np.uint8), connectivity=8)[2][1:]
    left, top, width, height, area = parts.T
    margin = MARGIN * max(gray.shape)
    inside = (left > margin) & (top > margin)
    inside &= (left + width < gray.shape[1] - margin) & (top + height < gray.shape[0] - margin)
    longer = np.maximum(width, height)
    return int((inside & (area >= AREA) & (longer >= LENGTH[0]) & (longer <= LENGTH[1])).sum())


def has_burned_in(gray: UInt8[np.ndarray, "h w"]) -> bool:
    """Whether an image seems to carry calipers or text."""
    return count_strokes(gray) >= STROKES
