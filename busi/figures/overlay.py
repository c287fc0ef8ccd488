"""An image with a mask drawn on it, at its own size, without a plotting library."""

import io

import cv2
import numpy as np
from PIL import Image

from busi.core import Bool, UInt8

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


def encode_outline(gray: UInt8[np.ndarray, "h w"], mask: Bool[np.ndarray, "h w"]) -> bytes:
    """`draw_overlay` without a tint, as a PNG file of 256 colors, which has a third of the bytes.

    The orange takes the place of a gray level that is not seen. Where all 256 are seen, it takes that of the
    rarest, whose pixels get the next level.
    """
    line = outline(mask)
    seen = cv2.calcHist([gray], [0], None, [256], [0, 256]).ravel() - np.bincount(gray[line], minlength=256)
    rarest, levels = int(seen.argmin()), np.arange(256, dtype=np.uint8)
    palette = np.repeat(levels, 3).reshape(256, 3)
    palette[rarest] = COLOR
    levels[rarest] = rarest - 1 if rarest else 1
    drawn = cv2.LUT(gray, levels)
    drawn[line] = rarest
    image = Image.fromarray(drawn)
    image.putpalette(palette.tobytes())
    buffer = io.BytesIO()
    # Speckle hardly gets smaller without a filter, which takes six times as long.
    image.save(buffer, format="PNG", compress_level=0)
    return buffer.getvalue()


def add_words(drawn: Image.Image, words: str) -> Image.Image:
    """Write words below an image, in as many lines as they need; they hide nothing of it.

    Args:
        drawn: The image, RGB.
        words: Written in white on black. An image that is narrower than a word gets a margin.
    """
    from PIL import ImageDraw, ImageFont  # a part of the time that one image takes

    size = min(max(round(drawn.width / 30), 11), 40)
    font = ImageFont.load_default(size)
    margin = size // 2
    width = max(drawn.width, *(2 * margin + int(font.getlength(word)) + 1 for word in words.split()))
    lines: list[str] = []
    for word in words.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and font.getlength(longer) <= width - 2 * margin:
            lines[-1] = longer
        else:
            lines.append(word)
    height = round(1.4 * size)
    canvas = Image.new("RGB", (width, drawn.height + height * len(lines) + margin))
    canvas.paste(drawn)
    draw = ImageDraw.Draw(canvas)
    for number, line in enumerate(lines):
        draw.text((margin, drawn.height + margin // 2 + number * height), line, "white", font)
    return canvas


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
