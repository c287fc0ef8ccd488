"""What the demo reads: synthetic samples, and the images of an uploaded file."""

from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image

from busi.core import CLASSES, InputError
from busi.data import Frame, draw_sample, read_frames, read_nth

MAX_FRAMES = 500
"""Of one file; later ones are not offered."""


def write_samples(folder: Path) -> list[Path]:
    """Write a synthetic image of each class."""
    paths = []
    for label, name in enumerate(CLASSES):
        path = folder / f"synthetic {name}.png"
        Image.fromarray(draw_sample(label, np.random.default_rng([3, label]), 400).image).save(path)
        paths.append(path)
    return paths


def count_frames(path: Path, most: int = MAX_FRAMES) -> int:
    """How many images of a file can be read, as far as it matters."""
    count = 0
    try:
        for _ in islice(read_frames(path), most):
            count += 1
    except InputError:
        pass  # said when the first one is read
    return count


def read_frame(path: Path, number: int) -> tuple[str, Frame]:
    """Read one image of a file, counted from 1, and its name.

    Raises:
        InputError: If it cannot be read.
    """
    frame = read_nth(path, number)
    if frame is None:
        raise InputError(f"{path} has no image {number}")
    return (path.stem if number == 1 else f"{path.stem} [{number}]"), frame
