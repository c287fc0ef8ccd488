"""The tables that prediction writes, and which of their rows still hold when it goes on."""

import errno
import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from busi.core import CLASSES, InputError, check_overwritten, file_hash, printable, write_table, write_text
from busi.data import InputFile, Item, is_dicom, is_image
from busi.figures import write_gallery
from busi.inference.prediction import Prediction

if TYPE_CHECKING:
    from busi.inference.predictor import Predictor

Row = dict[str, Any]
JOURNAL = ".unfinished.jsonl"
"""The rows so far, one a line, until the tables are written; of an image the last one counts."""
FOLDERS = ("masks", "overlays")
GALLERY = "index.html"
"""The page that shows them."""
DICOM_FOLDERS = ("dicom_seg", "dicom_sr")
"""Those of DICOM segmentations and of reports."""
WRITTEN = ("predictions.csv", GALLERY, *FOLDERS, *DICOM_FOLDERS)
"""What is written beside ``predictions.json``."""
BAD_NAME = (errno.EEXIST, errno.EILSEQ, errno.EINVAL, errno.EISDIR, errno.ENAMETOOLONG, errno.ENOTDIR)
"""Errors of a file system that does not take a name, or has it already for something else."""
INTERNAL = ("source", "number", "written", "dicom", "seen")
"""What a row holds for a later call; left out of the table."""
OPTIONS = {"models": "another model (--run)", "tta": "another --tta", "header": "another --header"}
"""What predictions of one folder have in common, and what to say where it differs."""
BOX = ("box_left", "box_top", "box_width", "box_height")
COLUMNS = (
    *("pred", *(f"prob_{name}" for name in CLASSES), "calibrated", "conformal_set", "refer"),
    *("pred_area", "pred_area_mm2", *BOX, "num_components", "milliseconds"),
)
"""Those of a prediction; empty for a file that could not be used, and classes for a model of masks alone."""


def make_row(item: Item, prediction: Prediction | None, header: Sequence[str]) -> Row:
    """The row of an image.

    Args:
        item: The image.
        prediction: Of it; None if it could not be used.
        header: Keywords of DICOM elements to copy.
    """
    row: Row = {
        "id": item.id,
        "file": printable(str(item.file.path)),
        "source": item.file.id,
        "number": item.number,
        "sha256": item.sha256,
        **dict.fromkeys(COLUMNS),
    }
    if prediction is not None:
        box = prediction.box or (None,) * 4
        row |= {
            "pred": prediction.pred,
            **{f"prob_{name}": p for name, p in prediction.probs.items()},
            "calibrated": prediction.calibrated if prediction.probs else None,
            "conformal_set": prediction.conformal_set,
            "refer": prediction.refer,
            "pred_area": prediction.pred_area,
            "pred_area_mm2": prediction.pred_area_mm2,
            **dict(zip(BOX, box, strict=True)),
            "num_components": prediction.num_components,
            "milliseconds": round(prediction.milliseconds, 1),
        }
    if header:
        from busi.data import read_header  # pydicom

        found = read_header(item.file.path, header) if is_dicom(item.file.path) else {}
        row |= {f"header_{keyword}": found.get(keyword) for keyword in header}
    return {**row, "error": item.error}


def describe_maker(predictor: "Predictor", header: Sequence[str] = ()) -> dict[str, Any]:
    """What a folder of predictions says of the model and the options, which are the same for all of it."""
    return {
        "models": [info.origin | info.fingerprints for info in predictor.infos],
        "tta": predictor.tta,
        "header": list(header),
        "calibrated": predictor.calibrated,
    }


def dump_rows(made_by: dict[str, Any], rows: Sequence[Row]) -> str:
    """The text of ``predictions.json``: a line for each row, written ten times as fast as indented ones."""
    lines = ",\n".join(json.dumps(row, allow_nan=False) for row in rows)
    return f'{{"made_by": {json.dumps(made_by)},\n"predictions": [\n{lines}\n]}}\n'


def write_tables(output: Path, made_by: dict[str, Any], rows: Sequence[Row]) -> list[Row]:
    """Write the tables and the page of predictions; the rows that a person sees."""
    shown = [{name: x for name, x in row.items() if name not in INTERNAL} for row in rows]
    write_text(output / "predictions.json", dump_rows(made_by, rows))
    write_table(output / "predictions.csv", shown)
    write_gallery(output / GALLERY, shown)
    return shown


