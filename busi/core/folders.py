"""Folders: written whole or not at all, kept from being overwritten, and walked through with their links."""

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from busi.core.files import flush, flush_all, make_folder, name_part, writing_to
from busi.core.types import InputError


@contextlib.contextmanager
def whole_folder(folder: Path, replace: bool = False) -> Iterator[Path]:
    """A temporary folder beside `folder`, which becomes it in one step if nothing is raised.

    Args:
        folder: The folder.
        replace: Whether it takes the place of what is there, which stays until the new one is whole.

    Raises:
        OSError: If `folder` exists by then, and is not empty, and is not to be replaced.
    """
    folder = real(folder) if replace else folder  # a link stays, and leads to the new one
    make_folder(folder.parent)
    part = name_part(folder)
    part.mkdir()
    try:
        yield part
        flush_all(part)
        if replace and folder.exists():
            _exchange(part, folder)
        else:
            part.rename(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    flush(folder.parent)


def _exchange(part: Path, folder: Path) -> None:
    """Put a folder in the place of another one, which is removed last; if that fails, it comes back."""
    old = name_part(folder)
    folder.rename(old)
    try:
        part.rename(folder)
    except BaseException:
        old.rename(folder)
        raise
    shutil.rmtree(old, ignore_errors=True)


def check_new(folder: Path) -> None:
    """Make what a new folder lies in; raise `InputError` if it is there, and not empty."""
    with writing_to(folder):
        if holds_something(folder):
            raise InputError(f"{folder} is not empty: give a new folder with --output, or move it away")
        make_folder(folder.absolute().parent)


def check_overwritten(folder: Path, names: Sequence[str], what: str) -> None:
    """Raise `InputError` if something is there that a command would overwrite, and did not write.

    Args:
        folder: Where the results go; it holds none of an earlier call.
        names: Of the files and folders that the command writes there.
        what: What the command makes, in words.
    """
    for name in names:
        if holds_something(folder / name):
            raise InputError(f"{folder} holds {name}, which no {what} left there: give another folder")


def holds_something(path: Path) -> bool:
    """Whether there is such a file, or such a folder with something in it."""
    return any(path.iterdir()) if path.is_dir() else os.path.lexists(path)


def walk(
    top: Path, stop: Callable[[OSError], object] | None = None
) -> Iterator[tuple[Path, list[str], list[str]]]:
    """Each folder from `top` on, with the names of the folders and the files in it, as `os.walk` gives them.

    Links are followed. A folder to which several ways lead comes once, by its own path before that of a link,
    and a link that leads back is no loop. What is taken from the list of folders is not walked through.

    Args:
        top: The first folder.
        stop: Called with what keeps a folder from being listed, which is passed over else.
    """
    seen = set(real(top).parents)  # a link may lead back there
    starts = [top]
    while starts:
        for place, folders, names in os.walk(starts.pop(0), onerror=stop):
            folder = Path(place)
            if real(folder) in seen:
                folders.clear()
                continue
            seen.add(real(folder))
            folders.sort()  # which of several ways is taken must not depend on the disk
            yield folder, folders, names
            starts += [path for name in folders if (path := folder / name).is_symlink()]


def real(path: Path) -> Path:
    """Where links lead; unlike `Path.resolve` also for a link that leads to itself."""
    return Path(os.path.realpath(path))
