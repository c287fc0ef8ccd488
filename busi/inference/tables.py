"""The tables that prediction writes, and which of their rows still hold when it goes on."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from busi.core import CLASSES, InputError, file_hash
from busi.data import Item, Source, is_dicom, read_header
from busi.inference.prediction import Prediction

Row = dict[str, Any]
JOURNAL = ".unfinished.jsonl"
"""The rows so far, one a line, until the tables are written."""
BOX = ("box_left", "box_top", "box_width", "box_height")
COLUMNS = (
    *("pred", *(f"prob_{name}" for name in CLASSES), "calibrated", "conformal_set", "refer"),
    *("pred_area", "pred_area_mm2", *BOX, "num_components", "milliseconds"),
)
"""Those of a prediction; empty in the row of a file that could not be used."""


def make_row(item: Item, prediction: Prediction | None, header: Sequence[str]) -> Row:
    """The row of an image.

    Args:
        item: The image.
        prediction: Of it; None if it could not be used.
        header: Keywords of DICOM elements to copy.
    """
    row: Row = {
        "id": item.id,
        "file": str(item.source.path),
        "source": item.source.id,
        "number": item.number,
        "sha256": item.sha256,
        **dict.fromkeys(COLUMNS),
    }
    if prediction is not None:
        box = prediction.box or (None,) * 4
        row |= {
            "pred": prediction.pred,
            **{f"prob_{name}": p for name, p in prediction.probs.items()},
            "calibrated": prediction.calibrated,
            "conformal_set": prediction.conformal_set,
            "refer": prediction.refer,
            "pred_area": prediction.pred_area,
            "pred_area_mm2": prediction.pred_area_mm2,
            **dict(zip(BOX, box, strict=True)),
            "num_components": prediction.num_components,
            "milliseconds": round(prediction.milliseconds, 1),
        }
    if header:
        found = read_header(item.source.path, header) if is_dicom(item.source.path) else {}
        row |= {f"header_{keyword}": found.get(keyword) for keyword in header}
    return {**row, "error": item.error}


def read_finished(output: Path, made_by: dict[str, Any], sources: Sequence[Source]) -> dict[str, list[Row]]:
    """Rows of the files that need not be predicted again, by the ids of the files.

    A file is done if it has not changed, nothing was wrong with it, and its images are there. The last
    file of a stopped call counts as unfinished, for it may hold more images.

    Raises:
        InputError: If the rows are of another model or of other files.
    """
    lines: list[Any] = []
    finished = output / "predictions.json"
    try:
        if (output / JOURNAL).exists():
            for text in (output / JOURNAL).read_text(encoding="utf-8").splitlines(keepends=True):
                if text.endswith("\n"):  # the last line may have been cut off
                    lines.append(json.loads(text))
            if lines and (last := lines[-1]).get("number"):
                lines = [line for line in lines if line.get("source") != last["source"]]
        elif finished.exists():
            content = json.loads(finished.read_text(encoding="utf-8"))
            lines = [content["made_by"], *content["predictions"]]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{output} holds damaged predictions: give another --output") from error
    if not lines:
        return {}
    if lines[0] != made_by:
        raise InputError(
            f"{output} holds predictions of another model or other options: give another --output"
        )
    known = {source.id: source for source in sources}
    rows: dict[str, list[Row]] = {}
    for row in lines[1:]:
        rows.setdefault(row["source"], []).append(row)
    if strangers := [name for name in rows if name not in known]:
        raise InputError(
            f"{output} holds predictions of other files, e.g. {strangers[0]}: give another --output"
        )
    return {name: found for name, found in rows.items() if is_done(output, known[name], found)}


def is_done(output: Path, source: Source, rows: Sequence[Row]) -> bool:
    """Whether a file's rows still hold and its images are there."""
    return not any(row["error"] for row in rows) and all(
        (
            rows[0]["file"] == str(source.path),
            rows[0]["sha256"] == file_hash(source.path)[:16],
            *(
                (output / kind / f"{row['id']}.png").exists()
                for kind in ("masks", "overlays")
                for row in rows
            ),
        )
    )
