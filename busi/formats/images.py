"""Images of a folder, looked up by the names that annotations and sheets give them."""

import logging
import posixpath
import re
from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath

from busi.core import InputError, printable
from busi.data import is_image
from busi.formats.files import list_all

log = logging.getLogger(__name__)

SUFFIX = re.compile(r"\.(nii|nii\.gz|(seg\.)?(nrrd|nhdr)|png|jpe?g|bmp|tiff?|dcm|dicom)$", re.IGNORECASE)
"""Of an image."""


def strip_lead(text: str) -> str:
    """The part of a path that may lie below a folder: no drive, no root, no ``..``; may be empty."""
    path = posixpath.normpath(re.sub(r"^[A-Za-z]:", "", text.replace("\\", "/")))
    return "/".join(part for part in path.split("/") if part not in ("", ".", ".."))


def stem_of(name: str) -> str:
    """A name without the suffix of an image of any format."""
    return SUFFIX.sub("", name)


class Names:
    """Paths of images, found by what annotations and sheets call them.

    Args:
        names: Paths below a folder, with ``/``.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._names = dict.fromkeys(names)
        self._by_last: dict[str, list[str]] = {}
        for name in self._names:
            self._by_last.setdefault(stem_of(PurePosixPath(name).name).casefold(), []).append(name)

    def find(self, text: str, stem: bool = False) -> list[str]:
        """The paths that are the end of a text, or the other way round.

        Args:
            text: A path.
            stem: Whether the suffix may be another one, or missing.
        """
        wanted = text.replace("\\", "/").removeprefix("./")
        if wanted in self._names:
            return [wanted]
        near = self._by_last.get(stem_of(PurePosixPath(wanted).name).casefold(), [])
        return [name for name in near if _is_end(name, wanted)] or [
            name for name in near if stem and _is_end(stem_of(name), stem_of(wanted))
        ]


def _is_end(one: str, other: str) -> bool:
    """Whether one path is the end of the other."""
    first, second = one.split("/"), other.split("/")
    number = min(len(first), len(second))
    return first[-number:] == second[-number:]


class Images:
    """The images below a folder, found by the names that annotations give them.

    A name is compared with what is there, and never opened as it is: no name leads out of the folder.

    Args:
        folder: Where images lie.
        is_none: Which paths below it are no images.
    """

    def __init__(self, folder: Path, is_none: Callable[[Path], bool] = lambda _: False) -> None:
        self.files = {
            path.relative_to(folder).as_posix(): path
            for path in list_all(folder)
            if is_image(path) and not is_none(path.relative_to(folder))
        }
        self._names = Names(self.files)
        self._unused = dict.fromkeys(self.files)

    def find(self, text: str, stem: bool = False) -> tuple[str, Path]:
        """The name and the file of an image.

        Args:
            text: Its path as an annotation says it, or the end of it, or with more in front: a path that is
                absolute or leads out of the folder stands for its end.
            stem: Whether the suffix may be another one, or missing.

        Raises:
            InputError: If there is none, or several.
        """
        found = self._names.find(strip_lead(text), stem)
        for name in found:
            self._unused.pop(name, None)
        if not found:
            raise InputError("no such image: give the folder of the images with --images")
        if len(found) > 1:
            raise InputError("several images of that name: " + ", ".join(sorted(found)[:3]))
        return found[0], self.files[found[0]]

    def tell_unused(self) -> None:
        """Log the images that were not found, for no annotation names them."""
        if self._unused:
            names = ", ".join(map(printable, [*self._unused][:3])) + ", ..." * (len(self._unused) > 3)
            log.info("%d images of the folder are in no annotation (%s)", len(self._unused), names)
