"""Letterboxed images and masks as memory-mapped arrays: decoded once, shared by every run."""

import contextlib
import logging
import os
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from busi.core import Record, note_use, read_kept, write_whole, writing_cache
from busi.data.contents import map_threads
from busi.data.files import read_gray
from busi.data.geometry import letterbox, letterbox_mask
from busi.data.masks import read_mask
from busi.data.splits import fingerprint

log = logging.getLogger(__name__)

ARRAYS = ("letterboxed", "guides", "described")
"""Folders of the cache that hold arrays, by far its largest part."""

IN_USE = 3600
"""Seconds for which an array stays after a run has opened it: its loader processes may still start."""

ZEROS = 2**20
"""Bytes that are written at once."""

ABANDONED = 86400
"""Seconds after which a temporary file is taken for one that a killed writer left."""


def load_letterboxed(
    records: Sequence[Record],
    pixel_hashes: Sequence[str],
    mask_hashes: Sequence[str],
    size: int,
    cache_dir: Path,
) -> UInt8[np.ndarray, "n 2 {size} {size}"]:
    """Letterbox every image (channel 0, gray) and annotation (channel 1, values 0 and 1).

    Args:
        records: The images; row i of the result belongs to record i.
        pixel_hashes: Fingerprints of the images, part of the key of the cached file.
        mask_hashes: The same of the annotations.
        size: Side of the square in pixels.
        cache_dir: Where the array is kept.

    Returns:
        A read-only array, mapped from its file: pages come into memory when they are used.
    """

    def write(letterboxed: UInt8[np.ndarray, "n 2 s s"]) -> None:
        def scale(row: int) -> None:
            image = read_gray(records[row].image)
            letterboxed[row, 0] = letterbox(image, size)
            letterboxed[row, 1] = letterbox_mask(read_mask(records[row], *image.shape), size)

        log.info("Scaling %d images to %d px, kept in %s", len(records), size, cache_dir)
        map_threads(scale, range(len(records)), "scaling images")

    key = fingerprint([[i, *pair] for i, pair in enumerate(zip(pixel_hashes, mask_hashes, strict=True))])
    return load_array(cache_dir / "letterboxed" / f"{key}-{size}.npy", (len(records), 2, size, size), write)


def load_array(
    path: Path, shape: tuple[int, ...], write: Callable[[UInt8[np.ndarray, "..."]], None]
) -> UInt8[np.ndarray, "..."]:
    """Map an array from its file, which is made first if it is missing or damaged.

    Args:
        path: Of the file, named after all that its content depends on.
        shape: Of the array.
        write: Fills it; it is zero at first.

    Returns:
        Read-only. It outlives its file: what is mapped stays until the last process lets go of it.
    """

    def write_file(part: Path) -> None:
        array = np.lib.format.open_memmap(part, mode="w+", dtype=np.uint8, shape=shape)
        with part.open("r+b") as file:  # without room, writing to the map would kill the process
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, part.stat().st_size)
            else:  # macOS
                file.seek(-array.nbytes, os.SEEK_END)
                for start in range(0, array.nbytes, ZEROS):
                    file.write(bytes(min(ZEROS, array.nbytes - start)))
        write(array)
        array.flush()

    open_map = partial(np.load, mmap_mode="r")
    array: UInt8[np.ndarray, ...] | None = read_kept(path, open_map)
    if array is None or array.shape != shape:
        with writing_cache(path.parent):
            write_whole(path, write_file)
        array = open_map(path)
    note_use(path)
    return array


def trim(cache_dir: Path, limit_gb: float) -> None:
    """Delete the least recently used arrays, until the rest fits into `limit_gb` (10^9 bytes).

    Those of the last hour stay, whatever the limit. What a killed writer left goes after a day.
    """
    now, files = time.time(), []
    for path in (path for name in ARRAYS for path in (cache_dir / name).glob("*.np[yz]")):
        with contextlib.suppress(OSError):  # another process may trim too, and another user may own it
            stat = path.stat()
            if not path.name.startswith("."):
                files.append((path, stat))
            elif now - stat.st_mtime > ABANDONED:
                path.unlink()
    total, deleted = sum(stat.st_size for _, stat in files), 0
    for path, stat in sorted(files, key=lambda pair: pair[1].st_atime):
        if total <= limit_gb * 1e9 or now - stat.st_atime < IN_USE:
            break
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
            deleted += 1
        total -= stat.st_size
    if deleted:
        log.info("The cache %s is full: deleted the least recently used arrays (%d)", cache_dir, deleted)
