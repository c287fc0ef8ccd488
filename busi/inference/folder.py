"""Masks and diagnoses of files, written into a folder."""

import contextlib
import json
import logging
import sys
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, islice
from pathlib import Path
from typing import TypeVar

import numpy as np

from busi.core import InputError, flush, hold, write_whole, writing_to
from busi.data import Frame, InputFile, Item, find_inputs, pixel_hash, read_items
from busi.figures import encode_outline, encode_png
from busi.inference.bundle import PRETRAINED
from busi.inference.prediction import Prediction
from busi.inference.predictor import Predictor
from busi.inference.tables import (
    BAD_NAME,
    GALLERY,
    JOURNAL,
    Row,
    describe_maker,
    dicom_paths,
    hash_bytes,
    hash_images,
    image_paths,
    make_row,
    read_finished,
    write_tables,
)

log = logging.getLogger(__name__)

T = TypeVar("T")


def predict_files(
    inputs: Sequence[str],
    output: Path,
    runs: Sequence[str | Path] | None = None,
    tta: str = "none",
    batch_size: int = 8,
    header: Sequence[str] = (),
    dicom: Sequence[str] = (),
) -> list[Row]:
    """Predict files, folders and patterns, as they were typed; see `predict_inputs`.

    Args:
        inputs: Files, folders and patterns.
        output: The folder.
        runs: Runs, checkpoints or bundles, whose probabilities are averaged. Without any, the model that
            comes with busi.
        tta: See `Predictor`.
        batch_size: Images that the networks see at once.
        header: Keywords of DICOM elements to copy.
        dicom: See `predict_inputs`.

    Raises:
        InputError: If an argument is wrong or, once everything is written, if a file could not be used.
        SystemExit: With status 130, when Ctrl-C stopped it.
    """
    if batch_size < 1:
        raise InputError(f"--batch-size {batch_size}: give at least 1")
    if header:
        from busi.data import check_keywords  # pydicom

        check_keywords(header)
    files = find_inputs(inputs, leave_out=output)
    if dicom:
        from busi.inference.dicom_files import check_dicom, sum_up  # pydicom

        check_dicom(files)
    if not runs:
        log.info("The model that comes with busi, for research only: %s", PRETRAINED / "README.md")
    predictor = Predictor(runs or PRETRAINED, tta, batch_size)
    try:
        with writing_to(output):
            rows = predict_inputs(predictor, files, output, header, dicom)
    except KeyboardInterrupt:
        log.info("Stopped. The same command goes on")
        sys.exit(130)
    failed = [row for row in rows if row["error"]]
    log.info("%d images: %s", len(rows) - len(failed), output / GALLERY)
    if not predictor.has_classes:
        log.info("Masks alone: a segmentation model tells no class")
    elif not predictor.calibrated:
        log.info("Not calibrated: take the probabilities as scores; there are no conformal sets")
    for row in failed[:5]:
        log.info("%s", row["error"])
    problems = [f"{len(failed)} of {len(rows)} could not be used, see the column error"] if failed else []
    if dicom and (missed := sum_up(rows)):
        problems.append(missed)
    if problems:
        raise InputError(f"{'; '.join(problems)} of {output / 'predictions.csv'}")
    return rows


