"""The files that a user wants predicted: how they are found and named, and read one after the other."""

import glob
import logging
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from busi.core import InputError, expand, file_hash, list_some, printable, real, walk
from busi.data.files import is_image, read_frames, strip_suffix
from busi.data.frames import Frame
from busi.data.levels import refuse_flat
from busi.data.records import MASK_STEM, UNREAD_SUFFIXES, annotations, list_files, natural, shorten

log = logging.getLogger(__name__)

NUMBER = re.compile(r" \[\d+\]$")
"""What the ids of the images of one file end with."""


class InputFile(NamedTuple):
    """A file to predict on.

    Attributes:
        id: Unique among the files that were found: the path below the folder that was named, without suffix
            unless two files differ in that alone.
        path: The file.
    """

    id: str
    path: Path


class Item(NamedTuple):
    """An image that was read, or what was wrong with it.

    Attributes:
        file: Its file.
        number: Of the image in its file, from 1; None if that holds one.
        sha256: Of the file, 16 hexadecimal digits; empty if it cannot be read.
        frame: None if there is an error.
        error: What to tell the user, or empty.
    """

    file: InputFile
    number: int | None
    sha256: str
    frame: Frame | None
    error: str

    @property
    def id(self) -> str:
        """Name of the image, and of what is written about it."""
        return self.file.id if self.number is None else f"{self.file.id} [{self.number}]"


def read_items(file: InputFile) -> Iterator[Item]:
    """Read the images of a file one at a time; the last item says what was wrong with it, if anything.

    An image of one or two gray levels is an item with an error, too, and the others go on.
    """
    digest, number, waiting, error = "", 0, None, ""
    try:
        digest = file_hash(file.path)[:16]
        for frame in read_frames(file.path):
            if waiting is not None:
                yield _make_item(file, number, digest, waiting)
            number, waiting = number + 1, frame
        error = "" if number else f"{file.path} holds no image"
    except InputError as problem:
        error = str(problem)
    except OSError as problem:  # may pass
        digest, error = "", f"cannot read {file.path}: {problem.strerror}"
    several = number > 1 or (error and number)
    if waiting is not None:
        yield _make_item(file, number if several else None, digest, waiting)
    if error:
        yield Item(file, number + 1 if several else None, digest, None, printable(error))


def _make_item(file: InputFile, number: int | None, digest: str, frame: Frame) -> Item:
    try:
        refuse_flat(frame.gray)
    except InputError as problem:
        return Item(file, number, digest, None, printable(f"cannot use {file.path}: {problem}"))
    return Item(file, number, digest, frame, "")


def find_inputs(inputs: Sequence[str], leave_out: Path) -> list[InputFile]:
    """Find the files that files, folders and patterns mean, in natural order, each once.

    In folders, files with other suffixes than those of images are skipped, unless they are DICOM files; those
    that may hold images are counted in a warning.
    BUSI's annotations (``x_mask.png`` beside ``x.png``) are skipped everywhere.

    Args:
        inputs: As typed.
        leave_out: A folder whose files are not taken: where the results go.

    Raises:
        InputError: If one of them is missing or empty, means no image, or is a folder that cannot be listed.
    """
    found: dict[Path, tuple[Path, Path]] = {}  # resolved -> path, and name below what was typed
    kept_out = real(leave_out)
    unread: list[Path] = []
    for text in inputs:
        if not text.strip():
            raise InputError("one of the inputs is empty: give files, folders, or patterns")
        typed = expand(text)
        # Path.glob takes no absolute patterns.
        matches = [typed] if os.path.lexists(typed) else [*map(Path, glob.glob(str(typed), recursive=True))]  # noqa: PTH207
        inside = [pair for match in sorted(matches, key=natural) for pair in files_of(match, unread)]
        taken = [pair for pair in inside if kept_out not in real(pair[0]).parents]
        if inside and not taken:
            raise InputError(f"{typed} lies in the folder of the results, {leave_out}: give another --output")
        if not taken:
            if not matches:
                why = "matches no file" if glob.has_magic(text) else "does not exist"
            elif is_annotation(typed):
                why = "is named as an annotation of the image beside it, and those are skipped"
            else:
                why = f"has no images{f' ({told})' if (told := tell_unread(unread)) else ''}"
            raise InputError(
                f"{typed} {why}: give PNG, JPEG, BMP, TIFF or DICOM files, folders of them, or patterns"
            )
        for path, name in taken:
            found.setdefault(real(path), (path.absolute(), name))
    if unread:
        log.warning("Passed over %s. Save them as PNG, if they are images", tell_unread(unread))
    names = unique_names([name for _, name in found.values()])
    return [InputFile(name, path) for name, (path, _) in zip(names, found.values(), strict=True)]


