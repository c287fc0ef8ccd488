"""Manifests: what any data set becomes, and where the other formats are written from."""

from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Bool

from busi.core import CLASSES, NORMAL, Record, write_table
from busi.data import find_data, read_mask, to_row
from busi.figures import write_png
from busi.formats.annotations import Annotation, Case, Found, Shape
from busi.formats.labels import MASK
from busi.formats.placing import copy_image, name_of
from busi.formats.source import Source

FILE = "manifest.csv"
VALUES = ("source", "scanner", "birads")


def read(source: Source) -> Iterator[Found]:
    """Read a data set by its name, a manifest, or a folder in the layout of one of the readers."""
    records, problems = find_data(source.text or str(source.path)).open()
    for record in records:
        word = MASK if record.label == NORMAL else CLASSES[record.label]
        shapes = (Shape(word, partial(draw, record)),) if record.masks else ()
        values = {name: value for name in VALUES if (value := getattr(record, name))}
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
        write_table(folder / FILE, rows)


def write_mask(case: Case, folder: Path) -> str:
    """Write the mask of a lesion, 0 and 255; its path, empty where there is none."""
    if case.mask is None or case.label == NORMAL:
        return ""
    name = f"{name_of(case)}.png"
    write_png(folder / name, case.mask * np.uint8(255), durable=False)
    return f"{folder.name}/{name}"


def describe_case(case: Case, image: str, mask: str = "") -> dict[str, str]:
    """The row of a case in a manifest."""
    values = {name: value for name in VALUES if (value := case.values.get(name))}
    masks = (Path(mask),) if mask else ()
    return to_row(
        Record(case.id, Path(image), masks, case.label, patient=case.patient, spacing=case.spacing, **values)
    )
