"""Reading a data set: a function of a path that lists pictures, and the decoding of their files."""

import csv
import difflib
import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, UnidentifiedImageError

from busi.core import CLASSES, NORMAL, InputError, Record

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff"})

MASK_STEM = re.compile(r"_mask(_\d+)?$")
"""What the stem of an annotation ends with in BUSI."""

BUSI_URL = "https://www.kaggle.com/datasets/aryashah2k/breast-ultrasound-images-dataset"


@dataclass(frozen=True, slots=True)
class Problem:
    """One picture that cannot be used.

    Attributes:
        id: The picture.
        kind: What is wrong, in words that complete "3 pictures: ...".
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
        root: Folder with the folders ``normal``, ``benign`` and ``malignant``; beside each picture
            ``x.png`` its masks ``x_mask.png``, ``x_mask_1.png`` and so on.

    Returns:
        Records and problems. A normal picture has no mask files: its annotation is empty.

    Raises:
        InputError: If the folder is missing or empty, or a class folder is missing or misspelt.

    Source: Al-Dhabyani et al., "Dataset of breast ultrasound images", Data in Brief 28 (2020).
    """
    root = Path(root).expanduser()
    check_layout(root)
    records, problems = [], []
    for label, name in enumerate(CLASSES):
        masks_of = _masks(root / name)
        for image in sorted(_pictures(root / name), key=natural):
            masks = () if label == NORMAL else tuple(sorted(masks_of.get((image.stem, image.suffix), ())))
            if label != NORMAL and not masks:
                problems.append(Problem(image.stem, "lesion without a mask", image.name))
            else:
                records.append(Record(image.stem, image, masks, label))
    if not records and not problems:
        raise InputError(f"no pictures in {root}: its class folders are empty. {how_to_get_data()}")
    return unique(records), problems


def check_layout(root: Path) -> None:
    """Raise `InputError` unless `root` holds the three class folders and no other with pictures."""
    if not root.is_dir():
        raise InputError(f"no data at {root}. {how_to_get_data()}")
    inner = [path.name for path in root.iterdir() if path.is_dir()]
    missing = [name for name in CLASSES if name not in inner]
    strangers = [name for name in inner if name not in CLASSES and any(_pictures(root / name))]
    if len(missing) == len(CLASSES):
        below = [path.parent for path in root.glob("*/benign")]
        hint = f"did you mean data.root={below[0]}? " if below else ""
        raise InputError(f"{root} has none of the folders {', '.join(CLASSES)}: {hint}{how_to_get_data()}")
    for name in missing:
        close = difflib.get_close_matches(name, strangers, 1) or [x for x in inner if x.lower() == name]
        hint = f"rename the folder '{close[0]}'" if close else "make it (empty if the class has no pictures)"
        raise InputError(f"{root} has no folder '{name}': {hint}")
    if strangers:
        raise InputError(
            f"{root} has pictures in a folder that is no class: '{strangers[0]}'. "
            f"Classes are {', '.join(CLASSES)}: rename it or move it away"
        )


def how_to_get_data() -> str:
    """One sentence on where data comes from."""
    return (
        "Give the folder with data.root=/path/to/Dataset_BUSI_with_GT (or the environment variable "
        f"BUSI_ROOT), download it from {BUSI_URL}, or try made data with data=phantom"
    )


