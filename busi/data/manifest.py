"""The records of a manifest: a CSV file that lists the images of any data set."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from busi.core import CLASSES, NORMAL, InputError, Record, expand, is_file, is_there, read_given_table
from busi.data.files import strip_suffix
from busi.data.manifest_values import PARSERS, Spellings, fold_case, keep_spacing, name_source, read_labels
from busi.data.records import Problem, Reading, check_ids, natural

MEANT = {
    "image": ("file", "filename", "path", "img", "picture", "scan", "frame"),
    "label": ("class", "diagnosis", "target", "pathology", "category"),
    "mask": ("segmentation", "annotation", "roi", "groundtruth"),
    "patient": ("group", "subject", "case", "person", "pid", "mrn"),
    "id": ("name", "key", "uid"),
    "source": ("hospital", "site", "center", "centre", "institution", "dataset", "origin"),
    "scanner": ("device", "machine", "manufacturer", "vendor", "system", "model"),
    "birads": ("rads", "assessment"),
    "spacing": ("pixelsize", "mmperpixel", "mm", "resolution"),
    "fold": ("split", "partition", "subset"),
}
"""Other words for the columns, by which an unknown one is guessed."""
OPTIONAL = ("mask", "patient", "id", *PARSERS)
"""Columns that a manifest may have."""
LABEL_PROBLEM = (
    f"label is none of {', '.join(CLASSES)} (other words are mapped by --labels cancer=malignant, "
    "in training by data.read.labels={cancer: malignant})"
)


def read_csv(root: Path, labels: Mapping[str, str] | None = None) -> Reading:
    """Read a manifest with the columns ``image,label`` and any of `OPTIONAL`.

    Paths are absolute or relative to the manifest. ``label`` is a class name in any case. ``mask`` may name
    several files separated by ``;``; without one, a normal image has the empty mask and any other counts as
    not annotated. Images of one ``patient`` (of one ``source``) are never split between folds; the column may
    be called ``group``, and case does not tell patients apart. ``id`` defaults to the image path without its
    suffix, ``source`` to the name of the manifest. ``fold`` is that of a given split, counted from 0:
    ``data.folds=published`` takes it. What ``source``, ``scanner``, ``birads``, ``spacing`` and ``fold``
    may be is in `busi.data.manifest_values`. Other columns are errors, unless their name begins with an
    underscore.

    Args:
        root: The manifest.
        labels: Other words for the classes, in any case, e.g. ``cancer`` -> ``malignant``.

    Raises:
        InputError: If a word of `labels` means no class; the manifest is missing or no clear table (see
            `busi.core.read_given_table`); none of its images exists; a row has no image; ids repeat; or a
            fold below the highest one has no image.
    """
    manifest = expand(root)
    if not is_file(manifest):
        raise InputError(
            f"no manifest at {manifest}: give data.root=manifest.csv with image,mask,label,patient"
        )
    classes = read_labels(labels or {})
    rows = read_given_table(manifest, ("image", "label"), OPTIONAL, MEANT, {"group": "patient"})
    records, problems, names = [], [], []
    spellings, own_name = Spellings(), name_source(manifest.stem)
    folds: dict[str, int] = {}
    for number, row in rows.items():
        if not row["image"]:
            raise InputError(f"{manifest}, row {number} has no image: fill it in, or delete the row")
        image, *masks = (
            find_file(manifest.parent, text.strip())
            for text in (row["image"], *row["mask"].split(";"))
            if text.strip()
        )
        name = row["id"] or name_image(row["image"], image)
        names.append(name)
        label = classes.get(fold_case(row["label"]))
        if label is None:
            problems.append(Problem(name, LABEL_PROBLEM, f"{row['label'] or '(empty)'} (row {number})"))
        values, wrong = parse_values(row, name, number)
        problems += wrong
        if (fold := values.pop("fold", None)) is not None:
            folds[name] = fold
        if missing := [path for path in (image, *masks) if not is_file(path)]:
            problems += [Problem(name, "no such file", f"{path} (row {number})") for path in missing]
        elif label is not None and not wrong:
            annotated = bool(masks) or label == NORMAL
            values["source"] = spellings("source", values["source"] or own_name)
            values["scanner"] = values["scanner"] and spellings("scanner", values["scanner"])
            patient = fold_case(row["patient"]) or None
            records.append(Record(name, image, tuple(masks), label, annotated, patient, **values))
    check_ids(names)
    if not records and (missing := [one.file for one in problems if one.kind == "no such file"]):
        raise InputError(
            f"no row of {manifest} can be used: no such file: {', '.join(missing[:3])}. Paths are absolute, "
            "or relative to the folder of the manifest"
        )
    number = count_folds(manifest, folds)
    records = [
        replace(one, published_folds={number: folds[one.id]}) if one.id in folds else one for one in records
    ]
    return sorted(records, key=lambda record: natural(record.id)), problems


def to_row(record: Record) -> dict[str, str]:
    """The row of a manifest that `read_csv` gives back as a record, but for its fold.

    Args:
        record: With paths as the manifest shall name them: absolute, or relative to it.
    """
    return {
        "id": record.id,
        "image": str(record.image),
        "mask": ";".join(map(str, record.masks)),
        "label": CLASSES[record.label],
        "patient": record.patient or "",
        "spacing": ";".join(map(repr, keep_spacing(record.spacing) or ())),
        "source": record.source,
        "scanner": record.scanner or "",
        "birads": record.birads or "",
    }


def count_folds(manifest: Path, folds: Mapping[str, int]) -> int:
    """Number of folds of a manifest: one more than the highest; 0 where none is given.

    Raises:
        InputError: If one of them has no image.
    """
    number = max(folds.values(), default=-1) + 1
    if empty := sorted(set(range(number)) - set(folds.values())):
        raise InputError(
            f"{manifest}: no image is in fold {', '.join(map(str, empty[:10]))}, and the highest fold is "
            f"{number - 1}: count folds from 0, and leave none out"
        )
    return number


def parse_values(row: Mapping[str, str], name: str, number: int) -> tuple[dict[str, Any], list[Problem]]:
    """The values of the columns that `PARSERS` knows, and what is wrong with the others.

    Args:
        row: Of the manifest.
        name: Id of its image.
        number: Of the row.
    """
    values: dict[str, Any] = {}
    problems = []
    for column, (parse, rule) in PARSERS.items():
        try:
            values[column] = parse(row[column]) if row[column] else None
        except ValueError:
            problems.append(Problem(name, f"{column} is not {rule}", f"{row[column][:40]} (row {number})"))
    return values, problems


def find_file(folder: Path, text: str) -> Path:
    """The file that a cell names, also with a home folder or with the separators of Windows."""
    path = folder / expand(text)
    other = folder / text.replace("\\", "/")
    return other if "\\" in text and not is_there(path) and is_there(other) else path


def name_image(text: str, path: Path) -> str:
    """The id of an image without one: its path as written, without suffix."""
    written = text.replace("\\", "/") if "\\" not in path.name else text
    return strip_suffix(str(Path(written))) if Path(written).name else written
