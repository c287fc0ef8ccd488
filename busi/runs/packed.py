"""Run folders and bundles that somebody packed to send them."""

import contextlib
import tarfile
import zipfile
import zlib
from pathlib import Path


def holds_folder(path: Path) -> bool:
    """Whether a file is a ZIP or TAR archive that a run folder or a bundle was packed into."""
    names: list[str] = []
    with contextlib.suppress(OSError, EOFError, zipfile.BadZipFile, tarfile.TarError, zlib.error):
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                names = archive.namelist()
        elif tarfile.is_tarfile(path):
            with tarfile.open(path) as packed:
                names = packed.getnames()
    return any(Path(name).name in ("provenance.json", "model.json") for name in names)
