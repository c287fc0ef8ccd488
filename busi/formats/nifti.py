"""NIfTI files of one image, versions 1 and 2, compressed or not."""

import gzip
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped

from busi.core import InputError, import_extra, write_whole
from busi.formats.files import read_bytes
from busi.formats.orientation import Volume, check_size, color_to_gray

MILLIMETERS = {"unknown": 1.0, "mm": 1.0, "meter": 1000.0, "micron": 0.001}
MAX_AXES = 5


@np.errstate(all="ignore")  # numbers of a header may be far too large
def read_nifti(path: Path) -> Volume:
    """Read a file.

    Raises:
        InputError: If it is damaged, too large, or holds several images.
    """
    nibabel = import_extra("nibabel", "nibabel", "formats")
    content = read_bytes(path)
    version = nibabel.Nifti2Image if content[4:7] in (b"n+2", b"ni2") else nibabel.Nifti1Image
    try:
        image = version.from_bytes(content)
        header = image.header
        check_size(image.shape)
        values = np.asanyarray(image.dataobj)
        if values.dtype.kind == "f" and image.dataobj.slope != 1:
            values = np.round(values, 6)  # 255 times the slope 1 / 255 is not 1
        unit = MILLIMETERS.get(header.get_xyzt_units()[0], 1.0)
        zooms = [float(zoom) * unit for zoom in header.get_zooms()[:3]]
        says = bool(header["qform_code"] or header["sform_code"])
        affine = np.asarray(image.affine, np.float64) if says else None
        return Volume([read_layer(values)], affine, (*zooms, 1.0, 1.0)[:3])
    except InputError:
        raise
    except Exception as error:  # nibabel raises whatever a damaged file makes its parts raise
        raise InputError("damaged or truncated NIfTI file") from error


def read_layer(values: Shaped[np.ndarray, "..."]) -> Shaped[np.ndarray, "x y z"]:
    """The values of the one image of a file, color as gray.

    Raises:
        InputError: If there are several.
    """
    if values.dtype.names:
        values = np.stack([values[name] for name in values.dtype.names[:3]], -1)
        return color_to_gray(to_axes(values, 3))
    if values.ndim == MAX_AXES and values.shape[3:] == (1, 3):
        return color_to_gray(values[:, :, :, 0])
    return to_axes(values, 0)


def to_axes(values: Shaped[np.ndarray, "..."], colors: int) -> Shaped[np.ndarray, "..."]:
    """An array with three axes, and one of colors if there are any.

    Raises:
        InputError: If it has more that are longer than 1.
    """
    own = values.ndim - bool(colors)
    shape = (*values.shape[:own], 1, 1)
    if any(size != 1 for size in shape[3:]):
        raise InputError(f"{own} axes: give a file for each image")
    return values.reshape((*shape[:3], *values.shape[own:]))


def write_nifti_file(
    path: Path, values: Shaped[np.ndarray, "h w"], spacing: tuple[float, float] | None
) -> None:
    """Write rows and columns as ITK does: columns along the first axis, to the patient's left and back."""
    nibabel = import_extra("nibabel", "nibabel", "formats")
    down, across = spacing or (1.0, 1.0)
    affine = np.diag([-across, -down, 1.0, 1.0])
    image: Any = nibabel.Nifti1Image(np.ascontiguousarray(values.T)[:, :, None], affine)
    image.header.set_xyzt_units("mm")
    image.set_qform(affine, 1)
    image.set_sform(affine, 1)
    content = gzip.compress(image.to_bytes(), 6, mtime=0)
    write_whole(path, lambda part: part.write_bytes(content), durable=False)
