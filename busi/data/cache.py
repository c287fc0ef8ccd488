"""Letterboxed pictures and masks as memory-mapped arrays: decoded once, shared by every run."""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from rich.progress import track

from busi.data.geometry import letterbox, letterbox_mask
from busi.data.records import read_gray, read_mask
from busi.data.splits import fingerprint
from busi.paths import write_whole
from busi.types import Record

log = logging.getLogger(__name__)


def load_squares(
    records: Sequence[Record],
    pixel_hashes: Sequence[str],
    mask_hashes: Sequence[str],
    size: int,
    cache_dir: Path,
) -> UInt8[np.ndarray, "n 2 {size} {size}"]:
    """Letterbox every picture (channel 0, gray) and annotation (channel 1, values 0 and 1).

    Args:
        records: The pictures; row i of the result belongs to record i.
        pixel_hashes: Fingerprints of the pictures, part of the key of the cached file.
        mask_hashes: The same of the annotations.
        size: Side of the square in pixels.
        cache_dir: Where the array is kept.

    Returns:
        A read-only array, mapped from its file: pages come into memory when they are used.
    """
    key = fingerprint([[i, *pair] for i, pair in enumerate(zip(pixel_hashes, mask_hashes, strict=True))])
    path = cache_dir / "squares" / f"{key}-{size}.npy"
    if not path.is_file():
        log.info("Scaling %d pictures to %d px, kept in %s", len(records), size, path)
        write_whole(path, lambda part: _write(part, records, size))
    squares: UInt8[np.ndarray, "n 2 s s"] = np.load(path, mmap_mode="r")
    return squares


def _write(path: Path, records: Sequence[Record], size: int) -> None:
    shape = (len(records), 2, size, size)
    squares = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)
    for i, record in enumerate(track(records, "scaling pictures", transient=True)):
        picture = read_gray(record.image)
        squares[i, 0] = letterbox(picture, size)
        squares[i, 1] = letterbox_mask(read_mask(record, *picture.shape), size)
    squares.flush()
