"""ZIP archives of annotations: told from workbooks, and unpacked within limits and within a folder."""

import lzma
import shutil
import stat
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from busi.core import InputError, is_file, printable
from busi.formats.files import leads_out

MAX_ARCHIVE = 8_000_000_000
MAX_MEMBERS = 200_000
"""Of an archive, unpacked."""

DAMAGED = (
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, RuntimeError, NotImplementedError),
    ValueError,
)
"""What `zipfile` raises for damaged or encrypted archives."""


def unpack_archive(path: Path, folder: Path) -> None:
    """Unpack a ZIP file.

    Raises:
        InputError: If it is damaged, encrypted or too large, holds a link, or names a place outside of it.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = {one: one.filename.replace("\\", "/") for one in archive.infolist()}
            members = {one: name for one, name in members.items() if not name.endswith("/")}
            if sum(one.file_size for one in members) > MAX_ARCHIVE or len(members) > MAX_MEMBERS:
                raise InputError(
                    f"{path} unpacks to over {MAX_ARCHIVE // 10**9} GB or {MAX_MEMBERS} files: unpack it "
                    "yourself, and give the folder"
                )
            for one, name in members.items():
                if leads_out(name) or stat.S_ISLNK(one.external_attr >> 16):
                    raise InputError(f"{path} names a place outside of it, or a link: {printable(name)}")
                target = folder / name
                target.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(one) as packed, target.open("xb") as file:
                    shutil.copyfileobj(packed, file)
    except DAMAGED as error:
        raise InputError(f"cannot unpack {path}: it is damaged or encrypted ({error})") from error
    except FileExistsError as error:
        raise InputError(f"{path} holds a file twice: {Path(error.filename).name}") from error


def is_archive(path: Path) -> bool:
    """Whether a file is a ZIP archive, and no workbook."""
    return is_file(path) and zipfile.is_zipfile(path) and path.suffix.lower() not in (".xlsx", ".xlsm")


@contextmanager
def speaking_of(archive: Path, place: Path) -> Iterator[None]:
    """Let an error name an archive, not the place where it is unpacked.

    Raises:
        InputError: Any that is raised.
    """
    try:
        yield
    except InputError as error:
        raise InputError(str(error).replace(str(place), str(archive))) from error


def find_top(folder: Path) -> Path:
    """The folder that an archive was made of."""
    while len(inner := [one for one in folder.iterdir() if not one.name.startswith((".", "__MACOSX"))]) == 1:
        if not inner[0].is_dir():
            break
        folder = inner[0]
    return folder
