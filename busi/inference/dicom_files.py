"""DICOM files of predictions, beside the masks that they are made of: segmentations and reports."""

import hashlib
import logging
import warnings
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool
from PIL import Image

from busi.core import CLASSES, InputError, file_hash, write_whole
from busi.data import InputFile, frame_spacing, is_dicom, open_header, place_mask
from busi.formats import Finding, Maker, longest_diameter, make_report, make_segmentation, need_highdicom
from busi.inference.model_info import ModelInfo
from busi.inference.tables import BAD_NAME, DICOM_FOLDERS, Row, dicom_paths, hash_of, image_paths

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

log = logging.getLogger(__name__)

SEG, SR = DICOM_FOLDERS


def name_maker(infos: Sequence[ModelInfo], tta: str, calibrated: bool) -> Maker:
    """What DICOM files say of the models that predicted.

    Args:
        infos: Of the models.
        tta: See `busi.inference.Predictor`.
        calibrated: Whether the probabilities are.
    """
    from busi import __version__

    names = [str(info.origin["name"]) for info in infos]
    settings = [f"trained on {', '.join(sorted({str(info.origin['data']) for info in infos}))}"]
    checkpoints = [info.fingerprints["checkpoint"][:16] for info in infos]
    fingerprint = checkpoints[0]
    if len(infos) > 1:
        settings.append(f"mean of {len(infos)} models, of the checkpoints {', '.join(checkpoints)}")
        fingerprint = hashlib.sha256("".join(checkpoints).encode()).hexdigest()[:16]
    settings += [f"tta {tta}", "calibrated probabilities" if calibrated else "probabilities not calibrated"]
    return Maker(" + ".join(names), fingerprint, __version__, tuple(settings))


def check_dicom(files: Sequence[InputFile]) -> None:
    """Warn of files that are not DICOM, for which no DICOM file is written.

    Raises:
        InputError: If none is, or highdicom is not installed.
    """
    need_highdicom()
    others = [file for file in files if not is_dicom(file.path)]
    if len(others) == len(files):
        raise InputError(
            f"--dicom-seg and --dicom-sr are for DICOM files, and none of the {len(files)} files is one: "
            "leave them out"
        )
    if others:
        log.warning("%d of %d files are not DICOM: they get no DICOM files", len(others), len(files))


def write_dicom_files(
    output: Path, files: Iterable[InputFile], rows: Sequence[Row], maker: Maker, folders: Sequence[str]
) -> Iterator[list[Row]]:
    """Write ``dicom_seg/<id>.dcm`` and ``dicom_sr/<id>.dcm`` for DICOM files, of the masks that lie there.

    Those that an earlier call wrote of the same masks are kept, with their UIDs. A report goes with its
    segmentation. Each row gets ``dicom``, the fingerprints of what was written of its file, and
    ``dicom_error``, why there are none.

    Args:
        output: The folder, with its masks.
        files: The files.
        rows: Of their images, in order.
        maker: Who predicted them.
        folders: Which of `DICOM_FOLDERS`.

    Yields:
        The rows of each file of which something has changed, once it has.

    Raises:
        InputError: If highdicom is not installed.
    """
    need_highdicom()
    of_file: dict[str, list[Row]] = {}
    nameless = 0
    for row in rows:
        row["dicom_error"] = ""
        of_file.setdefault(row["source"], []).append(row)
    for file in files:
        found = [row for row in of_file[file.id] if not row["error"]]
        if not found or not is_dicom(file.path):
            continue
        paths, written = dicom_paths(output, file.id), found[0].get("dicom") or {}
        good = {
            name: value for name in paths if (value := written.get(name)) and hash_of(paths[name]) == value
        }
        if SEG not in good:
            if SR in written:  # it refers to what is gone
                paths[SR].unlink(missing_ok=True)
            good = {}
        error, missing = "", [name for name in folders if name not in good]
        try:
            if missing:
                nameless += _write(file, found, maker, output, missing, good)
        except InputError as problem:
            error = f"no DICOM files for {file.path}: {problem}"
        for row in found:
            row["dicom"], row["dicom_error"] = good, error
        if good != written:
            yield found
    if nameless:
        log.warning("DICOM files without a PatientID: %d; those written for them have none either", nameless)


def _write(
    file: InputFile,
    rows: Sequence[Row],
    maker: Maker,
    output: Path,
    folders: Sequence[str],
    good: dict[str, str],
) -> bool:
    """Write the DICOM files of one file.

    Args:
        file: The file.
        rows: Of its images.
        maker: Who predicted them.
        output: The folder.
        folders: Which files.
        good: Fingerprints of those that are there; each new one is added.

    Returns:
        Whether the file has no PatientID.

    Raises:
        InputError: If that is not possible.
    """
    paths = dicom_paths(output, file.id)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # they quote the header
            header = open_header(file.path)
            for name in folders:
                if name == SEG:
                    numbers = [row["number"] for row in rows]
                    made = make_segmentation(header, numbers, _masks(output, rows, header), maker)
                else:
                    made = make_report(header, _read(paths[SEG]), _findings(output, rows, header), maker)
                write_whole(paths[name], partial(made.save_as, enforce_file_format=True), durable=False)
                good[name] = file_hash(paths[name])[:16]
            patient = header.get_item("PatientID")
            return patient is None or not patient.value
    except InputError:
        raise
    except OSError as error:
        if error.errno not in BAD_NAME:
            raise
        raise InputError(f"{error.strerror}. Rename the file, or give another --output") from error
    except Exception as error:  # pydicom and highdicom raise whatever a damaged header makes them raise
        # The message may quote the header, so that it is left out.
        raise InputError(f"damaged header ({type(error).__name__})") from error


def _read(path: Path) -> "Dataset":
    import pydicom

    return pydicom.dcmread(path, stop_before_pixels=True)


def _masks(output: Path, rows: Sequence[Row], header: "Dataset") -> Iterator[Bool[np.ndarray, "h w"]]:
    """The masks that were written, each on the whole image of the file."""
    for row in rows:
        with Image.open(image_paths(output, row["id"])["masks"]) as image:
            yield place_mask(np.asarray(image) > 0, header)


def _findings(output: Path, rows: Sequence[Row], header: "Dataset") -> list[Finding]:
    findings = []
    for row, mask in zip(rows, _masks(output, rows, header), strict=True):
        spacing = frame_spacing(header, (row["number"] or 1) - 1)
        probs = {name: row[f"prob_{name}"] for name in CLASSES if row[f"prob_{name}"] is not None}
        size = longest_diameter(mask, spacing)
        findings.append(Finding(row["number"], row["pred_area"], size, spacing, row["pred"], probs))
    return findings


def sum_up(rows: Sequence[dict[str, Any]]) -> str:
    """What could not be written, in one line; empty if nothing was missed."""
    missed = sorted({row["dicom_error"] for row in rows if row.get("dicom_error")})
    for line in missed[:5]:
        log.info("%s", line)
    return f"no DICOM files for {len(missed)} of them, see the column dicom_error" if missed else ""