def read_csv(root: Path) -> Reading:
    """Read a manifest with the columns ``image,label`` and optionally ``mask,group,id``.

    Paths are relative to the manifest. ``label`` is a class name. ``mask`` may name several files
    separated by ``;``; without one, a normal picture has the empty mask and any other counts as not
    annotated. ``group`` (the patient, say) is never split between folds. ``id`` defaults to the
    image path without its suffix.

    Raises:
        InputError: If the manifest or a column is missing, it has no rows, or ids repeat.
    """
    manifest = Path(root).expanduser()
    if not manifest.is_file():
        raise InputError(
            f"no manifest at {manifest}: give data.root=manifest.csv with image,mask,label,group"
        )
    with manifest.open(newline="", encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    columns = rows[0].keys() if rows else ()
    if not {"image", "label"} <= set(columns):
        raise InputError(
            f"{manifest} needs the columns image and label and at least one row, has: {list(columns)}"
        )
    records, problems = [], []
    for row in rows:
        name = row.get("id") or str(Path(row["image"]).with_suffix(""))
        label = (row["label"] or "").strip().lower()
        masks = tuple(
            manifest.parent / part.strip() for part in (row.get("mask") or "").split(";") if part.strip()
        )
        if label not in CLASSES:
            problems.append(
                Problem(name, f"label is none of {', '.join(CLASSES)}", row["label"] or "(empty)")
            )
            continue
        records.append(
            Record(
                id=name,
                image=manifest.parent / row["image"],
                masks=masks,
                label=CLASSES.index(label),
                annotated=bool(masks) or label == CLASSES[NORMAL],
                patient=row.get("group") or None,
            )
        )
    return unique(sorted(records, key=lambda record: natural(Path(record.id)))), problems


def unique(records: list[Record]) -> list[Record]:
    """Return `records`, or raise `InputError` if two of them would write the same file names."""
    seen: dict[str, str] = {}
    for record in records:
        name = file_name(record.id).lower()
        if name in seen:
            raise InputError(f"two pictures have the id '{record.id}' ('{seen[name]}'): ids must differ")
        seen[name] = record.id
    return records


def file_name(record_id: str) -> str:
    """A name for files about a picture: its id, with separators and odd characters replaced."""
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


def read_gray(path: Path) -> UInt8[np.ndarray, "h w"]:
    """Decode a picture of any mode to 8-bit gray.

    16-bit pictures are scaled by their full range (value / 257). Colour becomes ITU-R 601 luma,
    which leaves a gray picture stored as RGB as it is. Transparency is ignored.

    Raises:
        InputError: If the file is missing, truncated, or no picture.
    """
    try:
        with Image.open(path) as image:
            return to_gray(image)
    except (OSError, UnidentifiedImageError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(f"cannot read {path}: {error}") from error


def to_gray(image: Image.Image) -> UInt8[np.ndarray, "h w"]:
    """8-bit gray of a picture of any mode; see `read_gray`."""
    if image.mode.startswith("I"):
        wide = np.asarray(image, dtype=np.int64).clip(0, 65535)
        return ((wide + 128) // 257).astype(np.uint8)
    return np.array(image.convert("L"))


def read_mask(record: Record, height: int, width: int) -> UInt8[np.ndarray, "{height} {width}"]:
    """Decode the annotation: the union of a record's mask files, values 0 and 1.

    Raises:
        BadMask: If a mask has another size than the picture or more than two values.
        InputError: If a file is unreadable.
    """
    union = np.zeros((height, width), np.uint8)
    for path in record.masks:
        mask = read_gray(path)
        if mask.shape != union.shape:
            raise BadMask("mask of another size than its picture", path)
        values = np.unique(mask)
        if len(values) > 2 or (len(values) == 2 and values[0] != 0):
            raise BadMask("mask with more than two values", path)
        union |= (mask > 0).astype(np.uint8)
    if record.label != NORMAL and record.masks and not union.any():
        raise BadMask("lesion with an empty mask", record.masks[0])
    return union


class BadMask(InputError):
    """A readable mask that cannot be an annotation of its picture."""

    def __init__(self, kind: str, path: Path) -> None:
        super().__init__(f"{kind}: {path}")
        self.kind, self.path = kind, path


def pixel_hash(gray: UInt8[np.ndarray, "_ _"]) -> str:
    """Fingerprint of decoded pixels, 32 hexadecimal digits: equal for a PNG and its RGB twin."""
    height, width = gray.shape
    return hashlib.sha256(f"{height}x{width}:".encode() + gray.tobytes()).hexdigest()[:32]


def _pictures(folder: Path) -> Iterable[Path]:
    return (
        path
        for path in folder.iterdir()
        if path.suffix.lower() in SUFFIXES and not MASK_STEM.search(path.stem)
    )


def _masks(folder: Path) -> dict[tuple[str, str], list[Path]]:
    """Annotations by stem and suffix of their picture; the folder is listed once."""
    found: dict[tuple[str, str], list[Path]] = {}
    for path in folder.iterdir():
        if MASK_STEM.search(path.stem):
            found.setdefault((MASK_STEM.sub("", path.stem), path.suffix), []).append(path)
    return found


def natural(path: Path) -> list[tuple[int, str]]:
    """Sort key that puts ``benign (2)`` before ``benign (10)``."""
    return [(int(part), "") if part.isdigit() else (0, part) for part in re.split(r"(\d+)", str(path))]
