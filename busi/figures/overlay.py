"""An image with a mask drawn on it, at its own size, without a plotting library."""

import cv2
import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image

COLOR = (255, 127, 14)

CROSS = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))


def draw_overlay(
    gray: UInt8[np.ndarray, "h w"], mask: Bool[np.ndarray, "h w"], opacity: float = 0.0
) -> UInt8[np.ndarray, "h w 3"]:
    """Outline a mask on its image, and tint its inside.

    Args:
        gray: The image.
        mask: Drawn in orange.
        opacity: Of the tint, from 0 (none) to 1 (the image is hidden).
    """
    drawn = np.asarray(cv2.cvtColor(gray, cv2.COLOR_GRAY2RGB), np.uint8)
    line = outline(mask)
    if opacity:
        inner = mask & ~line
        tint = (1 - opacity) * drawn[inner] + opacity * np.array(COLOR)
        drawn[inner] = tint.round().astype(np.uint8)
    drawn[line] = COLOR
    return drawn


def draw_outline(gray: UInt8[np.ndarray, "h w"], mask: Bool[np.ndarray, "h w"]) -> Image.Image:
    """`draw_overlay` without a tint, as an image of 256 colors, which has a third of the bytes.

    The orange takes the place of a gray level that is not seen. Where all 256 are seen, it takes that of the
    rarest, whose pixels get the next level.
    """
    line = outline(mask)
    seen = cv2.calcHist([gray], [0], None, [256], [0, 256])[:, 0] - np.bincount(gray[line], minlength=256)
    rarest, levels = int(seen.argmin()), np.arange(256, dtype=np.uint8)
    palette = np.repeat(levels, 3).reshape(256, 3)
    palette[rarest] = COLOR
    levels[rarest] = rarest - 1 if rarest else 1
    drawn = cv2.LUT(gray, levels)
    drawn[line] = rarest
    image = Image.fromarray(drawn)
    image.putpalette(palette.tobytes())
    return image


def outline(mask: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    """The pixels of a mask along its edge, which is also where it ends with the image.

    The line lies inside the mask, so that it hides nothing around the lesion. Its width is 1/250 of the
    longer side, at least one pixel.
    """
    left, top, width, height = cv2.boundingRect(mask.view(np.uint8))
    line = np.zeros_like(mask)
    if width:
        box = (slice(top, top + height), slice(left, left + width))
        thickness = max(1, round(max(mask.shape) / 250))
        around = cv2.copyMakeBorder(mask[box].view(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
        inner = cv2.erode(around, CROSS, iterations=thickness)[1:-1, 1:-1]
        line[box] = mask[box] & (inner == 0)
    return line
