"""Any file that holds images, as gray frames; and how such files are found.

PNG, JPEG, BMP and TIFF (every page) by Pillow, DICOM by `busi.data.dicom`. The content decides, not the name.
"""

import glob
import struct
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from PIL import Image, ImageSequence, UnidentifiedImageError

from busi.core import InputError, file_hash
from busi.data.dicom import MAX_PIXELS, Frame, read_dicom
from busi.data.images import to_gray
from busi.data.records import MASK_STEM, SUFFIXES, natural

FORMATS = ("PNG", "JPEG", "BMP", "TIFF")
DICOM_SUFFIXES = frozenset({".dcm", ".dicom"})

# Larger images are refused here, with a lower limit.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
# A damaged TIFF file is read or refused; what is wrong with its header does not matter.
warnings.filterwarnings("ignore", category=UserWarning, module="PIL.TiffImagePlugin")


class Source(NamedTuple):
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
        source: Its file.
        number: Of the image in its file, from 1; None if that holds one.
        sha256: Of the file, 16 hexadecimal digits; empty if it cannot be read.
        frame: None if there is an error.
        error: What to tell the user, or empty.
    """

    source: Source
    number: int | None
    sha256: str
    frame: Frame | None
    error: str

    @property
    def id(self) -> str:
        """Name of the image, and of what is written about it."""
        return self.source.id if self.number is None else f"{self.source.id} [{self.number}]"


def read_frames(path: Path) -> Iterator[Frame]:
    """Decode the images of a file, one at a time.

    Raises:
        InputError: If the file is missing, damaged, no image, or has one of over 50 megapixels.
    """
    if is_dicom(path) or path.suffix.lower() in DICOM_SUFFIXES:
        yield from read_dicom(path)
        return
    try:
        with Image.open(path, formats=FORMATS) as image:
            pages = ImageSequence.Iterator(image) if image.format == "TIFF" else [image]
            for page in pages:
                if page.width * page.height > MAX_PIXELS:
                    raise InputError(
                        f"{path} has {page.width} x {page.height} pixels: give at most 50 megapixels"
                    )
                yield Frame(to_gray(page), None)
    except InputError:
        raise
    except Image.DecompressionBombError as error:
        raise InputError(f"{path} has far over 50 megapixels: give a smaller image") from error
    except (OSError, SyntaxError, ValueError, EOFError, TypeError, KeyError, struct.error) as error:
        reason = "no image" if isinstance(error, UnidentifiedImageError) else str(error)
        raise InputError(
            f"cannot read {path}: {reason}. Give a whole PNG, JPEG, BMP, TIFF or DICOM file"
        ) from error


def read_items(source: Source) -> Iterator[Item]:
    """Read the images of a file one at a time; the last item says what was wrong with it, if anything."""
    digest, number, waiting, error = "", 0, None, ""
    try:
        digest = file_hash(source.path)[:16]
        for frame in read_frames(source.path):
            if waiting is not None:
                yield Item(source, number, digest, waiting, "")
            number, waiting = number + 1, frame
    except (InputError, OSError) as problem:
        error = str(problem)
    several = number > 1 or (error and number)
    if waiting is not None:
        yield Item(source, number if several else None, digest, waiting, "")
    if error:
        yield Item(source, number + 1 if several else None, digest, None, error)


def is_dicom(path: Path) -> bool:
    """Whether a file begins as DICOM files do."""
    try:
        with path.open("rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:
        return False


def find_sources(inputs: Sequence[str], leave_out: Path) -> list[Source]:
    """Find the files that files, folders and patterns mean, in natural order, each once.

    In folders, files with other suffixes than those of images are skipped, except DICOM files without a
    suffix. BUSI's annotations (``x_mask.png`` beside ``x.png``) are skipped everywhere.

    Args:
        inputs: As typed.
        leave_out: A folder whose files are not taken: where the results go.

    Raises:
        InputError: If one of them is missing, or means no image.
    """
    found: dict[Path, Path] = {}  # resolved -> name below what was typed
    kept_out = leave_out.resolve()
    for text in inputs:
        typed = Path(text).expanduser()
        # Path.glob takes no absolute patterns.
        matches = [typed] if typed.exists() else [*map(Path, glob.glob(str(typed), recursive=True))]  # noqa: PTH207
        taken = []
        for match in sorted(matches, key=natural):
            inside = sorted(match.rglob("*"), key=natural) if match.is_dir() else [match]
            top = match if match.is_dir() else match.parent
            taken += [
                (path, path.relative_to(top))
                for path in inside
                if path.is_file()
                and (not match.is_dir() or _looks_like_image(path))
                and kept_out not in path.resolve().parents
                and not _is_annotation(path)
            ]
        if not taken:
            what = "has no images" if matches else "does not exist"
            raise InputError(
                f"{typed} {what}: give PNG, JPEG, BMP, TIFF or DICOM files, folders of them, or patterns"
            )
        for path, name in taken:
            found.setdefault(path.resolve(), name)
    return [Source(name, path) for name, path in zip(unique_names(list(found.values())), found, strict=True)]


def unique_names(names: Sequence[Path]) -> list[str]:
    """Names without suffix where that is enough to tell them apart, else with it, else numbered.

    Case does not tell apart: the names become files, on any file system.
    """
    stems = [name.with_suffix("").as_posix().lower() for name in names]
    given: list[str] = []
    used = set(stems)
    counts = Counter(stems)
    for name, stem in zip(names, stems, strict=True):
        if counts[stem] == 1:
            given.append(name.with_suffix("").as_posix())
            continue
        candidate, number = name.as_posix(), 2
        while candidate.lower() in used:
            candidate, number = f"{name.as_posix()} ({number})", number + 1
        used.add(candidate.lower())
        given.append(candidate)
    return given


def _looks_like_image(path: Path) -> bool:
    suffix = path.suffix.lower()
    if path.name.startswith("."):
        return False
    return suffix in SUFFIXES or suffix in DICOM_SUFFIXES or (not suffix and is_dicom(path))


def _is_annotation(path: Path) -> bool:
    stem = MASK_STEM.sub("", path.stem)
    return stem != path.stem and path.with_name(stem + path.suffix).exists()
