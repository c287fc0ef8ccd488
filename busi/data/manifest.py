"""The records of a manifest: a CSV file that lists the images of any data set."""

from pathlib import Path

from busi.core import CLASSES, NORMAL, InputError, Record, read_table
from busi.data.records import Problem, Reading, natural, unique


def read_csv(root: Path) -> Reading:
    """Read a manifest with the columns ``image,label`` and optionally ``mask,patient,id``.

    Paths are relative to the manifest. ``label`` is a class name. ``mask`` may name several files
    separated by ``;``; without one, a normal image has the empty mask and any other counts as not
    annotated. Images of one ``patient`` are never split between folds; where there is no patient, the
    column ``group`` is read in its place. ``id`` defaults to the image path without its suffix.

    Raises:
        InputError: If the manifest or a column is missing, it has no rows, or ids repeat.
    """
    manifest = Path(root).expanduser()
    if not manifest.is_file():
        raise InputError(
            f"no manifest at {manifest}: give data.root=manifest.csv with image,mask,label,patient"
        )
    rows = read_table(manifest)
    columns = rows[0].keys() if rows else ()
    if not {"image", "label"} <= set(columns):
        raise InputError(
            f"{manifest} needs the columns image and label and at least one row, has: {list(columns)}"
        )
    records, problems = [], []
    for row in rows:
        name = row.get("id") or str(Path(row["image"]).with_suffix(""))
        label = (row["label"] or "").strip().lower()
        if label not in CLASSES:
            kind = f"label is none of {', '.join(CLASSES)}"
            problems.append(Problem(name, kind, row["label"] or "(empty)"))
            continue
        masks = [part.strip() for part in (row.get("mask") or "").split(";") if part.strip()]
        records.append(
            Record(
                id=name,
                image=manifest.parent / row["image"],
                masks=tuple(manifest.parent / mask for mask in masks),
                label=CLASSES.index(label),
                annotated=bool(masks) or label == CLASSES[NORMAL],
                patient=row.get("patient") or row.get("group") or None,
            )
        )
    return unique(sorted(records, key=lambda record: natural(Path(record.id)))), problems
