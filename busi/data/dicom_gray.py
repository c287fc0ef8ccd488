"""Gray levels of a decoded DICOM frame: color, tables and windows applied."""

import math
from collections.abc import Sequence

import numpy as np
import pydicom
from PIL import Image
from pydicom.multival import MultiValue
from pydicom.pixels.processing import apply_color_lut, apply_windowing

from busi.core import InputError, Shaped, UInt8
from busi.data.levels import say, scale, wide_to_gray

YBR = ("YBR_FULL", "YBR_FULL_422", "YBR_PARTIAL_422", "YBR_PARTIAL_420")
COLOR = ("RGB", "YBR_ICT", "YBR_RCT", *YBR)
NEUTRAL, CLEAR = 12, 10
"""How far from gray a gray pixel may be, after lossy compression; how many times more there have to be."""
GROUPS = ("PixelMeasuresSequence", "PixelValueTransformationSequence", "FrameVOILUTSequence")
"""Of enhanced multi-frame files: what they say of one or of all frames."""


def to_gray(
    pixels: Shaped[np.ndarray, "..."], kind: str, dataset: pydicom.Dataset, values: pydicom.Dataset
) -> UInt8[np.ndarray, "h w"]:
    """One decoded frame as 8-bit gray.

    MONOCHROME1 is inverted. Modality and VOI tables, rescaling and the first window are applied; without a
    window, black and white are the ends of the range that BitsStored says, or that is used where BitsStored
    is all of 16 bits. Palettes and RGB become luma. Of YCbCr, Y is taken. Whether a frame is RGB or YCbCr
    is seen from its gray pixels where it has any, whatever the file says.

    Args:
        pixels: (h, w), or (h, w, 3) as decoded.
        kind: Color by the stream or the header.
        dataset: The file that it comes from.
        values: Of `values_of_frame`.

    Raises:
        InputError: If the values have no meaning as gray levels.
    """
    bits = int(dataset.BitsStored)
    if kind == "PALETTE COLOR":
        return luma(_palette(pixels, dataset))
    if pixels.ndim == 3:
        planes = wide_to_gray(pixels, 16 if bits == int(dataset.BitsAllocated) > 8 else bits)
        return _gray_of_color(planes, kind)
    gray = _gray_of_values(pixels, dataset, values)
    return 255 - gray if kind == "MONOCHROME1" else gray


def luma(rgb: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "h w"]:
    """ITU-R 601 luma."""
    return np.array(Image.fromarray(rgb).convert("L"))


def _gray_of_color(planes: UInt8[np.ndarray, "h w 3"], kind: str) -> UInt8[np.ndarray, "h w"]:
    first, second, third = np.moveaxis(planes.astype(np.int16), -1, 0)
    as_rgb = np.maximum(abs(first - second), abs(second - third)) <= NEUTRAL
    as_ybr = np.maximum(abs(second - 128), abs(third - 128)) <= NEUTRAL
    rgb, ybr = (as_rgb & ~as_ybr).mean(), (as_ybr & ~as_rgb).mean()
    is_ybr = kind in YBR
    if max(rgb, ybr) >= 0.1 and max(rgb, ybr) > CLEAR * min(rgb, ybr):
        if is_ybr != (ybr > rgb):
            say(
                f"A DICOM file says {kind} and holds {'YCbCr' if ybr > rgb else 'RGB'}: read as what it holds"
            )
        is_ybr = bool(ybr > rgb)
    elif kind in ("YBR_ICT", "YBR_RCT"):  # decoders of JPEG 2000 undo these
        raise InputError(f"{kind} outside of JPEG 2000 is not supported")
    if not is_ybr:
        return luma(planes)
    return scale(planes[..., 0], 16.0, 235.0) if kind.startswith("YBR_PARTIAL") else planes[..., 0].copy()


def _palette(pixels: Shaped[np.ndarray, "h w"], dataset: pydicom.Dataset) -> UInt8[np.ndarray, "h w 3"]:
    """Colors of indices; of tables of 16 bits that use 8 of them, these."""
    every = np.arange(2 ** int(dataset.BitsStored)).astype(pixels.dtype)
    table = apply_color_lut(every, dataset)[:, :3]
    if int(pixels.min(initial=0)) < 0:
        raise InputError("a palette with negative indices is not supported")
    return np.asarray(wide_to_gray(table, 8 * table.dtype.itemsize)[pixels])


