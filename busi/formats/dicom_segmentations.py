"""DICOM Segmentations, with the DICOM images that they refer to.

pydicom alone reads them: highdicom refuses files without a slice thickness, which ultrasound does not have,
its own among them.
"""

import zlib
from collections.abc import Iterator, Mapping
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pydicom
from jaxtyping import Bool, UInt8

from busi.core import InputError
from busi.data import Frame, Problem, is_dicom, read_frames
from busi.formats.annotations import Annotation, Found, Shape, Unplaced
from busi.formats.conversion import Conversion
from busi.formats.dicom_images import (
    LABELMAP,
    Image,
    find_images,
    is_segmentation,
    read_tags,
    refuse_deflated,
    to_count,
)
from busi.formats.orientation import check_size

MAX_UNPACKED = 2_000_000_000
"""Bytes of all frames of a segmentation, one a pixel; each frame may have as many as an image."""
REPEATED = "DICOM image with the SOPInstanceUID of another one: keep the one that was drawn on"


class Segment(NamedTuple):
    """What one frame of a segmentation says.

    Attributes:
        word: The label of the segment.
        uid: Of the image.
        frame: Of that image, from 1.
        size: Height and width.
        packed: Its pixels, a bit each, compressed.
    """

    word: str
    uid: str
    frame: int
    size: tuple[int, int]
    packed: bytes

    def draw(self, *_: int) -> Bool[np.ndarray, "h w"]:
        """Its mask."""
        bits = np.frombuffer(zlib.decompress(self.packed), np.uint8)
        height, width = self.size
        return np.unpackbits(bits, count=height * width).reshape(height, width).astype(bool)


class Clip:
    """The frames of a clip, decoded once where they are asked for in order.

    Args:
        path: Its file.
        last: The last frame that is asked for; it is closed then.
    """

    def __init__(self, path: Path, last: int) -> None:
        self._path, self._last = path, last
        self._frames: Iterator[Frame] | None = None
        self._number = 0

    def read(self, number: int) -> Frame:
        """A frame, counted from 1.

        Raises:
            InputError: If there is none, or it cannot be read.
        """
        frames, passed = self._frames, self._number
        if frames is None or number <= passed:
            frames, passed = read_frames(self._path), 0
        self._frames = None  # unless all goes well
        found = next(islice(frames, number - passed - 1, None), None)
        if found is None:
            raise InputError(f"clip without a frame {number}")
        if number < self._last:
            self._frames, self._number = frames, number
        return found

    def read_gray(self, number: int) -> UInt8[np.ndarray, "h w"]:
        """The gray image that a frame is."""
        return self.read(number).gray


def read(conversion: Conversion) -> Iterator[Found]:
    """Read all segmentations of a folder, or one; images without any have no annotation.

    Of a clip, each frame on which something is drawn is an image.
    """
    folders = [conversion.folder, *([conversion.image_folder] if conversion.image_folder else [])]
    found, unread = find_images(folders)
    images = {uid: group[0] for uid, group in found.items()}
    shapes: dict[tuple[str, int], list[Shape]] = {}
    for path in conversion.files:
        name = path.relative_to(conversion.folder).as_posix()
        if not is_dicom(path) or not is_segmentation(path):
            if path == conversion.path:
                yield Problem(name, "file that is no DICOM segmentation", path.name)
            continue
        try:
            segments = read_segments(path, images)
        except InputError as error:
            yield Unplaced(name, str(error), path.name)
            continue
        for one in segments:
            shapes.setdefault((one.uid, one.frame), []).append(Shape(one.word, one.draw))
        if strangers := sorted({one.uid for one in segments} - images.keys()):
            kind = f"segmentation of an image that is not there ({strangers[0]})"
            yield Unplaced(name, f"{kind}: give the DICOM images with --images", path.name)
    frames: dict[str, list[int]] = {}
    for uid, frame in sorted(shapes):
        frames.setdefault(uid, []).append(frame)
    for uid, group in found.items():
        if len(group) > 1 and (uid in frames or conversion.path.is_dir()):
            yield from (Problem(one.name, REPEATED, one.name) for one in group)
            continue
        clip = Clip(group[0].path, max(frames.get(uid, [1])))
        for frame in frames.get(uid, []):
            yield annotate(group[0], frame, tuple(shapes[uid, frame]), clip)
        if uid not in frames and conversion.path.is_dir():
            yield Annotation(group[0].name, group[0].path, size=group[0].size)
    if conversion.path.is_dir():
        yield from unread


