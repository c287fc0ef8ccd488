"""The records of class folders, in which BUSI was published; `busi.data.manifest` reads any other data."""

import difflib
import re
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path

from busi.core import CLASSES, NORMAL, InputError, Record, expand, is_file, is_folder, printable
from busi.data.files import is_image, strip_suffix
from busi.data.manifest_values import fold_case, read_labels
from busi.data.records import (
    MASK_STEM,
    UNREAD_SUFFIXES,
    Problem,
    Reading,
    WrongLayout,
    annotations,
    check_ids,
    file_name,
    has_images,
    how_to_get_data,
    list_files,
    natural,
)

GAP = re.compile(r"[_ .-]+")
BESIDE = "name of another image and a word, as of a mask or a copy (masks are called x_mask.png)"


def read_busi(root: Path, labels: Mapping[str, str] | None = None) -> Reading:
    """Read a folder in the layout of the BUSI release.

    Args:
        root: Folder with the folders ``normal``, ``benign`` and ``malignant``, in any case; one of a class
            that has no images may be missing. Beside each image ``x.png`` lie its masks ``x_mask.png``,
            ``x_mask_1.png`` and so on, in any case and of any format. Images may be DICOM files, by any name.
        labels: Other names of class folders, in any case, e.g. ``gutartig`` -> ``benign``.

    Returns:
        Records and problems. A normal image has no mask files: its annotation is empty. Where there is no
        mask at all, nobody annotated the lesions; else one without a mask is a problem. If two folders have
        an id in common, all ids begin with the name of their folder.

    Raises:
        InputError: If the folder is missing or empty, or other folders in it hold images.

    Source: Al-Dhabyani et al., "Dataset of breast ultrasound images", Data in Brief 28 (2020).
    """
    root = expand(root)
    folders = find_class_folders(root, read_labels(labels or {}))
    stems = [strip_suffix(name) for folder in folders for name in list_files(folder)]
    annotated = any(MASK_STEM.search(stem) for stem in stems)
    found = {folder.name: read_folder(folder, label, annotated) for folder, label in folders.items()}
    owned = [{file_name(one.id).lower() for part in own for one in part} for own in found.values()]
    names = [name for own in owned for name in own]
    repeated = len(set(names)) < len(names)
    records, problems = [], []
    for folder, (good, bad) in found.items():
        first = f"{printable(folder, '_')}/" if repeated else ""
        records += [replace(one, id=first + one.id) for one in good]
        problems += [replace(one, id=first + one.id) for one in bad]
    if not records and not problems:
        raise InputError(f"no images in {root}: its class folders are empty. {how_to_get_data()}")
    check_ids(record.id for record in records)
    return records, problems


def read_folder(folder: Path, label: int, annotated: bool) -> Reading:
    """Read the images of one class.

    Args:
        folder: Where they lie.
        label: Their class.
        annotated: Whether lesions must have masks.
    """
    names = list_files(folder)
    images = {file for file in names if is_image(folder / file)}
    image_of = annotations(images)
    masks_of: dict[str, list[Path]] = {}
    for mask, image in sorted(image_of.items()):
        masks_of.setdefault(image, []).append(folder / mask)
    records, problems = [], []
    stems = {strip_suffix(name) for name in images}
    for path in sorted((folder / file for file in names if file not in image_of), key=natural):
        stem = strip_suffix(path.name)
        image_id, masks = printable(stem, "_"), masks_of.get(path.name, [])
        if path.name not in images:  # notes, thumbnails
            if path.suffix.lower() in UNREAD_SUFFIXES:
                image_id = printable(path.stem, "_")
                problems.append(Problem(image_id, "file that training does not read", path.name))
        elif MASK_STEM.search(stem):
            problems.append(Problem(image_id, "mask without an image", path.name))
        elif label != NORMAL and annotated and not masks:
            problems.append(Problem(image_id, "lesion without a mask", path.name))
        elif not annotated and is_beside(stem, stems):
            problems.append(Problem(image_id, BESIDE, path.name))
        else:
            shown = () if label == NORMAL else tuple(masks)
            records.append(Record(image_id, path, shown, label, annotated or label == NORMAL, source="busi"))
    return records, problems


def is_beside(stem: str, stems: Collection[str]) -> bool:
    """Whether a name is that of another image and a word: ``x_seg`` beside ``x``."""
    return any(
        stem[: gap.start()] in stems and any(map(str.isalpha, stem[gap.end() :]))
        for gap in GAP.finditer(stem)
    )


def find_class_folders(root: Path, classes: Mapping[str, int]) -> dict[Path, int]:
    """The folders whose names mean a class, in the order of the classes.

    Raises:
        WrongLayout: If there are none.
        InputError: If images lie in other folders of `root`, or in folders of the class folders.
    """
    looked_for = ", ".join(CLASSES)
    if is_file(root):
        raise WrongLayout(f"{root} is a file: for a manifest, add data=csv", looked_for)
    if not is_folder(root):
        raise WrongLayout(f"no data at {root}. {how_to_get_data()}", looked_for)
    inner = sorted((root / name for name in list_files(root) if (root / name).is_dir()), key=natural)
    found = {path: classes[fold_case(path.name)] for path in inner if fold_case(path.name) in classes}
    if not found:
        near = [path.parent for path in (*root.glob("*/benign"), *root.absolute().parent.glob("benign"))]
        hint = f": did you mean data.root={near[0]}?" if near else f". {how_to_get_data()}"
        text = f"{root} has none of the folders {looked_for}{hint}"
        raise WrongLayout(text, looked_for + (f" (found in {near[0]})" if near else ""))
    if strangers := [printable(path.name) for path in inner if path not in found and has_images(path)]:
        absent = [name for name in CLASSES if classes[name] not in found.values()]
        (meant,) = difflib.get_close_matches(strangers[0], absent, 1) or ["CLASS"]
        listed = ", ".join(f"'{name}'" for name in strangers)
        raise InputError(
            f"{root} has images in folders that are no class: {listed}. Classes are {looked_for}: rename or "
            f"move them away, or say what they mean (--labels {strangers[0]}={meant}, in training "
            f"data.read.labels={{{strangers[0]}: {meant}}})"
        )
    found = dict(sorted(found.items(), key=lambda one: one[1]))
    for path in sorted(folder / below for folder in found for below in list_files(folder)):
        if path.is_dir() and has_images(path):
            raise InputError(
                f"{path} has images: move them to {path.parent}, where they are looked for, or list all "
                "images in a CSV manifest"
            )
    return found
