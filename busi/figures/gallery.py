"""The gallery of predicted images: one page beside their overlays and masks, which opens offline."""

import json
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path

from busi.core import CLASSES, write_text
from busi.figures.palette import LOOKS

SLOT = "__DATA__"
"""Where the rows go in the template."""
SHOWN = (
    *("id", "pred", *(f"prob_{name}" for name in CLASSES), "refer", "conformal_set"),
    *("pred_area", "pred_area_mm2", "calibrated", "error"),
)
"""Columns that the page has, beside those of a DICOM header that somebody asked for."""


def write_gallery(path: Path, rows: Sequence[Mapping[str, object]]) -> Path:
    """Write a page that shows ``overlays/<id>.png`` and ``masks/<id>.png`` beside it, and the rows.

    The page holds the rows as JSON, about 100 bytes each, and as many images and rows as one screen after
    another shows; a browser loads an image when it comes into sight.

    Args:
        path: Of the page.
        rows: As in ``predictions.csv``; one with an ``error`` has no images.
    """
    header = [name for name in rows[0] if name.startswith("header_")] if rows else []
    columns = [*SHOWN, *header]
    data = {
        "classes": {name: look.color for name, look in LOOKS.items()},
        "columns": columns,
        "rows": [[_short(row.get(name)) for name in columns] for row in rows],
    }
    # In a script nothing but "<" can end it, or begin a comment.
    text = json.dumps(data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    template = resources.files("busi.figures").joinpath("gallery.html").read_text(encoding="utf-8")
    before, after = template.split(SLOT)
    return write_text(path, before + text + after)


def _short(value: object) -> object:
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, float):
        return round(value, 4) if value == value else None
    return value
