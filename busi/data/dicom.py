"""DICOM files as gray images: their frames, cropped to the ultrasound, with the spacing of their pixels.

Nothing but pixels and spacing leaves a file by `read_dicom`: no name, no date, no identifier. `read_header`
and `open_header` are for those who ask for more.
"""

import difflib
import logging
import re
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom

from busi.core import Bool, InputError, Shaped
from busi.data.dicom_frames import decode_frames
from busi.data.dicom_gray import COLOR, number, to_gray, values_of_frame
from busi.data.frames import Frame, Spacing
from busi.data.images import MAX_PIXELS, BadFile

TISSUE, CENTIMETERS = 1, 3
"""Codes of the data in a region and of its units (PS3.3, C.8.5.5.1)."""
REQUIRED = ("Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation", "BitsAllocated", "BitsStored")

# They quote the header.
warnings.filterwarnings("ignore", category=UserWarning, module=r"pydicom\b")
logging.getLogger("pydicom").setLevel(logging.ERROR)


def read_dicom(path: Path) -> Iterator[Frame]:
    """Decode the frames of a DICOM file, one at a time.

    What the gray levels mean is in `busi.data.dicom_gray`. Where the file names regions of tissue
    (SequenceOfUltrasoundRegions), the largest one is cut out, so that scales and text beside it do not reach
    the network.

    Raises:
        BadFile: If the file is damaged, holds no image or one of over 50 megapixels, its gray levels have
            no meaning, or its compression needs a package that is not installed.
    """
    try:
        dataset = _open(path)
        _check(dataset)
        region = find_region(dataset)
        for index, (pixels, kind) in enumerate(decode_frames(dataset)):
            values = values_of_frame(dataset, index)
            gray = to_gray(pixels, kind, dataset, values)
            spacing = find_spacing(values, region)
            yield Frame(gray if region is None else cut(gray, region), spacing)
    except InputError as error:
        raise BadFile(str(error), path) from error
    except OSError as error:
        reason = error.strerror or "damaged DICOM"
        raise BadFile(reason, path, f"cannot read {path}: {reason}") from error
    except Exception as error:  # pydicom raises whatever a damaged file makes its parts raise
        # Its message may quote the header, so that it is left out.
        reason = f"damaged DICOM ({type(error).__name__})"
        raise BadFile(reason, path, f"cannot read {path}: {reason}") from error


def _open(path: Path, **options: Any) -> pydicom.Dataset:
    """Read a file, whether or not it has the preamble and says how it is encoded."""
    dataset = pydicom.dcmread(path, force=True, **options)
    if not {"SOPClassUID", "PixelData", "Rows"} & set(dataset.dir()) and not dataset.file_meta:
        raise InputError("no DICOM file, or a damaged one")
    if "TransferSyntaxUID" not in dataset.file_meta:
        implicit, little = dataset.original_encoding
        plain = pydicom.uid.ExplicitVRLittleEndian if little else pydicom.uid.ExplicitVRBigEndian
        dataset.file_meta.TransferSyntaxUID = pydicom.uid.ImplicitVRLittleEndian if implicit else plain
    return dataset


def _check(dataset: pydicom.Dataset) -> None:
    """Raise `InputError` for what is no image, or does not say what is needed to read it."""
    if "PixelData" not in dataset:
        kind = pydicom.uid.UID(dataset.get("SOPClassUID") or "").name
        floats = "FloatPixelData" in dataset or "DoubleFloatPixelData" in dataset
        why = "floating-point pixels" if floats else "a DICOM file without pixels, or cut off before them"
        raise InputError(f"no image: {why}{f' ({kind})' if kind else ''}")
    color = int(dataset.get("SamplesPerPixel") or 1) > 1
    if dataset.file_meta.TransferSyntaxUID.is_encapsulated:
        dataset.PlanarConfiguration = dataset.get("PlanarConfiguration") or 0
    for keyword in (*REQUIRED, "PixelRepresentation", *(["PlanarConfiguration"] if color else [])):
        if dataset.get(keyword) in (None, ""):
            raise InputError(f"damaged DICOM: it does not say {keyword}")
    width, height = int(dataset.Columns), int(dataset.Rows)
    if not width * height:
        raise InputError(f"damaged DICOM: {width} x {height} pixels")
    if width * height > MAX_PIXELS:
        raise InputError(f"{width} x {height} pixels: give at most 50 megapixels")
    kind, samples = str(dataset.PhotometricInterpretation), int(dataset.SamplesPerPixel)
    if kind not in ("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR", *COLOR):
        raise InputError(f"PhotometricInterpretation {kind} is not supported")
    if samples != (3 if kind in COLOR else 1):
        raise InputError(f"damaged DICOM: it says {kind} and has {samples} values a pixel")


def find_region(dataset: pydicom.Dataset) -> Any:
    """The largest region of tissue that lies inside the image, or None."""
    regions = [
        region
        for region in dataset.get("SequenceOfUltrasoundRegions") or []
        if region.get("RegionDataType") == TISSUE
        and all(number(region, f"RegionLocation{edge}") is not None for edge in EDGES)
        and 0 <= region.RegionLocationMinX0 < region.RegionLocationMaxX1 <= dataset.Columns
        and 0 <= region.RegionLocationMinY0 < region.RegionLocationMaxY1 <= dataset.Rows
    ]
    return max(regions, key=_area, default=None)


