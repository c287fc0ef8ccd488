"""Images of a folder, looked up by the names that annotations and sheets give them."""

import logging
import os
import posixpath
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from busi.core import InputError, printable
from busi.data import fold_case, is_image
from busi.formats.files import list_all

log = logging.getLogger(__name__)

SUFFIX = re.compile(
    r"\.(nii|nii\.gz|(seg\.)?(nrrd|nhdr)|mha|mhd|png|jpe?g|jpe|jfif|bmp|tiff?|dcm|dicom)$", re.IGNORECASE
)
"""Of an image."""
WORDS = r"masks?|seg|segmentations?|labels?|labelmap|gt|groundtruth|annotations?|rois?"
MASK_FOLDER = re.compile(rf"(?:{WORDS})(?:tr|ts)?", re.IGNORECASE)
IMAGE_FOLDER = re.compile(r"(?:(?:jpeg)?images?|imgs?|scans?|volumes?)(?:tr|ts)?", re.IGNORECASE)
ANNOTATION_FOLDER = re.compile(rf"(?:{WORDS}|ann|jsons?|coco|cvat|labelme|exports?)", re.IGNORECASE)
"""Folders whose names say what they hold, and nothing of whom it is."""
NO_IMAGE = "no such image: give the folder of the images with --images"
ELSEWHERE = "no such image, but one of its name in another folder: correct the path, or give --images"


def stem_of(name: str) -> str:
    """A name without the suffix of an image of any format."""
    return SUFFIX.sub("", name)


def split_path(text: str) -> tuple[list[str], bool]:
    """The parts of a path, and whether it is of another place: absolute, with a drive, or led by ``..``.

    A root, a drive and ``..`` are no parts; there may be none.
    """
    path = posixpath.normpath(re.sub(r"^[A-Za-z]:", "/", text.replace("\\", "/")))
    parts = path.split("/")
    return [part for part in parts if part not in ("", ".", "..")], parts[0] in ("", "..")


def climb(place: str) -> list[str]:
    """A folder of annotations, and those above it as long as it is called as such a folder."""
    places = [place]
    while place and ANNOTATION_FOLDER.fullmatch(place.rpartition("/")[2]):
        place = place.rpartition("/")[0]
        places.append(place)
    return places


def name_no_folders(texts: Iterable[object], idle: re.Pattern[str] = IMAGE_FOLDER) -> bool:
    """Whether paths are bare names, which then tell files of all folders apart; see `Names.find`."""
    return all(
        foreign or all(idle.fullmatch(part) for part in parts[:-1])
        for parts, foreign in (split_path(text) for text in texts if isinstance(text, str))
    )


