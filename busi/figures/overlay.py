"""An image with a mask drawn on it, at its own size, without a plotting library."""

import numpy as np
from jaxtyping import Bool, UInt8
from scipy import ndimage

COLOR = (255, 127, 14)


def draw_overlay(
    gray: UInt8[np.ndarray, "h w"], mask: Bool[np.ndarray, "h w"], opacity: float = 0.0
) -> UInt8[np.ndarray, "h w 3"]:
    """Outline a mask on its image, and tint its inside.

    The line lies inside the mask, so that it hides nothing around the lesion. Its width is 1/250 of the
    longer side, at least one pixel.

    Args:
        gray: The image.
        mask: Drawn in orange.
        opacity: Of the tint, from 0 (none) to 1 (the image is hidden).
    """
    drawn = np.repeat(gray[..., None], 3, axis=2)
    if mask.any():
        width = max(1, round(max(gray.shape) / 250))
        inner = ndimage.binary_erosion(mask, iterations=width)
        tint = (1 - opacity) * drawn[inner] + opacity * np.array(COLOR)
        drawn[inner] = tint.round().astype(np.uint8)
        drawn[mask & ~inner] = COLOR
    return drawn
