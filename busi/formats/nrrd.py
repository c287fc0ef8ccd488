"""NRRD files of one image, and 3D Slicer's segmentations in them (``.seg.nrrd``)."""

import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped

from busi.core import InputError, import_extra, write_whole
from busi.formats.files import find_beside, read_bytes, read_packed, unpack_bounded
from busi.formats.orientation import AXES, Volume, check_size, color_to_gray

SIGNS = {
    "right-anterior-superior": (1, 1, 1),
    "ras": (1, 1, 1),
    "left-anterior-superior": (-1, 1, 1),
    "las": (-1, 1, 1),
    "left-posterior-superior": (-1, -1, 1),
    "lps": (-1, -1, 1),
}
"""Space of a file -> where its axes run to the right, front and top."""
DETACHED = ("data file", "datafile")
SKIPS = ("line skip", "lineskip", "byte skip", "byteskip")
OFFSET = "Segmentation_ReferenceImageExtentOffset"


@np.errstate(all="ignore")  # numbers of a header may be far too large
def read_nrrd(path: Path) -> Volume:
    """Read a file.

    Raises:
        InputError: If it is damaged, too large, holds several images, or its data lies elsewhere than in one
            file beside it.
    """
    nrrd = import_extra("nrrd", "pynrrd", "formats")
    try:
        content = read_bytes(path)
        file = io.BytesIO(content)
        header = nrrd.read_header(file)
        check_size(tuple(header["sizes"].tolist()))
        if header["encoding"] != "raw" and any(int(header.get(name, 0)) > 0 for name in SKIPS):
            raise InputError("NRRD file that skips a part of packed data: save it anew")
        if named := [str(header.pop(name)) for name in DETACHED if name in header]:
            content = read_packed(find_beside(path, named[0]))
            file = io.BytesIO(content)
        if header["encoding"] != "raw":
            unpack_bounded(content[file.tell() :])  # pynrrd unpacks whatever comes
        return make_volume(nrrd.read_data(header, file), header)
    except InputError:
        raise
    except Exception as error:  # pynrrd raises whatever a damaged file makes its parts raise
        raise InputError("damaged or truncated NRRD file") from error


def make_volume(values: Shaped[np.ndarray, "..."], header: Mapping[str, Any]) -> Volume:
    """What a file holds, by its header."""
    kinds = [str(kind) for kind in header.get("kinds") or []]
    if kinds and len(kinds) != values.ndim:
        raise InputError("damaged or truncated NRRD file")
    segments = read_segments(header)
    is_color = segments is None and (
        "RGB-color" in kinds or ("vector" in kinds and values.shape[kinds.index("vector")] == 3)
    )
    extra = next((k for k, kind in enumerate(kinds) if kind not in ("domain", "space", "time")), None)
    if is_color:
        assert extra is not None
        layers = [to_three(color_to_gray(np.moveaxis(values, extra, -1)))]
    elif extra is not None and values.ndim > 2:
        layers = [to_three(layer) for layer in np.moveaxis(values, extra, 0)]
    else:
        layers = [to_three(values)]
    if segments is None and len(layers) > 1:
        raise InputError(f"{len(layers)} images in one file: give a file for each image")
    if segments and any(not 0 <= layer < len(layers) for _, layer, _ in segments):
        raise InputError("segment in a layer that is not there")
    affine, sizes = read_space(header)
    found = re.findall(r"-?\d+", str(header.get(OFFSET, "")))
    offset = (int(found[0]), int(found[1]), int(found[2])) if len(found) == AXES else None
    return Volume(layers, affine, sizes, segments, offset)


def to_three(values: Shaped[np.ndarray, "..."]) -> Shaped[np.ndarray, "x y z"]:
    """An array with three axes.

    Raises:
        InputError: If it has more.
    """
    if values.ndim > AXES:
        raise InputError(f"{values.ndim} axes: give a file for each image")
    return values.reshape((*values.shape, 1, 1)[:AXES])


def read_segments(header: Mapping[str, Any]) -> tuple[tuple[str, int, int], ...] | None:
    """Name, layer and value of each segment that 3D Slicer wrote; None in any other file.

    Before version 4.11 each segment had a layer of its own, and no value.
    """
    numbers = sorted({int(found[1]) for key in header if (found := re.match(r"Segment(\d+)_", key))})
    if not numbers:
        return None
    segments = []
    for number in numbers:
        value = str(header.get(f"Segment{number}_LabelValue", 1))
        layer = str(
            header.get(f"Segment{number}_Layer", number if f"Segment{number}_LabelValue" not in header else 0)
        )
        name = header.get(f"Segment{number}_Name") or header.get(f"Segment{number}_ID") or value
        if not (value.isdecimal() and layer.isdecimal()):
            raise InputError(f"segment {name!r} whose value or layer is no number")
        segments.append((str(name), int(layer), int(value)))
    return tuple(segments)


def read_space(header: Mapping[str, Any]) -> tuple[Any, tuple[float, ...] | None]:
    """The affine, with right, front and top positive, and millimeters along each axis; None if not said."""
    signs, directions = SIGNS.get(str(header.get("space", "")).lower()), header.get("space directions")
    if directions is None:
        spacings = np.asarray(header.get("spacings", [np.nan]), float)
        spacings = spacings[np.isfinite(spacings)]
        return None, (*spacings.tolist(), 1.0, 1.0)[:AXES] if len(spacings) >= 2 else None
    rows = [row for row in directions if row is not None and np.isfinite(row).all()]
    sizes = (*(float(np.linalg.norm(row)) for row in rows), 1.0, 1.0)[:AXES]
    if signs is None or len(rows) != AXES or any(len(row) != AXES for row in rows):
        return None, sizes
    affine = np.eye(4)
    affine[:AXES, :AXES] = (np.stack(rows) * np.array(signs)).T
    return affine, sizes


def write_nrrd_file(
    path: Path,
    values: Shaped[np.ndarray, "h w"],
    spacing: tuple[float, float] | None,
    segments: Sequence[str] = (),
) -> None:
    """Write rows and columns as 3D Slicer does, with the names of the segments 1, 2 and so on."""
    nrrd = import_extra("nrrd", "pynrrd", "formats")
    down, across = spacing or (1.0, 1.0)
    header: dict[str, Any] = {
        "space": "left-posterior-superior",
        "kinds": ["domain"] * AXES,
        "space directions": np.diag([across, down, 1.0]),
        "space origin": np.zeros(AXES),
        "encoding": "gzip",
    }
    for number, name in enumerate(segments):
        header |= {
            f"Segment{number}_ID": f"Segment_{number + 1}",
            f"Segment{number}_Name": name,
            f"Segment{number}_LabelValue": str(number + 1),
            f"Segment{number}_Layer": "0",
            f"Segment{number}_Extent": f"0 {values.shape[1] - 1} 0 {values.shape[0] - 1} 0 0",
        }
    if segments:
        header |= {"Segmentation_MasterRepresentation": "Binary labelmap", OFFSET: "0 0 0"}
    flat = np.ascontiguousarray(values.T)[:, :, None]
    write_whole(path, lambda part: nrrd.write(str(part), flat, header), durable=False)
