"""What all readers of data share: problems, names, and which file annotates which."""

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from busi.core import InputError, Record, list_some
from busi.data.files import is_image, strip_suffix

UNREAD_SUFFIXES = frozenset(
    {".avif", ".gif", ".heic", ".heif", ".jp2", ".mha", ".mhd", ".nii", ".gz", ".npy", ".nhdr", ".nrrd"}
    | {".pgm", ".ppm", ".webp", ".zip"}
)
"""Of files that may hold images, which training and prediction do not read."""

MASK_STEM = re.compile(r"[_ -]mask([_ -]?\d+| ?\(\d+\))?$", re.IGNORECASE)
"""What the stem of an annotation ends with: ``_mask`` or ``_mask_1`` in BUSI, and what is like it."""
MAX_BYTES = 200
"""Of a name that becomes a file, so that there is room for a number and a suffix."""

ROW = re.compile(r"(.*) \(row (\d+)\)", re.DOTALL)
BUSI_URL = "https://www.kaggle.com/datasets/aryashah2k/breast-ultrasound-images-dataset"


@dataclass(frozen=True, slots=True)
class Problem:
    """One image that cannot be used.

    Attributes:
        id: The image.
        kind: What is wrong, in words that complete "3 images: ...".
        file: The file at fault.
    """

    id: str
    kind: str
    file: str


Reading = tuple[list[Record], list[Problem]]
"""What a reader returns: the usable records in natural order of their ids, and the rest."""


class WrongLayout(InputError):
    """A folder that is not in the layout of a reader; the message says what the reader looked for.

    A reader raises it before it reads anything, so that the layout of a folder can be found by trying.

    Args:
        text: The message.
        looked_for: The files and folders that the reader looked for, for a list of readers.
    """

    def __init__(self, text: str, looked_for: str) -> None:
        super().__init__(text)
        self.looked_for = looked_for


def annotations(names: Iterable[str]) -> dict[str, str]:
    """The annotations among the image files of a folder: name of the mask -> name of its image.

    Neither case nor the suffix need be the same; where several images would do, the likest one is taken.
    """
    stems = {name: strip_suffix(name) for name in names}
    images: dict[str, list[str]] = {}
    for name, stem in stems.items():
        if not MASK_STEM.search(stem):
            images.setdefault(stem.casefold(), []).append(name)
    found = {}
    for name, stem in stems.items():
        image, suffix = MASK_STEM.sub("", stem), Path(name).suffix
        if image != stem and (near := images.get(image.casefold())):
            # Same spelling before same format.
            found[name] = min(near, key=lambda x: (stems[x] != image, Path(x).suffix != suffix, x))
    return found


def list_files(folder: Path) -> list[str]:
    """Names of what lies in a folder, without hidden files.

    Raises:
        InputError: If it cannot be listed.
    """
    try:
        return [path.name for path in folder.iterdir() if not path.name.startswith(".")]
    except OSError as error:
        raise InputError(f"cannot list {folder}: {error.strerror}") from error


def has_images(folder: Path) -> bool:
    """Whether images lie in a folder; one that cannot be listed has none."""
    try:
        return any(is_image(folder / name) for name in list_files(folder))
    except InputError:
        return False


def how_to_get_data() -> str:
    """One sentence on where data comes from."""
    return (
        "Give the folder with data.root=/path/to/Dataset_BUSI_with_GT (or --data, or the environment "
        f"variable BUSI_ROOT), download it from {BUSI_URL}, or train on data=synthetic"
    )


def check_ids(ids: Iterable[str]) -> None:
    """Raise `InputError` if two ids would give the same name of a file."""
    seen: dict[str, str] = {}
    for one in ids:
        name = file_name(one).lower()
        if name in seen:
            raise InputError(
                f"two images have the id '{one}' ('{seen[name]}'): ids must differ in more than case, suffix "
                "and odd signs. Rename one, or give ids in a manifest (one row an image)"
            )
        seen[name] = one


def file_name(record_id: str) -> str:
    """A name for files about an image: its id, with separators and odd characters replaced."""
    return shorten(re.sub(r"[^\w ().+-]", "_", record_id))


def shorten(name: str) -> str:
    """Cut a name that is too long for a file, and tell it apart by a fingerprint of the whole one."""
    content = name.encode(errors="surrogateescape")
    if len(content) <= MAX_BYTES:
        return name
    suffix = Path(name).suffix if len(Path(name).suffix) < 8 else ""
    head = content[: MAX_BYTES - 30].decode(errors="ignore")
    return f"{head}~{hashlib.sha256(content).hexdigest()[:8]}{suffix}"


def raise_problems(problems: Sequence[Problem]) -> None:
    """Raise one `InputError` that lists the problems, if there are any; see `list_problems`."""
    if problems:
        raise InputError(
            f"{list_problems(problems)}. Correct these files or rows, or go on without them with "
            "data.on_bad=skip"
        )


def list_problems(problems: Sequence[Problem]) -> str:
    """One line: the first ten kinds of problems, how many there are of each, and the first ten files."""
    files: dict[str, list[str]] = {}
    for problem in sorted(problems, key=lambda problem: problem.kind):
        files.setdefault(problem.kind, []).append(problem.file)
    parts = [
        f"{len(found)} x {kind}: {list_some(join_rows(found))}" for kind, found in list(files.items())[:10]
    ]
    return "; ".join(parts) + f"; and {len(files) - 10} more kinds" * (len(files) > 10)


def join_rows(files: Sequence[str]) -> list[str]:
    """Join what is the same in several rows of a table: ``cyst (row 2)``, ... to ``cyst (rows 2, 5, 7)``."""
    rows: dict[str, list[str]] = {}
    for text in files:
        found = ROW.fullmatch(text)
        rows.setdefault(found[1] if found else text, []).extend([found[2]] if found else [])
    return [
        f"{text} (row{'s' * (len(numbers) > 1)} {list_some(numbers, 3)})" if numbers else text
        for text, numbers in rows.items()
    ]


def natural(text: str | Path) -> list[tuple[int, str]]:
    """Sort key that puts ``benign (2)`` before ``benign (10)``."""
    return [(int(part), "") if part.isdecimal() else (0, part) for part in re.split(r"(\d+)", str(text))]