def tell_unread(unread: Sequence[Path]) -> str:
    """How many files may hold images and are not read, and the first ones; empty if there are none."""
    names = [printable(path.name) for path in unread]
    return f"{len(names)} files of a kind that is not read: {list_some(names, 3)}" if names else ""


def files_of(match: Path, unread: list[Path]) -> list[tuple[Path, Path]]:
    """The images that a file or folder means, each with its name below the folder.

    Links are followed; one that leads nowhere counts as an image, so that it is not passed over in silence.

    Args:
        match: The file or folder.
        unread: Grows by the files of the folder that may hold images, and are of a kind that is not read.

    Raises:
        InputError: If a folder cannot be listed.
    """
    if not match.is_dir():
        if match.exists() and not match.is_file():
            return []
        return [] if is_annotation(match) else [(match, Path(match.name))]

    def stop(error: OSError) -> None:
        raise InputError(f"cannot list {error.filename}: {error.strerror}") from error

    found: list[Path] = []
    for folder, _, names in walk(match, stop):
        images = [name for name in names if is_image(folder / name)]
        masks = annotations(images)
        found += [folder / name for name in images if name not in masks]
        others = (Path(name) for name in names if not name.startswith("."))
        unread += [folder / path for path in others if path.suffix.lower() in UNREAD_SUFFIXES]
    return [(path, path.relative_to(match)) for path in sorted(found, key=natural)]


def is_annotation(path: Path) -> bool:
    """Whether a file is an annotation in the manner of BUSI, with its image beside it."""
    stem = strip_suffix(path.name)
    image = MASK_STEM.sub("", stem)
    try:
        return image != stem and any(
            strip_suffix(name).casefold() == image.casefold() and is_image(path.parent / name)
            for name in list_files(path.parent)
        )
    except InputError:
        return False


def unique_names(names: Sequence[Path]) -> list[str]:
    """Names without suffix where that is enough to tell them apart, else with it, else numbered.

    The names become files: ``<name>.png`` and ``<name>.dcm``, or ``<name> [2].png`` of the second image of a
    file. So case does not tell apart, and no name leads to a file or folder of another one. What cannot be
    printed becomes ``_``, and long names are cut.
    """
    whole = ["/".join(shorten(printable(part, "_")) for part in name.parts) for name in names]
    short = [strip_suffix(name) for name in whole]
    counts = Counter(map(_key, short))
    known = {*counts, *map(_key, whole)}
    folders = {_key(folder.as_posix()) for name in whole for folder in Path(name).parents}
    images = [folder[:-4] for folder in folders if folder.endswith((".png", ".dcm"))]
    blocked = {*images, *(NUMBER.sub("", name) for name in images)}

    def is_free(key: str) -> bool:
        first = NUMBER.sub("", key)
        return key not in blocked and (first == key or first not in known)

    given: list[str] = []
    used: set[str] = set()
    for name, stem in zip(whole, short, strict=True):
        candidate, number = stem, 1
        if counts[_key(stem)] > 1 or not is_free(_key(stem)):
            candidate = name
            while (key := _key(candidate)) in used or key in counts or not is_free(key):
                number += 1
                candidate = f"{name} ({number})"
        used.add(_key(candidate))
        given.append(candidate)
    return given


def _key(name: str) -> str:
    """Equal for names that are one on some file system."""
    return unicodedata.normalize("NFC", name).casefold()