def annotate(image: Image, frame: int, shapes: tuple[Shape, ...], clip: Clip) -> Found:
    """The annotation of an image, or of a frame of a clip."""
    if image.frames < 2:
        return Annotation(image.name, image.path, shapes, size=image.size)
    name = f"{image.name.removesuffix('.dcm')} [{frame}]"
    try:
        found = clip.read(frame)
    except InputError as error:
        return Problem(name, getattr(error, "kind", str(error)), image.path.name)
    spacing = None if found.spacing is None else (found.spacing.rows, found.spacing.columns)
    pixels = partial(clip.read_gray, frame)
    return Annotation(
        name, image.path, shapes, size=image.size, spacing=spacing, pixels=pixels, clip=image.name
    )


def read_segments(path: Path, images: Mapping[str, Image]) -> list[Segment]:
    """What the frames of a segmentation say, those without a pixel left out.

    Raises:
        InputError: If it is damaged, too large or of probabilities, or an image has another size.
    """
    try:
        dataset = open_segmentation(path)
        words = read_words(dataset)
        # pydicom's iterator takes no frames that begin within a byte.
        frames = enumerate(np.asarray(dataset.pixel_array).reshape(-1, dataset.Rows, dataset.Columns))
        found = [one for index, pixels in frames for one in list_frame(dataset, index, pixels, words)]
    except InputError:
        raise
    except Exception as error:  # pydicom raises whatever a damaged file makes its parts raise
        raise InputError("damaged or incomplete DICOM segmentation") from error
    for one in found:
        if one.uid in images and images[one.uid].size != one.size:
            raise InputError("segmentation of another size than its image")
    return found


def read_words(dataset: pydicom.Dataset) -> dict[int, str]:
    """The label of each segment.

    Raises:
        InputError: If two have one number.
    """
    words: dict[int, str] = {}
    for one in dataset.SegmentSequence:
        number, word = int(one.SegmentNumber), str(one.SegmentLabel)
        if words.setdefault(number, word) != word:
            raise InputError(f"two segments with the number {number}: {words[number]} and {word}")
    return words


def open_segmentation(path: Path) -> pydicom.Dataset:
    """A segmentation, whose pixels are not decoded yet.

    Raises:
        InputError: If it is too large, or of probabilities.
    """
    refuse_deflated(path)
    header = read_tags(path)
    number, *size = (to_count(header.get(tag), 1) for tag in ("NumberOfFrames", "Rows", "Columns"))
    check_size(tuple(size))
    if number * size[0] * size[1] > MAX_UNPACKED:
        raise InputError(f"{number} frames of over {MAX_UNPACKED // 10**6} MB: save them in several files")
    dataset = pydicom.dcmread(path, force=True)
    if dataset.get("SegmentationType") == "FRACTIONAL":
        raise InputError("segmentation of probabilities: threshold it, and save it as a binary one")
    return dataset


def list_frame(
    dataset: pydicom.Dataset, index: int, pixels: UInt8[np.ndarray, "h w"], words: Mapping[int, str]
) -> list[Segment]:
    """The segments of one frame; several in a label map.

    Raises:
        InputError: If it does not say on which image it is drawn.
    """
    values = [int(value) for value in np.unique(pixels) if value]
    if not values:
        return []
    uid, frame = find_reference(dataset, index)
    if dataset.SOPClassUID == LABELMAP:
        background = int(dataset.get("PixelPaddingValue") or 0)
        named = {value: words[value] for value in values if value != background}
    else:
        number = int(find_group(dataset, index, "SegmentIdentificationSequence").ReferencedSegmentNumber)
        named = {1: words[number]}
    return [
        Segment(word, uid, frame, (*pixels.shape,), zlib.compress(np.packbits(pixels == value).tobytes()))
        for value, word in named.items()
    ]


def find_reference(dataset: pydicom.Dataset, index: int) -> tuple[str, int]:
    """The image that a frame is drawn on, and which of its frames.

    Raises:
        InputError: If it does not say so, and the segmentation refers to several images.
    """
    derived = find_group(dataset, index, "DerivationImageSequence")
    sources = [] if derived is None else list(derived.get("SourceImageSequence") or [])
    if not sources:
        series = dataset.get("ReferencedSeriesSequence") or []
        sources = [one for part in series for one in part.get("ReferencedInstanceSequence") or []]
    if len(sources) != 1:
        raise InputError("segmentation that does not say on which image a frame is drawn")
    frame = sources[0].get("ReferencedFrameNumber") or 1
    return str(sources[0].ReferencedSOPInstanceUID), int(frame if isinstance(frame, int) else frame[0])


def find_group(dataset: pydicom.Dataset, index: int, keyword: str) -> Any:
    """The first item of a functional group of a frame, or of all frames; None if there is none."""
    own = dataset.get("PerFrameFunctionalGroupsSequence") or []
    shared = dataset.get("SharedFunctionalGroupsSequence") or []
    for group in (*own[index : index + 1], *shared):
        if group.get(keyword):
            return group[keyword].value[0]
    return None
