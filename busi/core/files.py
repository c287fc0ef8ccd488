"""Files written whole or not at all, and the places that the project uses."""

import contextlib
import errno
import fcntl
import hashlib
import json
import logging
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from busi.core.types import InputError

log = logging.getLogger(__name__)


def conf_dir() -> Path:
    """The folder of config groups: beside the package in a checkout, inside it in a wheel."""
    package = Path(__file__).resolve().parents[1]
    beside = package.parent / "conf"
    return beside if (beside / "train.yaml").is_file() else package / "conf"


def write_whole(path: Path, write: Callable[[Path], object]) -> Path:
    """Call `write` on a temporary file beside `path`, then move it there in one step.

    A reader, or a second writer, sees the old file or the new one, never a part.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.stem}-", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        write(temporary)
        temporary.chmod(0o644)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def write_json(path: Path, value: Any) -> Path:
    """Write `value` as readable JSON, whole or not at all."""
    text = json.dumps(value, indent=2, allow_nan=False) + "\n"
    return write_whole(path, lambda part: part.write_text(text))


def _read_json(path: Path) -> Any:
    return json.loads(path.read_text())


def read_kept(path: Path, read: Callable[[Path], Any] = _read_json) -> Any:
    """Read what was kept to save time; None if it is missing or damaged, and has to be made again.

    Args:
        path: Of the file.
        read: Reads it; JSON unless something else is given.
    """
    try:
        return read(path)
    except FileNotFoundError:
        return None
    except (ValueError, EOFError) as error:
        log.warning("Making %s again, it is damaged (%s)", path, error)
        return None


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
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass


def default_cache_dir() -> Path:
    """Where decoded data is kept unless somebody says otherwise: ``$BUSI_CACHE``, or ``~/.cache/busi``."""
    return Path(os.environ.get("BUSI_CACHE") or "~/.cache/busi").expanduser()


@contextlib.contextmanager
def writing_to(folder: Path) -> Iterator[None]:
    """Say in one line that a folder cannot be written.

    Raises:
        InputError: In place of the operating system's error.
    """
    try:
        yield
    except OSError as error:
        raise InputError(f"cannot write to {folder}: {error.strerror}. Give another folder") from error


@contextlib.contextmanager
def need_room(folder: Path) -> Iterator[None]:
    """Explain what a full or read-only disk does to a run in `folder`.

    Raises:
        InputError: In place of the operating system's error.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS):
            raise
        raise InputError(
            f"cannot write any more: {error.strerror}. Make room, and go on with resume={folder}, or the "
            "same command of a sweep"
        ) from error


@contextlib.contextmanager
def hold(folder: Path, name: str = ".lock", wait: bool = False) -> Iterator[None]:
    """Keep other processes out of a folder, which is made; a process that dies lets go of it.

    Args:
        folder: To be held.
        name: Of the lock there: processes that use other ones do not keep each other out.
        wait: For a process that is in it.

    Raises:
        InputError: If another process is in it and shall not be waited for, or it cannot be written.
    """
    with writing_to(folder):
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / name).open("w")
    with file:
        try:
            # Not flock: loader processes would inherit that lock, and outlive a killed run by seconds.
            fcntl.lockf(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except (BlockingIOError, PermissionError):
            raise InputError(f"{folder} is in use: another process is still writing to it") from None
        yield
