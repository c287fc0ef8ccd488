"""Images and masks as pairs of NIfTI or NRRD files, as 3D Slicer and ITK-SNAP save them."""

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Shaped, UInt8

from busi.core import CLASSES, NORMAL, InputError
from busi.data import Problem, is_image, read_gray
from busi.formats.annotations import Annotation, Case, Found, Shape
from busi.formats.files import list_all, stem_of
from busi.formats.known import is_nifti, read_head
from busi.formats.nifti import read_nifti, write_nifti_file
from busi.formats.nrrd import read_nrrd, write_nrrd_file
from busi.formats.orientation import Slice, Volume, slice_to_gray, to_slice
from busi.formats.placing import name_of
from busi.formats.source import Source

WORDS = r"masks?|seg|segmentations?|labels?|labelmap|gt|groundtruth|annotations?|rois?"
MASK = re.compile(rf"(?:^|[ ._-])(?:{WORDS})(?:[ _-]?\d+| ?\(\d+\))?$", re.IGNORECASE)
"""What the name of a mask ends with: ``a_mask``, ``a.seg``, ``a-label``, ``Segmentation``."""
MASK_FOLDER = re.compile(rf"(?:{WORDS})(?:tr|ts)?", re.IGNORECASE)
IMAGE_FOLDER = re.compile(r"(?:images?|imgs?|scans?|volumes?)(?:tr|ts)?", re.IGNORECASE)
CHANNEL = re.compile(r"_0000$")
"""What nnU-Net adds to the name of an image."""
MAX_LABELS = 255


def read(source: Source) -> Iterator[Found]:
    """Read a folder of images and masks, or one mask.

    A mask belongs to the image of its name, or of its name without ``_mask``, ``.seg`` and the like, in the
    same folder or in two such as ``images`` and ``masks``; or else to the only image of its folder. Where
    ``--images`` gives images a folder, all other files are masks.
    """
    whole = source.path.is_dir()
    below = {path.relative_to(source.folder).as_posix(): path for path in list_all(source.folder)}
    volumes = {name: path for name, path in below.items() if is_volume(path)}
    masks = find_masks(volumes) if whole else {source.path.name}
    if source.image_folder is not None:
        inside = source.image_folder.resolve()
        masks |= {name for name, path in volumes.items() if whole and inside not in path.resolve().parents}
        below = {
            path.relative_to(source.image_folder).as_posix(): path for path in list_all(source.image_folder)
        }
    others = {name: path for name, path in below.items() if is_volume(path) or is_image(path)}
    images: dict[str, list[tuple[str, Path]]] = {}
    no_images = find_masks(others)
    if source.image_folder is not None:  # what is called exactly as a mask is its image
        exact = {mask_keys(name)[0] for name in masks}
        no_images = {name for name in no_images if image_key(name) not in exact}
    for name, path in others.items():
        if name not in no_images and path != source.path:
            images.setdefault(image_key(name), []).append((name, path))
    for name in volumes:  # a volume that is called as an image of another kind is its mask
        mine = images.get(image_key(name), [])
        if whole and (name, volumes[name]) in mine and any(not is_volume(path) for _, path in mine):
            mine.remove((name, volumes[name]))
            masks.add(name)
    drawn = {name: path for name, path in volumes.items() if name in masks}
    yield from pair_files(drawn if whole else {source.path.name: source.path}, images, source)


def pair_files(
    masks: Mapping[str, Path], images: Mapping[str, list[tuple[str, Path]]], source: Source
) -> Iterator[Found]:
    """The annotation of each image, by the masks that belong to it."""
    mine: dict[Path, list[Path]] = {}
    for name, path in masks.items():
        found = next((images[key] for key in mask_keys(name) if images.get(key)), [])
        if not found and not list_stems(name)[-1]:
            found = [one for group in images.values() for one in group if one[1].parent == path.parent]
        if len(found) == 1:
            mine.setdefault(found[0][1], []).append(path)
        else:
            kind = "mask with several images of its name" if found else "mask without an image of its name"
            yield Problem(name, kind, path.name)
    for group in images.values():
        for name, path in group:
            if path not in mine and source.path.is_file():
                continue
            try:
                yield read_pair(name, path, mine.get(path, []), source.orientation)
            except InputError as error:
                yield Problem(name, getattr(error, "kind", str(error)), name)


def read_pair(name: str, image: Path, masks: list[Path], orientation: str) -> Annotation:
    """The annotation of an image and its masks."""
    pixels, spacing, whole = None, None, None
    if is_volume(image):
        volume = read_volume(image)
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
        InputError: If its values are no labels.
    """
    found: list[tuple[str, int, int]] = []
    names = {(layer, value): word for word, layer, value in mask.segments or ()}
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
    """Read a NIfTI or NRRD file."""
    named = path.name.lower().endswith(".nrrd") and not is_nifti(read_head(path))
    return read_nrrd(path) if named or read_head(path).startswith(b"NRRD") else read_nifti(path)


def is_volume(path: Path) -> bool:
    """Whether a file is taken for NIfTI or NRRD; a damaged one is by its name."""
    head = read_head(path)
    named = path.name.lower().endswith((".nii", ".nii.gz", ".nrrd"))
    return head.startswith(b"NRRD") or is_nifti(head) or (named and path.is_file() and not is_image(path))


def find_masks(names: Iterable[str]) -> set[str]:
    """Which files are masks: by the folder above them, or else by their own names.

    ``left_roi.nrrd`` is none if there is ``left_roi.seg.nrrd``.
    """
    masks, bases = set(), set()
    for name in names:
        above, _, last = name.rpartition("/")
        kinds = [MASK_FOLDER.fullmatch(part) is not None for part in above.split("/") if is_kind(part)]
        if kinds[-1] if kinds else MASK.search(plain_name(last)):
            masks.add(name)
            bases.add((above, strip_mask(plain_name(last))))
    return {
        name
        for name in masks
        if is_kind(name.rpartition("/")[0].rpartition("/")[2])
        or (name.rpartition("/")[0], plain_name(name)) not in bases
    }


def is_kind(folder: str) -> bool:
    """Whether the name of a folder says that it holds images, or masks."""
    return MASK_FOLDER.fullmatch(folder) is not None or IMAGE_FOLDER.fullmatch(folder) is not None


def plain_name(name: str) -> str:
    """The last part of a name, without suffix; that of ``a.seg.nrrd`` ends with ``.seg``."""
    last = name.rpartition("/")[2]
    return last[: -len(".nrrd")] if last.lower().endswith(".nrrd") else stem_of(last)


def strip_mask(stem: str) -> str:
    """The name of a mask without what says that it is one; empty for ``Segmentation``."""
    return MASK.sub("", stem)


def place_of(name: str) -> str:
    """The folders of a file but for those that say what it is."""
    return "/".join(part for part in name.split("/")[:-1] if not is_kind(part))


def image_key(name: str) -> str:
    """Equal for an image and `mask_keys` of its masks."""
    return f"{place_of(name)}/{CHANNEL.sub('', plain_name(name))}".casefold()


def mask_keys(name: str) -> list[str]:
    """What the image of a mask may be called, the likeliest first."""
    return [f"{place_of(name)}/{stem}".casefold() for stem in list_stems(name) if stem]


def list_stems(name: str) -> list[str]:
    """The name of a mask, and shorter ones until nothing says that it is a mask."""
    stems = [plain_name(name)]
    while (shorter := strip_mask(stems[-1])) != stems[-1]:
        stems.append(shorter)
    return stems


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
