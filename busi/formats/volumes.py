"""Images and masks as pairs of NIfTI, NRRD or MetaImage files, as 3D Slicer and ITK-SNAP save them."""

from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Shaped, UInt8

from busi.core import CLASSES, NORMAL, InputError
from busi.data import Problem, is_image, read_gray
from busi.formats.annotations import Annotation, Case, Found, Shape, Unplaced
from busi.formats.conversion import Conversion
from busi.formats.files import list_all
from busi.formats.known import is_metaimage, is_nifti, read_head
from busi.formats.metaimage import read_metaimage
from busi.formats.nifti import read_nifti, write_nifti_file
from busi.formats.nrrd import read_nrrd, write_nrrd_file
from busi.formats.orientation import Slice, Volume, is_unturned, slice_to_gray, to_slice
from busi.formats.placing import name_of
from busi.formats.volume_names import find_masks, image_keys, index_images, list_stems, mask_keys

MAX_LABELS = 255
NRRD, METAIMAGE = (".nrrd", ".nhdr"), (".mha", ".mhd")
"""What the names of files end with."""


def read(conversion: Conversion) -> Iterator[Found]:
    """Read a folder of images and masks, or one mask.

    A mask belongs to the image of its name, or of its name without ``_mask``, ``.seg`` and the like, in the
    same folder or in two such as ``images`` and ``masks``; or else to the only image of its folder. Where
    ``--images`` gives images a folder, all other files are masks.
    """
    whole = conversion.path.is_dir()
    below = {path.relative_to(conversion.folder).as_posix(): path for path in list_all(conversion.folder)}
    volumes = {name: path for name, path in below.items() if is_volume(path)}
    masks = find_masks(volumes) if whole else {conversion.path.name}
    if conversion.image_folder is not None:
        inside = conversion.image_folder.resolve()
        masks |= {name for name, path in volumes.items() if whole and inside not in path.resolve().parents}
        listed = list_all(conversion.image_folder)
        below = {path.relative_to(conversion.image_folder).as_posix(): path for path in listed}
    others = {name: path for name, path in below.items() if is_volume(path) or is_image(path)}
    no_images = find_masks(others)
    if conversion.image_folder is not None:  # what is called exactly as a mask is its image
        exact = {image_keys(name)[0] for name in masks}
        no_images = {name for name in no_images if not exact & {*image_keys(name)}}
    images = {
        name: path for name, path in others.items() if name not in no_images and path != conversion.path
    }
    exact_names, channels = index_images(images)
    for name, path in volumes.items():  # a volume that is called as an image of another kind is its mask
        key = image_keys(name)[0]
        near = [*exact_names.get(key, ()), *channels.get(key, ())]
        if whole and images.get(name) == path and any(not is_volume(others[other]) for other in near):
            del images[name]
            masks.add(name)
    drawn = {name: path for name, path in volumes.items() if name in masks}
    for name in others if whole else ():
        if name in no_images and others[name] not in drawn.values():
            kind = "file that is called as a mask: give masks as .nii.gz or .nrrd, or list them in a sheet"
            yield Unplaced(name, kind, name)
    yield from pair_files(drawn if whole else {conversion.path.name: conversion.path}, images, conversion)


def pair_files(
    masks: Mapping[str, Path], images: Mapping[str, Path], conversion: Conversion
) -> Iterator[Found]:
    """The annotation of each image, by the masks that belong to it."""
    mine: dict[str, list[Path]] = {}
    indices = index_images(images)
    for name, path in masks.items():
        keys = mask_keys(name)
        found = next((index[key] for index in indices for key in keys if key in index), [])
        if not found and not list_stems(name)[-1]:
            found = [other for other, image in images.items() if image.parent == path.parent]
        if len(found) == 1:
            mine.setdefault(found[0], []).append(path)
        else:
            kind = "mask with several images of its name" if found else "mask without an image of its name"
            yield Unplaced(name, kind, path.name)
    for name, path in images.items():
        if name not in mine and conversion.path.is_file():
            continue
        try:
            yield read_pair(name, path, mine.get(name, []), conversion.orientation)
        except InputError as error:
            yield Problem(name, getattr(error, "kind", str(error)), name)


