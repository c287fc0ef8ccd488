"""Gray levels as PNG files."""

from pathlib import Path

import cv2
import numpy as np

from busi.core import UInt8, write_whole


def write_png(path: Path, gray: UInt8[np.ndarray, "h w"], durable: bool = True) -> Path:
    """Write a mask or a map as an 8-bit PNG file, whole or not at all.

    OpenCV takes half of the time of Pillow, which tries every filter on every row.

    Args:
        path: The file.
        gray: Its pixels.
        durable: See `busi.core.write_whole`.
    """
    content = encode_png(gray)
    return write_whole(path, lambda part: part.write_bytes(content), durable)


def encode_png(gray: UInt8[np.ndarray, "h w"]) -> bytes:
    """The content of the file that `write_png` writes."""
    return cv2.imencode(".png", gray)[1].tobytes()
