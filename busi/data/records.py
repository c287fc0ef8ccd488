"""The records of a folder in the layout of BUSI; `busi.data.manifest` reads any other data."""

import difflib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from busi.core import CLASSES, NORMAL, InputError, Record

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff"})

MASK_STEM = re.compile(r"_mask(_\d+)?$")
"""What the stem of an annotation ends with in BUSI."""

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


def read_busi(root: Path) -> Reading:
    """Read a folder in the layout of the BUSI release.

    Args:
        root: Folder with the folders ``normal``, ``benign`` and ``malignant``; beside each image
            ``x.png`` its masks ``x_mask.png``, ``x_mask_1.png`` and so on.

    Returns:
        Records and problems. A normal image has no mask files: its annotation is empty.

    Raises:
        InputError: If the folder is missing or empty, or a class folder is missing or misspelled.

    Source: Al-Dhabyani et al., "Dataset of breast ultrasound images", Data in Brief 28 (2020).
    """
    root = Path(root).expanduser()
    check_layout(root)
    records, problems = [], []
    for label, name in enumerate(CLASSES):
        masks_of = _masks(root / name)
        for image in sorted(_images(root / name), key=natural):
            masks = () if label == NORMAL else tuple(sorted(masks_of.get((image.stem, image.suffix), ())))
            if label != NORMAL and not masks:
                problems.append(Problem(image.stem, "lesion without a mask", image.name))
            else:
                records.append(Record(image.stem, image, masks, label))
    if not records and not problems:
        raise InputError(f"no images in {root}: its class folders are empty. {how_to_get_data()}")
    return unique(records), problems


def check_layout(root: Path) -> None:
    """Raise `InputError` unless `root` holds the three class folders and no other with images."""
    if not root.is_dir():
        raise InputError(f"no data at {root}. {how_to_get_data()}")
    inner = [path.name for path in root.iterdir() if path.is_dir()]
    missing = [name for name in CLASSES if name not in inner]
    strangers = [name for name in inner if name not in CLASSES and any(_images(root / name))]
    if len(missing) == len(CLASSES):
        below = [path.parent for path in root.glob("*/benign")]
        hint = f"did you mean data.root={below[0]}? " if below else ""
        raise InputError(f"{root} has none of the folders {', '.join(CLASSES)}: {hint}{how_to_get_data()}")
    for name in missing:
        close = difflib.get_close_matches(name, strangers, 1) or [x for x in inner if x.lower() == name]
        hint = f"rename the folder '{close[0]}'" if close else "make it (empty if the class has no images)"
        raise InputError(f"{root} has no folder '{name}': {hint}")
    if strangers:
        raise InputError(
            f"{root} has images in a folder that is no class: '{strangers[0]}'. "
            f"Classes are {', '.join(CLASSES)}: rename it or move it away"
        )


def how_to_get_data() -> str:
    """One sentence on where data comes from."""
    return (
        "Give the folder with data.root=/path/to/Dataset_BUSI_with_GT (or the environment variable "
        f"BUSI_ROOT), download it from {BUSI_URL}, or try synthetic data with data=synthetic"
    )


def unique(records: list[Record]) -> list[Record]:
    """Return `records`, or raise `InputError` if two of them would write the same file names."""
    seen: dict[str, str] = {}
    for record in records:
        name = file_name(record.id).lower()
        if name in seen:
            raise InputError(f"two images have the id '{record.id}' ('{seen[name]}'): ids must differ")
        seen[name] = record.id
    return records


def file_name(record_id: str) -> str:
    """A name for files about an image: its id, with separators and odd characters replaced."""
    return re.sub(r"[^\w ().+-]", "_", record_id)


def raise_problems(problems: Sequence[Problem], skip: str = "data.on_bad=skip") -> None:
    """Raise one `InputError` that counts the problems of each kind and lists the first ten of it.

    Args:
        problems: Nothing is raised if there are none.
        skip: What the user can type to go on without these files.
    """
    if not problems:
        return
    parts = []
    for kind in sorted({problem.kind for problem in problems}):
        files = [problem.file for problem in problems if problem.kind == kind]
        more = f" and {len(files) - 10} more" if len(files) > 10 else ""
        parts.append(f"{len(files)} x {kind}: {', '.join(files[:10])}{more}")
    raise InputError(f"{'; '.join(parts)}. Mend these files, or go on without them with {skip}")


def _images(folder: Path) -> Iterable[Path]:
    return (
        path
        for path in folder.iterdir()
        if path.suffix.lower() in SUFFIXES and not MASK_STEM.search(path.stem)
    )


def _masks(folder: Path) -> dict[tuple[str, str], list[Path]]:
    """Annotations by stem and suffix of their image; the folder is listed once."""
    found: dict[tuple[str, str], list[Path]] = {}
    for path in folder.iterdir():
        if MASK_STEM.search(path.stem):
            found.setdefault((MASK_STEM.sub("", path.stem), path.suffix), []).append(path)
    return found


def natural(path: Path) -> list[tuple[int, str]]:
    """Sort key that puts ``benign (2)`` before ``benign (10)``."""
    return [(int(part), "") if part.isdigit() else (0, part) for part in re.split(r"(\d+)", str(path))]