def read_finished(output: Path, made_by: dict[str, Any], files: Sequence[InputFile]) -> dict[str, list[Row]]:
    """Rows of the files that need not be predicted again, by the ids of the files.

    A file is done if it has not changed, at least one of its images could be used, and what was written of
    each is as it was; what belongs to any other file is deleted. The last file of a stopped call counts as
    unfinished, for it may hold more images.

    Raises:
        InputError: If what lies there is of another model, of other files, or of another program.
    """
    lines = read_lines(output)
    if not lines:
        return {}
    if lines[0] != made_by:
        named = [words for key, words in OPTIONS.items() if lines[0].get(key) != made_by[key]]
        other = " and ".join(named) or "other options"
        raise InputError(f"{output} holds predictions with {other}: give the same again, or another --output")
    known = {file.id: file for file in files}
    rows: dict[str, list[Row]] = {}
    for row in lines[1:]:
        rows.setdefault(row["source"], []).append(row)
    if strangers := [name for name in rows if name not in known]:
        raise InputError(
            f"{output} holds predictions of other files, e.g. {strangers[0]}: give another --output"
        )
    finished = {name: found for name, found in rows.items() if is_done(output, known[name], found)}
    for row in lines[1:]:
        if row["source"] not in finished:
            made = (image_paths(output, row["id"]), dicom_paths(output, row["source"]))
            for path in (path for paths in made for path in paths.values()):
                path.unlink(missing_ok=True)
    return finished


def read_lines(output: Path) -> list[Any]:
    """The model and options, and then the rows, that an earlier call left; nothing in a new folder.

    Raises:
        InputError: If they are damaged, or what lies in the folder is of another program.
    """
    finished = output / "predictions.json"
    lines: list[Any] = []
    try:
        if (output / JOURNAL).exists():
            text = (output / JOURNAL).read_text(encoding="utf-8")
            # The last line may have been cut off. Rows with DICOM files come when all is predicted.
            lines = [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]
            if len(lines) > 1 and lines[-1]["number"] and "dicom" not in lines[-1]:
                lines = [*lines[:1], *(row for row in lines[1:] if row["source"] != lines[-1]["source"])]
            lines = [*lines[:1], *{row["id"]: row for row in lines[1:]}.values()]
        elif finished.exists():
            content = json.loads(finished.read_text(encoding="utf-8"))
            lines = [content["made_by"], *content["predictions"]]
        else:
            # Masks and overlays beside somebody's images would be predicted with them the next time.
            images = [path.name for path in sorted(output.glob("*")) if is_image(path)]
            check_overwritten(output, [*WRITTEN, *images], "prediction")
        if lines and not (isinstance(lines[0], dict) and all(is_row(row) for row in lines[1:])):
            raise ValueError
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(
            f"{output} holds damaged predictions, or those of another program: give another folder"
        ) from error
    return lines


def is_row(row: object) -> bool:
    """Whether a value has the types of a row as far as a later call depends on them."""
    return (
        isinstance(row, dict)
        and all(isinstance(row.get(name), str) for name in ("id", "file", "source", "sha256", "error"))
        and (row.get("number") is None or isinstance(row["number"], int))
        and isinstance(row.get("dicom", {}), dict)
        and set(COLUMNS) <= row.keys()
        and re.fullmatch(rf"{re.escape(row['source'])}( \[\d+\])?", row["id"]) is not None
    )


def is_done(output: Path, file: InputFile, rows: Sequence[Row]) -> bool:
    """Whether a file's rows hold, one at least without error, and its images are as they were written."""
    return not all(row["error"] for row in rows) and all(
        (
            rows[0]["file"] == printable(str(file.path)),
            {row["sha256"] for row in rows} == {hash_of(file.path)},
            *(row.get("written") == hash_images(output, row["id"]) for row in rows),
        )
    )


def image_paths(output: Path, name: str) -> dict[str, Path]:
    """Mask and overlay of an image, by the folders that they are in."""
    return {folder: output / folder / f"{name}.png" for folder in FOLDERS}


def dicom_paths(output: Path, name: str) -> dict[str, Path]:
    """Segmentation and report of a file, by the folders that they are in."""
    return {folder: output / folder / f"{name}.dcm" for folder in DICOM_FOLDERS}


def hash_images(output: Path, name: str) -> dict[str, str | None]:
    """Fingerprints of the mask and the overlay of an image."""
    return {folder: hash_of(path) for folder, path in image_paths(output, name).items()}


def hash_bytes(content: bytes) -> str:
    """Fingerprint of the content of a file."""
    return hashlib.sha256(content).hexdigest()[:16]


def hash_of(path: Path) -> str | None:
    """Fingerprint of a file; None if it cannot be read."""
    try:
        return file_hash(path)[:16]
    except OSError:
        return None
