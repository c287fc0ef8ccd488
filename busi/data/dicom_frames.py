"""The frames of a DICOM file as pydicom's decoders give them, and what their values are."""

from collections.abc import Iterator
from io import BytesIO

import numpy as np
import pydicom
from PIL import Image
from pydicom.encaps import generate_frames
from pydicom.pixels.common import PhotometricInterpretation as Kind
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.utils import as_pixel_options
from pydicom.uid import JPEG2000TransferSyntaxes, JPEGLSTransferSyntaxes, JPEGTransferSyntaxes

from busi.core import InputError, Shaped

END = b"\xff\xd9"
"""What a JPEG, JPEG-LS or JPEG 2000 stream ends with."""


def decode_frames(dataset: pydicom.Dataset) -> Iterator[tuple[Shaped[np.ndarray, "..."], str]]:
    """Decode the frames of a file, one at a time.

    Yields:
        Pixels, (h, w) or (h, w, 3), without any change of color, and the color that they have by the
        compressed stream, or else by the header.

    Raises:
        InputError: If the compression is not supported, or a frame is cut off or of another size.
    """
    syntax = dataset.file_meta.TransferSyntaxUID
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError as error:
        raise InputError(f"compressed as {syntax.name}, which is not supported") from error
    extra = "pip install '.[dicom]'"
    if not decoder.is_available:
        raise InputError(f"compressed as {syntax.name}: reading it needs {extra}")
    _check_high_bit(dataset)
    partial = dataset.PhotometricInterpretation == Kind.YBR_PARTIAL_422
    seen = _check_streams(dataset) if syntax.is_encapsulated else _name_native(dataset)
    try:
        for pixels, facts in decoder.iter_array(dataset, raw=True):
            kind = seen or str(facts["photometric_interpretation"])
            yield pixels, str(Kind.YBR_PARTIAL_422) if partial and kind.startswith("YBR") else kind
    except RuntimeError as error:
        hint = f". Reading it may need {extra}" if decoder.available_plugins == ("pillow",) else ""
        raise InputError(
            f"damaged, or compressed ({syntax.name}) in a way that is not supported{hint}"
        ) from error


def _check_high_bit(dataset: pydicom.Dataset) -> None:
    high = dataset.get("HighBit")
    if isinstance(high, int) and high >= int(dataset.BitsStored):
        raise InputError(f"bits at an unusual place (HighBit {high} of BitsStored {dataset.BitsStored})")


def _name_native(dataset: pydicom.Dataset) -> str:
    """Set the color of uncompressed data by its length, for pydicom's decoder.

    Data that says to have half the color values (4:2:2) may have them all.

    Raises:
        InputError: If there is too little, or it has another layout.
    """
    kind = str(dataset.PhotometricInterpretation)
    pixels = int(dataset.Rows) * int(dataset.Columns) * int(dataset.get("NumberOfFrames") or 1)
    whole = pixels * int(dataset.SamplesPerPixel) * int(dataset.BitsAllocated) // 8
    halved, found = kind.endswith(("_422", "_420")), len(dataset.PixelData)
    if found < (whole * 2 // 3 if halved else whole):
        raise InputError(f"pixels are cut off, or the header is wrong: {found} of {whole} bytes")
    if not halved:
        return ""
    if found >= whole:
        dataset.PhotometricInterpretation = str(Kind.YBR_FULL)
    elif kind.endswith("_420"):
        raise InputError(f"PhotometricInterpretation {kind} is not supported")
    else:
        dataset.PhotometricInterpretation = str(Kind.YBR_FULL_422)
    return ""


def _check_streams(dataset: pydicom.Dataset) -> str:
    """Compare compressed frames with what the header says.

    Returns:
        The color of the decoded pixels where a stream of JPEG settles it, else the empty string.

    Raises:
        InputError: If a frame is cut off, or has another size than the header says.
    """
    syntax = dataset.file_meta.TransferSyntaxUID
    if str(dataset.PhotometricInterpretation).startswith("YBR_PARTIAL"):
        dataset.PhotometricInterpretation = str(Kind.YBR_FULL)  # pydicom's decoders know no other
    if syntax not in (*JPEGTransferSyntaxes, *JPEGLSTransferSyntaxes, *JPEG2000TransferSyntaxes):
        return ""
    options, seen = as_pixel_options(dataset), ""
    streams = generate_frames(
        dataset.PixelData,
        number_of_frames=options["number_of_frames"],
        extended_offsets=options.get("extended_offsets"),
    )
    for index, stream in enumerate(streams):
        if END not in stream[-16:]:
            raise InputError(f"frame {index + 1} is cut off")
        if index == 0:
            seen = _read_stream(dataset, stream)
    return seen


def _read_stream(dataset: pydicom.Dataset, stream: bytes) -> str:
    try:
        image = Image.open(BytesIO(stream), formats=("JPEG", "JPEG2000"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):  # e.g. JPEG-LS
        return ""
    if image.size != (int(dataset.Columns), int(dataset.Rows)):
        says = f"{dataset.Columns} x {dataset.Rows}"
        raise InputError(f"says {says} pixels and holds {image.width} x {image.height}")
    layers = getattr(image, "layer", ())
    if len(layers) != 3 or dataset.file_meta.TransferSyntaxUID not in JPEG_LOSSY:
        return ""
    if "adobe_transform" in image.info:
        return str(Kind.RGB)  # pydicom lets Pillow convert it
    return str(Kind.YBR_FULL) if len({layer[1:3] for layer in layers}) > 1 else ""


JPEG_LOSSY = (pydicom.uid.JPEGBaseline8Bit, pydicom.uid.JPEGExtended12Bit)
