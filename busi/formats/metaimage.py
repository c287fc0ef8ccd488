"""MetaImage files of one image (``.mha``; ``.mhd`` with its data beside it), as ITK's programs save them."""

import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Shaped

from busi.core import InputError
from busi.formats.files import find_beside, read_packed
from busi.formats.nrrd import read_space, to_three
from busi.formats.orientation import Volume, check_size, color_to_gray

TYPES = {
    **{"MET_CHAR": "i1", "MET_UCHAR": "u1", "MET_SHORT": "i2", "MET_USHORT": "u2"},
    **{"MET_INT": "i4", "MET_UINT": "u4", "MET_LONG": "i4", "MET_ULONG": "u4"},
    **{"MET_LONG_LONG": "i8", "MET_ULONG_LONG": "u8", "MET_FLOAT": "f4", "MET_DOUBLE": "f8"},
}
"""Type of the values -> NumPy's; of ITK on any computer, a long number has four bytes."""
DATA = "ElementDataFile"
"""The last field of a header."""
MATRIX = ("TransformMatrix", "Orientation", "Rotation")
BIG_END = ("BinaryDataByteOrderMSB", "ElementByteOrderMSB")
COLORS = 3
ZLIB_OR_GZIP = 47
"""What zlib is told to unpack either."""


@np.errstate(all="ignore")  # numbers of a header may be far too large
def read_metaimage(path: Path) -> Volume:
    """Read a file.

    Raises:
        InputError: If it is damaged, too large, holds several images, or its data lies elsewhere than in one
            file beside it.
    """
    content = read_packed(path)
    try:
        header, place = read_fields(content)
        sizes = [int(text) for text in header["DimSize"].split()]
        number = int(header["NDims"])
        channels = int(header.get("ElementNumberOfChannels", 1))
        if number < 2 or len(sizes) != number or channels < 1:
            raise ValueError("a header without sense")
        check_size((*sizes, channels))
        if header[DATA].upper() != "LOCAL":
            content, place = read_packed(find_beside(path, header[DATA])), 0
        values = read_values(content[place:], header, (*sizes[::-1], channels)).T
        sizes_of = header.get("ElementSpacing") or header.get("ElementSize") or "1 " * number
        spacing = np.array(sizes_of.split(), float).reshape(number, 1)
        said = next((header[name] for name in MATRIX if name in header), None)
        axes = np.eye(number) if said is None else np.array(said.split(), float).reshape(number, number)
    except (KeyError, ValueError) as error:
        raise InputError("damaged or truncated MetaImage file") from error
    if channels not in (1, COLORS):
        raise InputError(f"{channels} images in one file: give a file for each image")
    image = values[0] if channels == 1 else color_to_gray(np.moveaxis(values, 0, -1))
    space = {"space": "left-posterior-superior", "space directions": axes * spacing}
    return Volume([to_three(image)], *read_space(space))


def read_fields(content: bytes) -> tuple[dict[str, str], int]:
    """The fields of a header, and where it ends.

    Raises:
        ValueError: If it does not end.
    """
    fields: dict[str, str] = {}
    place = 0
    while DATA not in fields:
        end = content.find(b"\n", place)
        name, sign, value = content[place : end if end >= 0 else len(content)].partition(b"=")
        if not sign:
            raise ValueError("no field")
        fields[name.strip().decode()] = value.strip().decode()
        place = end + 1 if end >= 0 else len(content)
    if fields.get("ObjectType", "Image") != "Image":
        raise InputError(f"MetaIO file of the type {fields['ObjectType'][:20]}, and no image")
    return fields, place


def read_values(
    content: bytes, header: Mapping[str, str], shape: tuple[int, ...]
) -> Shaped[np.ndarray, "..."]:
    """The values of an image, unpacked no further than to their size.

    Raises:
        InputError: If they are text.
        KeyError: If their type is not known.
        ValueError: If they are damaged, or fewer.
    """
    if not is_true(header.get("BinaryData", "True")):
        raise InputError("MetaImage file whose values are text: save it in binary")
    big_end = any(is_true(header.get(name, "False")) for name in BIG_END)
    kind = np.dtype(TYPES[header["ElementType"].removesuffix("_ARRAY")]).newbyteorder(">" if big_end else "<")
    size, skipped = int(np.prod(shape)) * kind.itemsize, int(header.get("HeaderSize", 0))
    if is_true(header.get("CompressedData", "False")):
        if skipped:
            raise InputError("MetaImage file that skips a part of packed data: save it anew")
        try:
            content = zlib.decompressobj(ZLIB_OR_GZIP).decompress(content, size)
        except zlib.error as error:
            raise ValueError from error
    elif skipped:  # a negative number stands for all that is before the values
        content = content[skipped:] if skipped > 0 else content[-size:]
    if len(content) < size:
        raise ValueError("values are missing")
    return np.frombuffer(content[:size], kind).reshape(shape).astype(kind.newbyteorder("="))


def is_true(text: str) -> bool:
    """Whether a field says yes, as MetaIO reads it."""
    return text[:1] in ("T", "t", "1")
