"""What a search for near-duplicates keeps of single images and pairs, for the next search among other images.

Whatever is kept depends on pixels alone, so that a search answers as if nothing had been kept.
"""

import threading
import zipfile
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from busi.core import hold, note_use, read_kept, write_json, write_whole
from busi.data.described import VERSION, Description, GrayImage, describe_image

FOLDER = "described"
"""Of the cache; about 90 kB an image, and as much again once it was compared with altered versions."""
LOCK = threading.Lock()
"""Of the verdicts: the locks of files keep processes apart, not threads."""


class KeptSearches:
    """Descriptions of images and verdicts on pairs, in the cache.

    Args:
        cache_dir: The cache.
        names: Pixel hashes of the images of this search.
        upright: See `describe_image`.
    """

    def __init__(self, cache_dir: Path, names: Sequence[str], upright: bool = True) -> None:
        self.names, self.folder, self.upright = names, cache_dir / FOLDER, upright
        self.path = cache_dir / "duplicates" / f"verdicts-v{VERSION}.json"

    def describe(self, index: int, images: Sequence[GrayImage]) -> Description:
        """Describe an image of this search, or read what was kept; then it is not asked for."""
        if (description := self.read_description(index)) is None:
            description = describe_image(images[index], self.upright)
            self.keep_description(index, description)
        return description

    def read_description(self, index: int) -> Description | None:
        """The description of an image; None if it was not kept, or is damaged."""
        kept: Description | None = read_kept(self._path(index), _load)
        if kept is not None:
            note_use(self._path(index))
        return kept

    def keep_description(self, index: int, description: Description) -> None:
        """Keep the description of an image."""
        save = partial(_save, description)
        write_whole(self._path(index), save, durable=False)  # a damaged one is made again

    def read_verdicts(self) -> dict[str, bool]:
        """Whether two images show one frame, by their pixel hashes with a space between them."""
        kept = read_kept(self.path)
        return kept if isinstance(kept, dict) else {}

    def keep_verdicts(self, found: Mapping[str, bool]) -> None:
        """Keep verdicts beside those that are there, and those of a search that goes on at the same time.

        Those on images whose descriptions are gone from the cache go, too.
        """
        if found:
            end = f"-v{VERSION}.npz"
            with LOCK, hold(self.path.parent, wait=True):
                known = {path.name.removesuffix(end) for path in self.folder.glob(f"*{end}")} | {*self.names}
                every = self.read_verdicts() | dict(found)
                kept = {pair: same for pair, same in every.items() if known.issuperset(pair.split(" "))}
                write_json(self.path, kept)

    def _path(self, index: int) -> Path:
        return self.folder / f"{self.names[index]}{'' if self.upright else '-turning'}-v{VERSION}.npz"


def _save(description: Description, part: Path) -> None:
    with part.open("wb") as file:
        np.savez(file, **description._asdict())


def _load(path: Path) -> Description:
    try:
        with np.load(path) as arrays:
            return Description(*(arrays[name] for name in Description._fields))
    except (KeyError, zipfile.BadZipFile) as error:
        raise ValueError("no description") from error
