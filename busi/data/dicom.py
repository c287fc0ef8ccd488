"""DICOM files as gray images: their frames, cropped to the ultrasound, with the spacing of their pixels.

Nothing but pixels and spacing leaves a file: no name, no date, no identifier.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pydicom
from jaxtyping import Shaped, UInt8
from PIL import Image
from pydicom.pixels.processing import apply_color_lut, apply_modality_lut, apply_voi_lut
from pydicom.pixels.utils import iter_pixels

from busi.core import InputError

MAX_PIXELS = 50_000_000
"""Of one frame; more is refused before it is decoded."""
TISSUE, CENTIMETERS = 1, 3
"""Codes of the data in a region and of its units (PS3.3, C.8.5.5.1)."""


class Spacing(NamedTuple):
    """Distance between neighboring pixels, in mm."""

    rows: float
    columns: float


class Frame(NamedTuple):
    """One image of a file.

    Attributes:
        gray: The image.
        spacing: None where the file does not say.
    """

    gray: UInt8[np.ndarray, "h w"]
    spacing: Spacing | None


def read_dicom(path: Path) -> Iterator[Frame]:
    """Decode the frames of a DICOM file, one at a time.

    MONOCHROME1 is inverted; palettes, YBR and RGB become luma; modality and VOI tables are applied. Where
    the file names regions of tissue (SequenceOfUltrasoundRegions), the largest one is cut out, so that
    scales and text beside it do not reach the network.

    Raises:
        InputError: If the file is damaged, holds no image or one of over 50 megapixels, or its compression
            needs a package that is not installed.
    """
    try:
        dataset = pydicom.dcmread(path)
        if "PixelData" not in dataset:
            raise InputError(f"{path} has no image: it is a DICOM file without pixels")
        if int(dataset.Rows) * int(dataset.Columns) > MAX_PIXELS:
            raise InputError(
                f"{path} has {dataset.Columns} x {dataset.Rows} pixels: give at most 50 megapixels"
            )
        region = find_region(dataset)
        spacing = find_spacing(dataset, region)
        for pixels in iter_pixels(dataset):
            gray = to_gray(pixels, dataset)
            yield Frame(gray if region is None else cut(gray, region), spacing)
    except InputError:
        raise
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"cannot decode {path}: {reason}. Compressed files need pip install 'busi[dicom]'"
        ) from error
    except Exception as error:  # pydicom raises whatever a damaged file makes its parts raise
        # Its message may quote the header, so that it is left out.
        raise InputError(f"cannot read {path}: damaged DICOM ({type(error).__name__})") from error


def to_gray(pixels: Shaped[np.ndarray, "..."], dataset: pydicom.Dataset) -> UInt8[np.ndarray, "h w"]:
    """One decoded frame as 8-bit gray.

    Args:
        pixels: (h, w), or (h, w, 3) in RGB.
        dataset: The file that it comes from.
    """
    kind = str(dataset.PhotometricInterpretation)
    if kind == "PALETTE COLOR":
        pixels = apply_color_lut(pixels, dataset)
    if pixels.ndim == 3:
        color = pixels if pixels.dtype == np.uint8 else scale(pixels, 0.0, float(np.iinfo(pixels.dtype).max))
        return np.array(Image.fromarray(color[..., :3]).convert("L"))
    values = apply_voi_lut(apply_modality_lut(pixels, dataset), dataset)
    levels = 2 ** int(dataset.BitsStored)
    low, high = (-levels // 2, levels // 2 - 1) if dataset.PixelRepresentation else (0, levels - 1)
    if values is not pixels:  # tables lead elsewhere
        low, high = min(low, values.min()), max(high, values.max())
    gray = scale(values, float(low), float(high))
    return 255 - gray if kind == "MONOCHROME1" else gray


def scale(values: Shaped[np.ndarray, "*shape"], low: float, high: float) -> UInt8[np.ndarray, "*shape"]:
    """Map [low, high] to 0-255."""
    share = (np.asarray(values, np.float64) - low) / max(high - low, 1)
    return np.asarray((255 * share.clip(0, 1)).round().astype(np.uint8))


def find_region(dataset: pydicom.Dataset) -> Any:
    """The largest region of tissue that lies inside the image, or None."""
    regions = [
        region
        for region in dataset.get("SequenceOfUltrasoundRegions", [])
        if region.get("RegionDataType") == TISSUE
        and 0 <= region.RegionLocationMinX0 < region.RegionLocationMaxX1 <= dataset.Columns
        and 0 <= region.RegionLocationMinY0 < region.RegionLocationMaxY1 <= dataset.Rows
    ]
    return max(regions, key=_area, default=None)


def cut(gray: UInt8[np.ndarray, "h w"], region: Any) -> UInt8[np.ndarray, "_ _"]:
    """The part of an image that a region covers; its last row and column belong to it."""
    rows = slice(region.RegionLocationMinY0, region.RegionLocationMaxY1 + 1)
    return np.ascontiguousarray(gray[rows, region.RegionLocationMinX0 : region.RegionLocationMaxX1 + 1])


def find_spacing(dataset: pydicom.Dataset, region: Any) -> Spacing | None:
    """Pixel spacing of the region, or else of the file; None where neither says."""
    if region is not None and region.get("PhysicalUnitsXDirection") == CENTIMETERS:
        if region.get("PhysicalUnitsYDirection") == CENTIMETERS:
            return _positive(10 * abs(region.PhysicalDeltaY), 10 * abs(region.PhysicalDeltaX))
        return None
    if spacing := dataset.get("PixelSpacing"):
        return _positive(float(spacing[0]), float(spacing[1]))
    return None


def _positive(rows: float, columns: float) -> Spacing | None:
    return Spacing(rows, columns) if rows > 0 and columns > 0 else None


def _area(region: Any) -> int:
    width = region.RegionLocationMaxX1 - region.RegionLocationMinX0
    return int(width * (region.RegionLocationMaxY1 - region.RegionLocationMinY0))


def read_header(path: Path, keywords: Sequence[str]) -> dict[str, str]:
    """Elements of a file's header as text; those that it lacks are left out.

    Args:
        path: A DICOM file.
        keywords: E.g. ``PatientID``.
    """
    try:
        dataset = pydicom.dcmread(path, stop_before_pixels=True)
        return {keyword: str(dataset[keyword].value) for keyword in keywords if keyword in dataset}
    except Exception:  # as in `read_dicom`, which says what is wrong
        return {}
