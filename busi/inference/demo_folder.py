"""Where a demo keeps its images while it runs."""

import contextlib
import fcntl
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

PREFIX = "busi-demo-"
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Signals that end a demo."""


@contextlib.contextmanager
def demo_folder() -> Iterator[Path]:
    """A folder for all temporary files of this process, which is removed at the end.

    First, the folders of demos that were killed are removed. A living demo holds a lock on its own.
    """
    remove_leftovers(Path(tempfile.gettempdir()))
    folder, held = _make_locked()
    earlier, tempfile.tempdir = tempfile.tempdir, str(folder)
    try:
        yield folder
    finally:
        tempfile.tempdir = earlier
        with _undisturbed():
            shutil.rmtree(folder, ignore_errors=True)
            os.close(held)


def remove_leftovers(place: Path) -> None:
    """Remove this user's demo folders in `place` that no process holds.

    Links are neither followed nor removed. What cannot be locked, e.g. on a file system without locks, stays.
    """
    for path in place.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):
            handle = _open_own(path)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(path, ignore_errors=True)
            finally:
                os.close(handle)


def _make_locked() -> tuple[Path, int]:
    """Make a folder and lock it. Another demo may take it for a leftover in between; then make a new one."""
    while True:
        path = Path(tempfile.mkdtemp(prefix=PREFIX))
        with contextlib.suppress(FileNotFoundError):
            handle = _open_own(path)
            with contextlib.suppress(OSError):  # no locks here; then nobody removes it either
                fcntl.flock(handle, fcntl.LOCK_EX)
            if path.is_dir():
                return path, handle
            os.close(handle)


def _open_own(path: Path) -> int:
    """Open a folder of this user, which is no link.

    Raises:
        OSError: If it is anything else.
    """
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    if os.fstat(handle).st_uid != os.getuid():  # root can open those of others
        os.close(handle)
        raise PermissionError(f"{path} is another user's")
    return handle


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Ignore a second signal: a closed terminal sends several."""
    earlier = {number: signal.signal(number, signal.SIG_IGN) for number in ENDING}
    try:
        yield
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)
