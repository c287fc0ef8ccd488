"""One more prediction in a folder of predictions: what somebody keeps of a demo."""

from pathlib import Path
from typing import Any

from busi.core import InputError, hold, printable, write_text, writing_to
from busi.data import Item
from busi.inference.folder import flush_images, write_images
from busi.inference.prediction import Prediction
from busi.inference.predictor import Predictor
from busi.inference.tables import (
    JOURNAL,
    Row,
    describe_maker,
    dump_rows,
    make_row,
    read_lines,
    write_tables,
)


def check_appending(predictor: Predictor, output: Path, files: Path) -> None:
    """Raise `InputError` unless predictions of this model can be added to a folder.

    Args:
        predictor: The model.
        output: The folder; made if it is not there, with an empty table.
        files: The folder of the files that are predicted, below it.
    """
    with hold(output, wait=True), writing_to(output):
        read_rows(output, describe_maker(predictor), files)


def add_prediction(
    predictor: Predictor, output: Path, files: Path, item: Item, prediction: Prediction
) -> None:
    """Add a prediction; of an image that is there already, the tables are written again, and no more.

    Args:
        predictor: What made it.
        output: The folder.
        files: See `check_appending`.
        item: The image, of a file in `files`.
        prediction: Of it.

    Raises:
        InputError: If the folder is of another model or of other files, damaged, or cannot be written.
    """
    made_by = describe_maker(predictor)
    with hold(output, wait=True), writing_to(output):
        rows = read_rows(output, made_by, files)
        if item.frame is not None and all(row["id"] != item.id for row in rows):
            written = write_images(output, item.id, item.frame, prediction)
            flush_images(output, [item.id])
            rows.append({**make_row(item, prediction, ()), "written": written})
        write_tables(output, made_by, rows)


def read_rows(output: Path, made_by: dict[str, Any], files: Path) -> list[Row]:
    """The predictions that are there; in a folder without any, an empty table is written.

    Before any image is, so that images of a call that was cut off are known as those of a prediction.

    Raises:
        InputError: See `add_prediction`.
    """
    if (output / JOURNAL).exists():
        raise InputError(f"{output} is a folder of busi.predict: give another")
    lines = read_lines(output)
    if lines[:1] != [made_by]:
        if lines[1:]:
            raise InputError(f"{output} holds predictions of another model: give another folder")
        write_text(output / "predictions.json", dump_rows(made_by, []))
    shown = Path(printable(str(files)))
    if strange := [row["id"] for row in lines[1:] if Path(row["file"]).parent != shown]:
        raise InputError(f"{output} holds predictions of other files, e.g. {strange[0]}: give another folder")
    return lines[1:]