def _gray_of_values(
    pixels: Shaped[np.ndarray, "h w"], dataset: pydicom.Dataset, values: pydicom.Dataset
) -> UInt8[np.ndarray, "h w"]:
    voi, modality = ((values.get(f"{name}LUTSequence") or [None])[0] for name in ("VOI", "Modality"))
    window, slope = _window(values), number(values, "RescaleSlope") or 1.0
    if not (window or voi or modality):  # rescaling would move both ends alike
        gray = _gray_of_stored(pixels, dataset)
        return 255 - gray if slope < 0 else gray
    scaled: Shaped[np.ndarray, "h w"] = pixels * slope + (number(values, "RescaleIntercept") or 0.0)
    if modality:
        table, first, bits = _table(modality, dataset)
        if not (voi or window):
            table = wide_to_gray(table, bits)
        scaled = _look_up(pixels, table, first)
    if voi:
        table, first, bits = _table(voi, dataset)
        return _look_up(scaled, wide_to_gray(table, bits), first)
    return scaled if window is None else apply_windowing(scaled, window).round().clip(0, 255).astype(np.uint8)


def _table(item: pydicom.Dataset, dataset: pydicom.Dataset) -> tuple[Shaped[np.ndarray, " n"], int, int]:
    """Entries of a table, the value that the first one is for, and their bits (PS3.3, C.11.1 and C.11.2)."""
    size, first, bits = (int(x) for x in item.LUTDescriptor)
    size, entries = size or 2**16, item.LUTData
    if isinstance(entries, bytes):
        order = "<" if dataset.file_meta.TransferSyntaxUID.is_little_endian else ">"
        entries = np.frombuffer(entries, np.uint8 if len(entries) < 2 * size else f"{order}u2")
    return np.asarray(entries)[:size], first, bits


def _look_up(
    values: Shaped[np.ndarray, "h w"], table: Shaped[np.ndarray, " n"], first: int
) -> Shaped[np.ndarray, "h w"]:
    """Entries of a table; values beyond an end get the entry at that end."""
    return np.asarray(table[(np.rint(values).astype(np.int64) - first).clip(0, len(table) - 1)])


def _gray_of_stored(pixels: Shaped[np.ndarray, "h w"], dataset: pydicom.Dataset) -> UInt8[np.ndarray, "h w"]:
    bits, low = int(dataset.BitsStored), int(pixels.min(initial=0))
    says = bits <= 8 or bits < int(dataset.BitsAllocated)
    if dataset.PixelRepresentation and (low < 0 or says):
        if not says:
            raise InputError(f"signed values (from {low}) without a window: black and white are unknown")
        return scale(pixels, -(2.0 ** (bits - 1)), 2.0 ** (bits - 1) - 1)
    return wide_to_gray(pixels, bits if says else 16)


def _window(values: pydicom.Dataset) -> pydicom.Dataset | None:
    """The first window as a data set that makes pydicom map it to 0-255; None without a valid one."""
    center, width = number(values, "WindowCenter"), number(values, "WindowWidth")
    function = str(values.get("VOILUTFunction") or "LINEAR")
    if center is None or width is None or width < (1 if function == "LINEAR" else 1e-9):
        if "WindowWidth" in values:
            say("A DICOM file has a window of no width or center: black and white are those of its bits")
        return None
    if function not in ("LINEAR", "LINEAR_EXACT", "SIGMOID"):
        raise InputError(f"VOILUTFunction {function} is not supported")
    window = pydicom.Dataset()
    window.PhotometricInterpretation, window.BitsStored, window.PixelRepresentation = "MONOCHROME2", 8, 0
    window.WindowCenter, window.WindowWidth, window.VOILUTFunction = center, width, function
    return window


def values_of_frame(dataset: pydicom.Dataset, index: int) -> pydicom.Dataset:
    """What a file says of the values and the spacing of a frame, wherever it says so."""
    found = pydicom.Dataset()
    for keyword in VALUES:
        if keyword in dataset:
            found[keyword] = dataset[keyword]
    shared = dataset.get("SharedFunctionalGroupsSequence") or []
    each = dataset.get("PerFrameFunctionalGroupsSequence") or []
    for group in (*shared, *each[index : index + 1]):
        for name in GROUPS:
            for item in group.get(name) or []:
                found.update(item)
    return found


VALUES = (
    *("ModalityLUTSequence", "RescaleSlope", "RescaleIntercept", "PixelSpacing"),
    *("VOILUTSequence", "WindowCenter", "WindowWidth", "VOILUTFunction"),
)


def number(dataset: pydicom.Dataset, keyword: str, index: int = 0) -> float | None:
    """A value of an element as a finite number; None if it has none."""
    try:
        value = dataset.get(keyword)
        values = (
            value if isinstance(value, (MultiValue, Sequence)) and not isinstance(value, str) else [value]
        )
        found = float(values[index])
    except (TypeError, ValueError, IndexError, ArithmeticError):
        return None
    return found if math.isfinite(found) else None