class Names:
    """Paths of images, found by what annotations and sheets call them.

    Args:
        names: Paths, with ``/``.
        root: The folder that they begin at.
    """

    def __init__(self, names: Iterable[str], root: Path | None = None) -> None:
        self._root = [] if root is None else fold(Path(os.path.abspath(root)).parts)  # noqa: PTH100
        self._paths = {name: split_path(name) for name in names}
        self._near: dict[str, list[str]] = {}
        for name, (parts, _) in self._paths.items():
            self._near.setdefault(fold_case(stem_of("".join(parts[-1:]))), []).append(name)
        self._folders = {one for parts, _ in self._paths.values() for one in fold(parts[:-1])}

    def near(self, text: str) -> list[str]:
        """The paths whose last part is that of a text, whatever the case and the suffix."""
        return self._near.get(fold_case(stem_of("".join(split_path(text)[0][-1:]))), [])

    def find(
        self,
        text: str,
        stem: bool = False,
        place: str = "",
        bare: bool = False,
        idle: re.Pattern[str] = IMAGE_FOLDER,
        subset: str = "",
    ) -> list[str]:
        """The paths that a text surely means: one of another folder may be of another patient.

        It is looked up in the folder of the annotation, and in those above if that is called as a folder of
        annotations is; a text with folders in the folder that was given, too. A folder may be missing or
        added on the way only if its name says nothing of whom it holds (``images``). The first folders of a
        text may be those that lead to where it is looked up. A path of another place (see `split_path`)
        stands for its longest end that is there, unless what is dropped names a folder that is there, too;
        the bare name is looked up in the folder of the annotation. A path that differs in case alone is
        taken if it is the only one.

        Args:
            text: A path.
            stem: Whether the suffix may be another one, or missing.
            place: The folder of the annotation.
            bare: Whether a bare name means the only file of this name, in whatever folder.
            idle: Names of folders that may be missing or added.
            subset: One more of them.
        """
        parts, foreign = split_path(text)
        for k, base in self._readings(parts, foreign, place):
            if found := self._match(parts[k:], base, stem, bare and not k, idle, subset):
                return found
        return []

    def _readings(self, parts: list[str], foreign: bool, place: str) -> Iterator[tuple[int, list[str]]]:
        """How many folders of a path are dropped, and where the rest is looked up; the likeliest first."""
        for k in range(len(parts)):
            dropped = fold(parts[:k])
            for base in dict.fromkeys((*climb(place), "")):
                above = base.split("/") if base else []
                leads = dropped == [*self._root, *fold(above)][-k:] if k else not foreign
                ends = foreign and self._folders.isdisjoint(dropped)
                named = len(parts) > 1 if leads else k < len(parts) - 1
                if (leads or ends) and (named or base in climb(place)):
                    yield k, above

    def _match(
        self, rest: list[str], base: list[str], stem: bool, bare: bool, idle: re.Pattern[str], subset: str
    ) -> list[str]:
        """The paths below a folder that are likest to a path, among those that may be meant."""

        def strip(folders: list[str]) -> list[str]:
            return [one for one in folders if not idle.fullmatch(one) and one != subset]

        ranked: dict[tuple[bool, int, bool], list[str]] = {}
        for name in self.near(rest[-1]):
            parts, foreign = self._paths[name]
            other_suffix = fold_case(parts[-1]) != fold_case(rest[-1])
            if parts[: len(base)] != base or (other_suffix and not stem):
                continue
            mine, wanted = parts[len(base) : -1], rest[:-1]
            if foreign and wanted:
                mine = mine[-len(wanted) :]
            level = 0
            if fold(mine) != fold(wanted):
                mine, wanted, level = strip(mine), strip(wanted), 1
            if fold(mine) != fold(wanted):
                if not bare or wanted:
                    continue
                level = 2
            last = [stem_of(one) if other_suffix else one for one in (parts[-1], rest[-1])]
            respelled = level < 2 and (mine, last[0]) != (wanted, last[1])
            ranked.setdefault((other_suffix, level, respelled), []).append(name)
        return ranked[min(ranked)] if ranked else []


def fold(parts: Iterable[str]) -> list[str]:
    """Equal for paths that differ in case, or in how their accents are stored."""
    return [fold_case(part) for part in parts]


class NotThere(InputError):
    """An image that is not there."""


class Images:
    """The images below a folder, found by the names that annotations give them.

    A name is compared with what is there, and never opened as it is: no name leads out of the folder.

    Args:
        folder: Where images lie.
        is_one: Which files are images.
    """

    def __init__(self, folder: Path, is_one: Callable[[Path], bool] = is_image) -> None:
        self.files = {path.relative_to(folder).as_posix(): path for path in list_all(folder) if is_one(path)}
        self._names = Names(self.files, folder)
        self._unused = dict.fromkeys(self.files)

    def find(self, text: str, stem: bool = False, **how: Any) -> tuple[str, Path]:
        """The name and the file of an image.

        Args:
            text: Its path as an annotation says it.
            stem: Whether the suffix may be another one, or missing.
            **how: See `Names.find`, which says what a path may mean.

        Raises:
            NotThere: If there is none.
            InputError: If there are several.
        """
        found = self._names.find(text, stem, **how)
        for name in found:
            self._unused.pop(name, None)
        if not found:
            raise NotThere(ELSEWHERE if self._names.near(text) else NO_IMAGE)
        if len(found) > 1:
            raise InputError("several images of that name: " + ", ".join(sorted(found)[:3]))
        return found[0], self.files[found[0]]

    def tell_unused(self) -> None:
        """Log the images that were not found, for no annotation names them."""
        if self._unused:
            names = ", ".join(map(printable, [*self._unused][:3])) + ", ..." * (len(self._unused) > 3)
            log.info("%d images of the folder are in no annotation (%s)", len(self._unused), names)
