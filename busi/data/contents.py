"""What the files of a data set contain: decoded and checked once, then kept under a hash of their bytes."""

import hashlib
import logging
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from jaxtyping import UInt8
from rich.progress import track

from busi.core import NORMAL, InputError, Record, read_kept, write_json, writing_cache
from busi.data.files import read_frame, read_gray
from busi.data.images import BadFile, pixel_hash
from busi.data.levels import refuse_flat
from busi.data.masks import read_mask
from busi.data.records import Problem, Reading

log = logging.getLogger(__name__)

DECODING = 4
"""Raised whenever the rules change by which `_decode` reads or refuses a file: what was kept is old then."""

S = TypeVar("S")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Content:
    """What decoding one image and its masks gave.

    Attributes:
        pixel_hash: Fingerprint of the gray image, see `busi.data.images.pixel_hash`.
        mask_hash: The same of the annotation.
        height: In pixels.
        width: In pixels.
        spacing: Millimeters a pixel, down and across, where the file of the image says so.
        problem: What is wrong with the files, else the empty string.
        file: The file at fault.
    """

    pixel_hash: str = ""
    mask_hash: str = ""
    height: int = 0
    width: int = 0
    spacing: tuple[float, float] | None = None
    problem: str = ""
    file: str = ""


def read_contents(reading: Reading, cache_dir: Path) -> tuple[list[Record], list[Content], list[Problem]]:
    """Decode and check every image of a data set.

    A file that cannot be used is decoded again each time: a package that it needs may be there by then.

    Args:
        reading: What a reader returned.
        cache_dir: Where results are kept, keyed by the bytes of all files.

    Returns:
        Usable records, with the spacing of their files where the reader knows none, their contents in the
        same order, and all problems, the reader's included.
    """
    records, problems = reading
    key = hashlib.sha256("".join(map_threads(_hash_files, records, "")).encode()).hexdigest()[:32]
    path = cache_dir / "contents" / f"{key}.json"
    kept = [_restore(entry) for entry in read_kept(path) or []]
    contents = kept or [Content(problem="unknown")] * len(records)
    again = [i for i, content in enumerate(contents) if content.problem]
    found = map_threads(_decode, [records[i] for i in again], "" if kept else "checking images")
    decoded = dict(zip(again, found, strict=True))
    contents = [decoded.get(i, content) for i, content in enumerate(contents)]
    if contents != kept:
        with writing_cache(cache_dir):
            write_json(path, [asdict(content) for content in contents])
    counts = Counter(path.name for record in records for path in (record.image, *record.masks))
    bad = [
        Problem(record.id, content.problem, _find_path(record, content.file, counts))
        for record, content in zip(records, contents, strict=True)
        if content.problem
    ]
    good = [
        (replace(record, spacing=record.spacing or content.spacing), content)
        for record, content in zip(records, contents, strict=True)
        if not content.problem
    ]
    return [record for record, _ in good], [content for _, content in good], [*problems, *bad]


def map_threads(function: Callable[[S], T], items: Sequence[S], title: str) -> list[T]:
    """Call `function` on every item in threads, with a progress bar named `title` if given."""
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        results = pool.map(function, items)
        return list(track(results, title, total=len(items), transient=True) if title else results)


class GrayImages(Sequence[UInt8[np.ndarray, "_ _"]]):
    """The gray images of records, decoded when asked for."""

    def __init__(self, records: Sequence[Record]) -> None:
        self.records = records

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> UInt8[np.ndarray, "_ _"]:  # type: ignore[override]
        return read_gray(self.records[index].image)


def _find_path(record: Record, name: str, counts: Mapping[str, int]) -> str:
    """The name of a file at fault; its whole path where others have that name."""
    paths = [path for path in (record.image, *record.masks) if path.name == name]
    return str(paths[0]) if paths and counts[name] > 1 else name


def _hash_files(record: Record) -> str:
    """Fingerprint of what `_decode` depends on; a missing file counts as itself."""
    digest = hashlib.sha256(f"{DECODING}:{record.id}:{record.label}".encode())
    for path in (record.image, *record.masks):
        try:
            digest.update(hashlib.sha256(path.read_bytes()).digest())
        except OSError:
            digest.update(b"missing")
    return digest.hexdigest()


def _restore(entry: dict[str, Any]) -> Content:
    """The content that was kept as JSON."""
    spacing = entry["spacing"]
    return Content(**{**entry, "spacing": None if spacing is None else (spacing[0], spacing[1])})


def _decode(record: Record) -> Content:
    try:
        image, spacing = read_frame(record.image)
        refuse_flat(image)
        mask = read_mask(record, *image.shape)
        if record.label == NORMAL and mask.any():
            raise BadFile("normal image with a lesion in its mask", record.masks[0])
    except BadFile as error:
        return Content(problem=error.kind, file=error.path.name)
    except InputError as error:  # of an image that is flat
        return Content(problem=str(error), file=record.image.name)
    return Content(pixel_hash(image), pixel_hash(mask), *image.shape, spacing=spacing)
