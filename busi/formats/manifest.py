"""Manifests: what any data set becomes, and where the other formats are written from."""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Bool

from busi.core import CLASSES, NORMAL, Record, write_table
from busi.data import find_data, find_given, read_mask, to_row
from busi.figures import write_png
from busi.formats.annotations import Annotation, Case, Found, Shape
from busi.formats.conversion import Conversion
from busi.formats.labels import MASK
from busi.formats.placing import copy_image, name_of

log = logging.getLogger(__name__)

FILE = "manifest.csv"
VALUES = ("source", "scanner", "birads")


def read(conversion: Conversion) -> Iterator[Found]:
    """Read a data set by its name, a manifest, or a folder in the layout of one of the readers."""
    records, problems = find_data(conversion.text or str(conversion.path)).open()
    given = find_given(records)
    for record in records:
        word = MASK if record.label == NORMAL else CLASSES[record.label]
        shapes = (Shape(word, partial(draw, record)),) if record.masks else ()
        values = {name: value for name in VALUES if (value := getattr(record, name))}
        if given is not None and given in record.published_folds:
            values["fold"] = record.published_folds[given]
        yield Annotation(
            record.id,
            record.image,
            shapes,
            (CLASSES[record.label],),
            patient=record.patient,
            spacing=record.spacing,
            values=values,
        )
    yield from problems


def draw(record: Record, height: int, width: int) -> Bool[np.ndarray, "h w"]:
    """The mask of a record."""
    return read_mask(record, height, width).astype(bool)


def write(cases: Iterable[Case], folder: Path) -> None:
    """Write ``manifest.csv`` and the masks; images that busi reads stay where they are."""
    rows = []
    for case in cases:
        if not case.readable:
            name = f"{name_of(case)}.png"
            write_png(folder / "images" / name, case.gray, durable=False)
            image = f"images/{name}"
        elif case.in_place:
            image = str(case.image.absolute())
        else:
            image = f"images/{copy_image(case, folder / 'images')}"
        rows.append(describe_case(case, image, write_mask(case, folder / "masks")))
    if rows:
        write_table(folder / FILE, keep_folds(rows))


def write_mask(case: Case, folder: Path) -> str:
    """Write the mask of a lesion, 0 and 255; its path, empty where there is none."""
    if case.mask is None or case.label == NORMAL:
        return ""
    name = f"{name_of(case)}.png"
    write_png(folder / name, case.mask * np.uint8(255), durable=False)
    return f"{folder.name}/{name}"


def describe_case(case: Case, image: str, mask: str = "") -> dict[str, str]:
    """The row of a case in a manifest; see `keep_folds`."""
    values = {name: value for name in VALUES if (value := case.values.get(name))}
    masks = (Path(mask),) if mask else ()
    known = {"patient": case.patient, "spacing": case.spacing, **values}
    row = to_row(Record(case.id, Path(image), masks, case.label, **known))
    fold = case.values.get("fold")
    return {**row, "fold": "" if fold is None else str(fold)}


def keep_folds(rows: Sequence[Mapping[str, str]]) -> list[dict[str, str]]:
    """The rows of a manifest, without the column ``fold`` if that is no split any more: a fold is empty."""
    folds = {int(row["fold"]) for row in rows if row["fold"]}
    whole = folds == set(range(len(folds)))
    if not whole:
        log.warning("The folds are left out, for no image is left in one of them")
    kept = whole and bool(folds)
    return [{name: text for name, text in row.items() if kept or name != "fold"} for row in rows]
