"""Files of other people: listed, and read within limits."""

import bz2
import gzip
import io
import json
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from busi.core import InputError, is_file, is_there, printable, walk
from busi.data import natural

MAX_TEXT = 1_000_000_000
"""Bytes of a JSON or XML file."""
MAX_UNPACKED = 200_000_000
"""Bytes of the image or mask of one compressed file."""
PACKED: Mapping[bytes, Callable[[io.BytesIO], Any]] = {
    b"\x1f\x8b": lambda file: gzip.GzipFile(fileobj=file),
    b"BZ": bz2.BZ2File,
}
"""How compressed files begin, and what opens them."""


def list_all(folder: Path) -> list[Path]:
    """All files below a folder, in natural order, without hidden ones and those of file managers.

    Links are followed, those to folders too. What is neither a file nor a folder, as a pipe or a link to one,
    would be waited for: it is left out.

    Raises:
        InputError: If the folder cannot be listed.
    """

    def refuse(error: OSError) -> None:
        raise InputError(f"cannot list {error.filename}: {error.strerror}") from error

    found: list[Path] = []
    for place, folders, names in walk(folder, refuse):
        folders[:] = [name for name in folders if not name.startswith((".", "__MACOSX"))]
        found += [place / name for name in names if not name.startswith(".")]
    return sorted((path for path in found if is_file(path) or not is_there(path)), key=natural)


class OtherKind(InputError):
    """A file that is not of the format that is read, and not a damaged one of it either."""


def read_json(path: Path) -> dict[str, Any]:
    """The object that a JSON file holds.

    Raises:
        InputError: If it cannot be read, is too large or damaged.
        OtherKind: If it is no object.
    """
    found = read_json_value(path)
    if not isinstance(found, dict):
        raise OtherKind("JSON of another kind")
    return found


def read_json_value(path: Path) -> Any:
    """Whatever a JSON file holds.

    Raises:
        InputError: If it cannot be read, is too large, or damaged.
    """
    try:
        if path.stat().st_size > MAX_TEXT:
            raise InputError(f"file of over {MAX_TEXT // 10**6} MB")
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise InputError(f"file that cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise InputError("damaged JSON") from error


def unpack_bounded(content: bytes) -> bytes:
    """Unpack gzip or bzip2, up to a limit; what is not compressed stays as it is.

    Raises:
        InputError: If it is damaged, cut off, or unpacks to more.
    """
    kind = PACKED.get(content[:2])
    if kind is None:
        return content
    try:
        with kind(io.BytesIO(content)) as file:
            unpacked: bytes = file.read(MAX_UNPACKED + 1)
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise InputError("damaged or truncated file") from error
    if len(unpacked) > MAX_UNPACKED:
        raise InputError(f"file that unpacks to over {MAX_UNPACKED // 10**6} MB")
    return unpacked


def read_bytes(path: Path) -> bytes:
    """The bytes of a file of one image, unpacked.

    Raises:
        InputError: If it cannot be read, is damaged, or too large.
    """
    return unpack_bounded(read_packed(path))


def read_packed(path: Path) -> bytes:
    """The bytes of a file of one image as they are stored.

    Raises:
        InputError: If it cannot be read, or is too large.
    """
    try:
        if path.stat().st_size > MAX_UNPACKED:
            raise InputError(f"file of over {MAX_UNPACKED // 10**6} MB")
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"file that cannot be read ({error.strerror})") from error


def leads_out(name: str) -> bool:
    """Whether the name of a file, with ``/``, leads out of the folder that it is in."""
    return name.startswith("/") or ".." in name.split("/") or name[1:2] == ":" or "\0" in name


def find_beside(path: Path, name: str) -> Path:
    """The file with the data of a header.

    Raises:
        InputError: If it is not one file in the same folder.
    """
    plain = name.removeprefix("./")
    beside = path.parent / plain
    if leads_out(plain) or "/" in plain or not beside.is_file():
        shown = printable(name.split("\n")[0])[:60]
        raise InputError(f"header whose data is not a file beside it ({shown}): save both as one file")
    return beside