def predict_inputs(
    predictor: Predictor,
    files: Sequence[InputFile],
    output: Path,
    header: Sequence[str] = (),
    dicom: Sequence[str] = (),
) -> list[Row]:
    """Predict files into a folder, and go on where an earlier call was stopped.

    Writes ``predictions.csv``, ``predictions.json``, ``masks/<id>.png`` (0 and 255) and
    ``overlays/<id>.png``, at the images' own sizes, and ``index.html``, which shows all of them.

    Args:
        predictor: The model.
        files: The files.
        output: The folder.
        header: Keywords of DICOM elements to copy.
        dicom: Folders of DICOM files to write too, see `busi.inference.dicom_files`: none, ``dicom_seg``, or
            that and ``dicom_sr``.

    Returns:
        A row for each image, and for each file that could not be used.

    Raises:
        InputError: If the folder holds predictions of another model or of other files, cannot be written, or
            another call writes to it.
    """
    made_by = describe_maker(predictor, header)
    with hold(output):
        finished = read_finished(output, made_by, files)
        rows = [row for file in files for row in finished.get(file.id, [])]
        for row in rows:
            row.pop("dicom_error", None)
        rest = [file for file in files if file.id not in finished]
        if rows:
            log.info("Going on: %d of %d files are done", len(files) - len(rest), len(files))
        kept = "".join(f"{json.dumps(line)}\n" for line in (made_by, *rows))
        write_whole(output / JOURNAL, lambda part: part.write_text(kept, encoding="utf-8"))
        seen = {digest for info in predictor.infos for digest in info.seen or ()}
        with (output / JOURNAL).open("a", encoding="utf-8") as journal:

            def note(some: Sequence[Row]) -> None:
                journal.writelines(f"{json.dumps(row)}\n" for row in some)
                journal.flush()

            for item, prediction in predict_items(predictor, rest):
                row = make_row(item, prediction, header)
                if prediction is not None and item.frame is not None:
                    row["seen"] = pixel_hash(item.frame.gray) in seen
                    try:
                        row["written"] = write_images(output, item.id, item.frame, prediction)
                    except InputError as problem:
                        row = make_row(item._replace(error=str(problem)), None, header)
                elif item.number is not None:  # of a clip, whose other images need not be predicted again
                    row["written"] = hash_images(output, item.id)
                rows.append(row)
                note([row])
            flush_images(output, [row["id"] for row in rows if not row["error"]])
            if dicom:
                from busi.inference.dicom_files import name_maker, write_dicom_files

                maker = name_maker(predictor.infos, predictor.tta, predictor.calibrated)
                tracked = _track(files, "writing DICOM files")
                for changed in write_dicom_files(output, tracked, rows, maker, dicom):
                    note(changed)
                flush_dicom_files(output, files)
        order = {file.id: i for i, file in enumerate(files)}
        rows.sort(key=lambda row: (order[row["source"]], row["number"] or 0))
        if known := sum(bool(row.get("seen")) for row in rows):
            log.info(
                "%d of %d images trained, chose or calibrated the model: they are no test of it",
                known,
                len(rows),
            )
        shown = write_tables(output, made_by, rows)
        (output / JOURNAL).unlink()
    return shown


def predict_items(
    predictor: Predictor, files: Sequence[InputFile]
) -> Iterator[tuple[Item, Prediction | None]]:
    """Read and predict files; while one batch is used, the networks see the next, and another one is read."""
    items = (item for file in _track(files, "predicting") for item in read_items(file))
    batches = iter(lambda: list(islice(items, predictor.batch_size)), [])
    for batch, predictions in read_ahead(_predict_batches(predictor, read_ahead(batches))):
        for item in batch:
            yield item, None if item.frame is None else next(predictions)


def _track(files: Sequence[InputFile], doing: str) -> Iterable[InputFile]:
    if len(files) < 2:
        return files  # rich would be a part of the time that one image takes
    from rich.progress import track

    return track(files, doing, transient=True)


def _predict_batches(
    predictor: Predictor, batches: Iterator[list[Item]]
) -> Iterator[tuple[list[Item], Iterator[Prediction]]]:
    for batch in batches:
        predictions = predictor.predict([item.frame for item in batch if item.frame is not None])
        first = list(islice(predictions, 1))  # makes the networks run, for all of the batch
        yield batch, chain(first, predictions)


def read_ahead(batches: Iterator[T]) -> Iterator[T]:
    """Take the next element in another thread while the last one is worked on."""
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(next, batches, None)
        while (batch := future.result()) is not None:
            future = pool.submit(next, batches, None)
            yield batch


def write_images(output: Path, name: str, frame: Frame, prediction: Prediction) -> dict[str, str]:
    """Write mask and overlay; their fingerprints by folder, as `hash_images` finds them.

    They are not flushed to the disk: `flush_images` does that, and until then a later call looks at them.

    Raises:
        InputError: If this file system does not take the name.
        OSError: If nothing can be written there, whatever its name.
    """
    paths = image_paths(output, name)
    contents = {
        "masks": encode_png(prediction.mask * np.uint8(255)),
        "overlays": encode_outline(frame.gray, prediction.mask),
    }
    try:
        for folder, content in contents.items():
            write_whole(paths[folder], lambda part, content=content: part.write_bytes(content), durable=False)
    except OSError as error:
        if error.errno not in BAD_NAME:
            raise
        for path in paths.values():
            with contextlib.suppress(OSError):
                path.unlink()
        raise InputError(
            f"cannot write {name}.png: {error.strerror}. Rename the file, or give another folder"
        ) from error
    return {folder: hash_bytes(content) for folder, content in contents.items()}


def flush_images(output: Path, names: Sequence[str]) -> None:
    """Wait until the masks and overlays of some images are on the disk, and their names."""
    paths = [path for name in names for path in image_paths(output, name).values()]
    for path in (*paths, *{path.parent for path in paths}):
        flush(path)


def flush_dicom_files(output: Path, files: Sequence[InputFile]) -> None:
    """Wait until the DICOM files of some files are on the disk, and their names."""
    every = [path for file in files for path in dicom_paths(output, file.id).values()]
    paths = [path for path in every if path.exists()]
    for path in (*paths, *{path.parent for path in paths}):
        flush(path)
