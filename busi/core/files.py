"""Files written whole or not at all, flushed to the disk, and the places that the project uses."""

import contextlib
import errno
import hashlib
import json
import logging
import os
import secrets
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from busi.core.types import InputError

log = logging.getLogger(__name__)

CANNOT_FLUSH = (errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EBADF)
"""What file systems say that flush nothing, or no folders."""
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""What file systems say that are full."""
LOCK = ".lock"
"""What the names of lock files end with; `flush_all` passes over them."""
EMPTY = "is empty: give a path"
"""Said of an empty path, as of a shell variable that nobody set: it would be the current folder."""


def conf_dir() -> Path:
    """The folder of config groups: beside the package in a checkout, inside it in a wheel."""
    package = Path(__file__).resolve().parents[1]
    beside = package.parent / "conf"
    return beside if (beside / "train.yaml").is_file() else package / "conf"


def write_whole(path: Path, write: Callable[[Path], object], durable: bool = True) -> Path:
    """Call `write` on a temporary file beside `path`, flush it to the disk, then move it there in one step.

    A reader, a second writer, and whoever looks after a power cut, sees the old file or the new one, never a
    part. Others may read it as the user's umask says.

    Args:
        path: The file.
        write: Writes a file at the path that it is given.
        durable: Whether it is flushed. Of many files it is faster to `flush` them all once they are written,
            by whoever notices if a power cut came before.
    """
    make_folder(path.parent)
    part = name_part(path)
    os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
    try:
        write(part)
        if durable:
            flush(part)
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    if durable:
        flush(path.parent)
    return path


def write_text(path: Path, text: str) -> Path:
    """Write text in UTF-8, whatever the locale says, whole or not at all."""
    return write_whole(path, lambda part: part.write_text(text, encoding="utf-8"))


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, unless they are there, and flush their names to the disk."""
    if folder.is_dir():
        return
    new = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for path in new:
        flush(path.parent)


def flush(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk and outlast a power cut."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except PermissionError:  # a folder that may be written to and not listed
        return
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in CANNOT_FLUSH:
            raise
    finally:
        os.close(handle)


def flush_all(folder: Path) -> None:
    """Flush all files and folders below a folder, whoever wrote them, and the names of those above it.

    Lock files are left alone: a process that closes one lets go of the lock that it holds there.
    """
    found = (path for path in folder.rglob("*") if not path.name.endswith(LOCK))
    below = [path for path in found if path.is_file() or path.is_dir()]
    for path in (*below, folder, *folder.resolve().parents):
        flush(path)


def name_part(path: Path) -> Path:
    """A free name beside `path`; a dot in front says that it is no finished file."""
    suffix = path.suffix if len(path.suffix) < 10 else ""
    return path.with_name(f".{secrets.token_hex(8)}{suffix}")


def write_json(path: Path, value: Any) -> Path:
    """Write `value` as readable JSON, whole or not at all."""
    return write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def _read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def read_kept(path: Path, read: Callable[[Path], Any] = _read_json) -> Any:
    """Read what was kept to save time; None if it is missing or damaged, and has to be made again.

    Args:
        path: Of the file.
        read: Reads it; JSON unless something else is given.
    """
    try:
        return read(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, EOFError) as error:
        log.warning("Making %s again, it is damaged (%s)", path, error)
        return None


def note_use(path: Path) -> None:
    """Note that a kept file was read: file systems may not, and what was long unused is deleted first."""
    with contextlib.suppress(OSError):  # the cache of another user
        os.utime(path, ns=(time.time_ns(), path.stat().st_mtime_ns))


def file_hash(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_writable(folder: Path) -> None:
    """Make a folder, and a file in it that is gone again.

    Raises:
        InputError: If that is not possible.
    """
    with writing_to(folder):
        make_folder(folder)
        with tempfile.TemporaryFile(dir=folder):
            pass


def default_cache_dir() -> Path:
    """Where decoded data is kept unless somebody says otherwise: ``$BUSI_CACHE``, or ``~/.cache/busi``."""
    return expand(os.environ.get("BUSI_CACHE") or "~/.cache/busi")


def expand(path: str | Path) -> Path:
    """Replace ``~`` at the start of a path by the home folder.

    Raises:
        InputError: If the path is empty, or nobody knows that folder, as in a container for a user without an
            account.
    """
    if not str(path).strip():
        raise InputError(f"the name of a file or a folder {EMPTY}")
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise InputError(
            f"{path}: there is no such home folder. Give a whole path instead of ~; for the cache set "
            "BUSI_CACHE=FOLDER"
        ) from error


@contextlib.contextmanager
def writing_to(folder: Path) -> Iterator[None]:
    """Say in one line that a folder cannot be written.

    Raises:
        InputError: In place of the operating system's error.
    """
    try:
        yield
    except OSError as error:
        if error.errno is None:  # a library's own
            raise
        raise InputError(f"cannot write to {folder}: {error.strerror}. Give another folder") from error


@contextlib.contextmanager
def writing_cache(folder: Path) -> Iterator[None]:
    """Say in one line that a folder of the cache is full or cannot be written.

    Raises:
        InputError: In place of the operating system's error.
    """
    try:
        yield
    except OSError as error:
        if error.errno is None:  # a library's own
            raise
        another = "give another cache: cache_dir=FOLDER, --cache FOLDER, or BUSI_CACHE=FOLDER"
        if error.errno in FULL:
            raise InputError(
                f"cannot write any more: {error.strerror}. Make room in {folder}, or {another}"
            ) from error
        raise InputError(
            f"cannot write to {folder}: {error.strerror}. Make that possible, or {another}"
        ) from error


@contextlib.contextmanager
def need_room(folder: Path) -> Iterator[None]:
    """Explain what a full or read-only disk does to a run in `folder`.

    Raises:
        InputError: In place of the operating system's error.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in (*FULL, errno.EROFS):
            raise
        raise InputError(
            f"cannot write any more: {error.strerror}. Make room, and go on with resume={folder}, or the "
            "same command of a sweep"
        ) from error
