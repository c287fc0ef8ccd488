"""Locks that keep processes out of a folder."""

import contextlib
import errno
import logging
from collections.abc import Iterator
from pathlib import Path

try:
    import fcntl
except ModuleNotFoundError:
    raise SystemExit("error: commands of busi run on Linux and macOS; on Windows use WSL") from None

from busi.core.files import LOCK, make_folder, writing_to
from busi.core.types import InputError

log = logging.getLogger(__name__)

NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)
"""What file systems say that have no locks."""


@contextlib.contextmanager
def hold(folder: Path, name: str = LOCK, wait: bool = False) -> Iterator[None]:
    """Keep other processes out of a folder, which is made; a process that dies lets go of it.

    Args:
        folder: To be held.
        name: Of the lock there, which ends with `busi.core.files.LOCK`: processes that use other ones do not
            keep each other out.
        wait: For a process that is in it.

    Raises:
        InputError: If another process is in it and shall not be waited for, or it cannot be written.
    """
    with writing_to(folder):
        make_folder(folder)
        file = (folder / name).open("w")
    with file:
        try:
            # Not flock: loader processes would inherit that lock, and outlive a killed run by seconds.
            fcntl.lockf(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except (BlockingIOError, PermissionError):
            raise InputError(f"{folder} is in use: another process is still writing to it") from None
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise InputError(f"cannot lock {folder}: {error.strerror}. Give another folder") from error
            log.warning(
                "The file system of %s has no locks (%s): start one process at a time there",
                folder,
                error.strerror,
            )
        yield
