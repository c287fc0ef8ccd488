"""By which names other tools may call the images of a data set."""

import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from busi.core import Record, list_some
from busi.data import Problem, file_name

DRIVE = re.compile(r"[a-z]:/", re.IGNORECASE)


class CaseNames:
    """Finds images by their ids, as they are or as names of files; else by the paths of their own files.

    A path is compared from its end. The file must be called so, with or without its suffix. Folders of a
    relative path must all be those of the image. An absolute path is of another computer, and may begin with
    any folders: it means the one image of that file name, or of several the one with the most folders in
    common, unless the folder above the file is one in which the data has other images alone.

    Args:
        records: The images.
        unusable: What is wrong with images that are left out of the data.

    Attributes:
        ids: Of the images.
        hint: How images are called, for errors.
    """

    def __init__(self, records: Sequence[Record], unusable: Sequence[Problem] = ()) -> None:
        self.ids = [record.id for record in records]
        every = [*self.ids, *(one.id for one in unusable)]
        self._by_id = {file_name(name).casefold(): i for i, name in reversed([*enumerate(every)])}
        self._by_file: dict[str, dict[int, tuple[str, ...]]] = {}
        self._folders: set[str] = set()
        for i, record in enumerate(records):
            self._add(i, record.image.absolute())
        for i, one in enumerate(unusable, len(records)):
            for text in dict.fromkeys((one.id, one.file)):
                self._add(i, Path(text))
        self.hint = f"Images are called by their ids, e.g. {file_name(self.ids[0])}"

    def find(self, text: str) -> int | None:
        """The position of an image; None if there is none of that name, or several."""
        found = self._find(text.strip())
        return None if found is None or found >= len(self.ids) else found

    def is_unusable(self, text: str) -> bool:
        """Whether a name is that of an image that cannot be used."""
        found = self._find(text.strip())
        return found is not None and found >= len(self.ids)

    def _add(self, i: int, path: Path) -> None:
        folders = tuple(part.casefold() for part in path.parent.parts)
        self._folders.update(folders[-1:])
        for name in (path.name.casefold(), path.stem.casefold()):
            self._by_file.setdefault(name, {}).setdefault(i, folders)

    def _find(self, text: str) -> int | None:
        if (found := self._by_id.get(file_name(text).casefold())) is not None:
            return found
        path = text.replace("\\", "/").casefold()
        *folders, name = PurePosixPath(path).parts or ("",)
        common = {i: count_common(own, folders) for i, own in self._by_file.get(name, {}).items()}
        if not common:
            return None
        if not path.startswith("/") and not DRIVE.match(path):
            fitting = [i for i, number in common.items() if number == len(folders)]
            return fitting[0] if len(fitting) == 1 else None
        most = max(common.values())
        if not most and folders[-1] in self._folders:
            return None
        fitting = [i for i, number in common.items() if number == most]
        return fitting[0] if len(fitting) == 1 else None


def count_common(one: Sequence[str], other: Sequence[str]) -> int:
    """How many folders above a file are called the same in two paths."""
    pairs = [a == b for a, b in zip(reversed(one), reversed(other), strict=False)]
    return [*pairs, False].index(False)


def list_images(ids: Sequence[str]) -> str:
    """``3 images (a, b, c)``."""
    return f"{len(ids)} image{'s' * (len(ids) > 1)} ({list_some(ids)})"


def list_names(places: Sequence[int], names: CaseNames) -> str:
    """Images by their positions, see `list_images`."""
    return list_images([names.ids[i] for i in places])