def read_pair(name: str, image: Path, masks: list[Path], orientation: str | None) -> Annotation:
    """The annotation of an image and its masks.

    Raises:
        InputError: If one cannot be read, or nobody says how the axes of a mask lie in the image.
    """
    pixels, spacing, whole = None, None, None
    volume = read_volume(image) if is_volume(image) else None
    if orientation is None:
        orientation = "header"
        if not (volume and is_unturned(volume)) and any(is_unturned(read_volume(mask)) for mask in masks):
            raise InputError(
                "mask whose header is the unit matrix, as scripts write it, and that of its image is not: "
                "say --orientation itk (columns first) or --orientation numpy (rows first)"
            )
    if volume is not None:
        spacing, whole = to_slice(volume, orientation).spacing, volume.layers[0].shape[:2]
        pixels = partial(read_pixels, image, orientation)
    elif masks:
        height, width = read_gray(image).shape
        whole = (height, width) if orientation == "numpy" else (width, height)
    shapes = [
        Shape(word, partial(pick, mask, layer, value, orientation, whole))
        for mask in masks
        for word, layer, value in list_segments(to_slice(read_volume(mask), orientation, whole))
    ]
    return Annotation(name, image, tuple(shapes), spacing=spacing, pixels=pixels)


def list_segments(mask: Slice) -> list[tuple[str, int, int]]:
    """Name, layer and value of what a mask holds; a value without a name is called by its number.

    Raises:
        InputError: If its values are no labels, or one has two names.
    """
    found: list[tuple[str, int, int]] = []
    names: dict[tuple[int, int], str] = {}
    for word, layer, value in mask.segments or ():
        if names.setdefault((layer, value), word) != word:
            raise InputError(f"two segments of one value: {names[layer, value]} and {word}")
    for layer, values in enumerate(mask.layers):
        check_labels(values)
        found += [
            (names.get((layer, int(value)), str(int(value))), layer, int(value))
            for value in np.unique(values)
            if value
        ]
    return found


def check_labels(values: Shaped[np.ndarray, "h w"]) -> None:
    """Raise `InputError` unless these are whole numbers, and few."""
    if values.dtype.kind not in "iubf" or not np.isfinite(values).all():
        raise InputError("mask whose values are no numbers")
    if (values != np.rint(values)).any() or values.min(initial=0) < 0:
        raise InputError("mask whose values are no whole numbers from 0 on: threshold it")
    if len(np.unique(values)) > MAX_LABELS:
        raise InputError(f"mask of over {MAX_LABELS} values: it is an image")


def pick(
    path: Path, layer: int, value: int, orientation: str, whole: tuple[int, int] | None, *_: int
) -> Bool[np.ndarray, "h w"]:
    """The pixels of one segment."""
    return np.asarray(to_slice(read_volume(path), orientation, whole).layers[layer] == value)


def read_pixels(path: Path, orientation: str) -> UInt8[np.ndarray, "h w"]:
    """The gray image that a file holds."""
    return slice_to_gray(to_slice(read_volume(path), orientation).layers[0])


def read_volume(path: Path) -> Volume:
    """Read a NIfTI, NRRD or MetaImage file: by its content, and a damaged one by its name."""
    head, name = read_head(path), path.name.lower()
    if head.startswith(b"NRRD"):
        return read_nrrd(path)
    if is_metaimage(head):
        return read_metaimage(path)
    if is_nifti(head) or not name.endswith((*NRRD, *METAIMAGE)):
        return read_nifti(path)
    return read_nrrd(path) if name.endswith(NRRD) else read_metaimage(path)


def is_volume(path: Path) -> bool:
    """Whether a file is taken for NIfTI, NRRD or MetaImage; a damaged one is by its name."""
    head = read_head(path)
    if head.startswith(b"NRRD") or is_nifti(head) or is_metaimage(head):
        return True
    named = path.name.lower().endswith((".nii", ".nii.gz", *NRRD, *METAIMAGE))
    return named and path.is_file() and not is_image(path)


def write_nifti(cases: Iterable[Case], folder: Path) -> None:
    """Write ``images/`` and ``masks/`` as ``.nii.gz``: 1 is the lesion."""
    for case in cases:
        name = f"{name_of(case)}.nii.gz"
        write_nifti_file(folder / "images" / name, case.gray, case.spacing)
        if (mask := mask_of(case)) is not None:
            write_nifti_file(folder / "masks" / name, mask, case.spacing)


def write_nrrd(cases: Iterable[Case], folder: Path) -> None:
    """Write ``x.nrrd`` and ``x.seg.nrrd``, whose segment is called by the class."""
    for case in cases:
        write_nrrd_file(folder / f"{name_of(case)}.nrrd", case.gray, case.spacing)
        if (mask := mask_of(case)) is not None:
            names = [] if case.label == NORMAL else [CLASSES[case.label]]
            write_nrrd_file(folder / f"{name_of(case)}.seg.nrrd", mask, case.spacing, names)


def mask_of(case: Case) -> UInt8[np.ndarray, "h w"] | None:
    """The mask of a case as it is stored; of a normal image, the empty one."""
    if case.mask is None:
        return np.zeros_like(case.gray) if case.label == NORMAL else None
    return case.mask.astype(np.uint8)