EDGES = ("MinX0", "MaxX1", "MinY0", "MaxY1")


def cut(gray: Shaped[np.ndarray, "h w"], region: Any) -> Shaped[np.ndarray, "_ _"]:
    """The part of an image that a region covers; its last row and column belong to it."""
    return np.ascontiguousarray(gray[_slices(region)])


def _slices(region: Any) -> tuple[slice, slice]:
    rows = slice(region.RegionLocationMinY0, region.RegionLocationMaxY1 + 1)
    return rows, slice(region.RegionLocationMinX0, region.RegionLocationMaxX1 + 1)


def cut_mask(mask: Bool[np.ndarray, "h w"], path: Path) -> Bool[np.ndarray, "_ _"]:
    """The part of a mask that belongs to the image that `read_dicom` cuts out.

    Args:
        mask: Drawn on the whole image of the file; one of another size is returned as it is.
        path: A readable DICOM file.

    Raises:
        InputError: If the mask reaches out of that part.
    """
    dataset = _open(path, stop_before_pixels=True)
    region = find_region(dataset)
    whole = (int(dataset.Rows), int(dataset.Columns))
    part = mask if region is None or mask.shape != whole else cut(mask, region)
    if part.sum() != mask.sum():
        raise InputError("mask that reaches out of the tissue region of its DICOM image")
    return part


def place_mask(mask: Bool[np.ndarray, "_ _"], dataset: pydicom.Dataset) -> Bool[np.ndarray, "h w"]:
    """A mask of the image that `read_dicom` cuts out, on the whole image of the file; `cut_mask` undone.

    Args:
        mask: Of the part that was cut out.
        dataset: Of `open_header`.

    Raises:
        InputError: If the mask has another size than that part.
    """
    whole = np.zeros((int(dataset.Rows), int(dataset.Columns)), bool)
    region = find_region(dataset)
    part = whole if region is None else whole[_slices(region)]
    if part.shape != mask.shape:
        raise InputError(f"the mask has {mask.shape} pixels, and the image {part.shape}")
    part[:] = mask
    return whole


def frame_spacing(dataset: pydicom.Dataset, index: int) -> Spacing | None:
    """Pixel spacing of a frame, as `read_dicom` gives it.

    Args:
        dataset: Of `open_header`.
        index: Of the frame, from 0.
    """
    return find_spacing(values_of_frame(dataset, index), find_region(dataset))


def find_spacing(values: pydicom.Dataset, region: Any) -> Spacing | None:
    """Pixel spacing of the region, or else of the frame; None where neither says.

    Args:
        values: Of `values_of_frame`.
        region: Of `find_region`.
    """
    if region is not None and number(region, "PhysicalUnitsXDirection") == CENTIMETERS:
        if number(region, "PhysicalUnitsYDirection") == CENTIMETERS:
            rows, columns = number(region, "PhysicalDeltaY"), number(region, "PhysicalDeltaX")
            return _positive(10 * abs(rows or 0.0), 10 * abs(columns or 0.0))
        return None
    return _positive(number(values, "PixelSpacing", 0) or 0.0, number(values, "PixelSpacing", 1) or 0.0)


def _positive(rows: float, columns: float) -> Spacing | None:
    return Spacing(rows, columns) if rows > 0 and columns > 0 else None


def _area(region: Any) -> int:
    width = region.RegionLocationMaxX1 - region.RegionLocationMinX0
    return int(width * (region.RegionLocationMaxY1 - region.RegionLocationMinY0))


def open_header(path: Path) -> pydicom.Dataset:
    """All that a file says but its pixels.

    Raises:
        InputError: If it is damaged.
    """
    try:
        return _open(path, stop_before_pixels=True)
    except (InputError, OSError):
        raise
    except Exception as error:  # as in `read_dicom`
        raise InputError(f"damaged DICOM ({type(error).__name__})") from error


def check_keywords(keywords: Sequence[str]) -> None:
    """Check that DICOM knows the elements that `read_header` is to read, by keyword or as eight hex digits.

    Raises:
        InputError: If it does not know one; names the closest.
    """
    known = pydicom.datadict.keyword_dict
    for keyword in keywords:
        if keyword not in known and not re.fullmatch(r"[0-9A-Fa-f]{8}", keyword):
            close = difflib.get_close_matches(keyword.replace(" ", ""), known, 1, 0.7)
            guess = f": did you mean {close[0]}?" if close else ": give its keyword, e.g. PatientID"
            raise InputError(f"--header {keyword}: DICOM has no element of that name{guess}")


def read_header(path: Path, keywords: Sequence[str]) -> dict[str, str]:
    """Elements of a file's header as text; those that it lacks, or that are empty numbers, are left out.

    Its class and its UID may stand in its beginning alone.

    Args:
        path: A DICOM file.
        keywords: E.g. ``PatientID``.
    """
    try:
        dataset = _open(path, stop_before_pixels=True)
        begin = dataset.file_meta
        stored = [key for key in keywords if key in ("SOPClassUID", "SOPInstanceUID")]  # that begin may have
        found = {key: begin[f"MediaStorage{key}"] for key in stored if f"MediaStorage{key}" in begin}
        found |= {key: dataset[key] for key in keywords if key in dataset}
        values = {key: found[key].value for key in keywords if key in found}
        return {key: str(value) for key, value in values.items() if value is not None}
    except Exception:  # as in `read_dicom`, which says what is wrong
        return {}
