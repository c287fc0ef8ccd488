"""DICOM Segmentations: predicted masks beside the images that they are of.

An ultrasound image has no place in the patient, and highdicom writes no segmentation of several such images.
3D Slicer and OHIF show none without places at all. So the frames of a segmentation get places in a frame of
reference of their own, which says so: frame by frame one millimeter apart, upright, from 0. They are where
both programs put the images themselves. An image that has a place in the patient keeps it.
"""

from collections.abc import Iterable, Iterator, Sequence
from copy import deepcopy
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from busi.data import Spacing, frame_spacing
from busi.formats.dicom_made import RESEARCH, Maker, as_label, make_basis, read_numbers, take_over

NO_PLACE = "pixels of the source image; no place in the patient"
NO_SPACING = "pixels of the source; no place in the patient; 1 mm is 1 pixel"
"""What the frame of reference of an ultrasound image says of itself."""
SERIES_NUMBER = 900
PLACE = (("ImagePositionPatient", 3), ("ImageOrientationPatient", 6), ("SliceThickness", 1))
"""What says where a frame lies, and how many numbers each has."""
LESION_COLOR = (53.2, 80.1, 67.2)
"""Red, in CIELab."""


class Place(NamedTuple):
    """Where a frame lies.

    Attributes:
        position: Of its first pixel, in mm.
        orientation: Directions of its rows and columns.
        thickness: In mm; 1 where nobody says, for readers want one.
    """

    position: tuple[float, ...]
    orientation: tuple[float, ...]
    thickness: float


def make_segmentation(
    source: Dataset,
    numbers: Sequence[int | None],
    masks: Iterable[Bool[np.ndarray, "h w"]],
    maker: Maker,
) -> Any:
    """A DICOM Segmentation of one segment, the lesion, with a frame for each mask, also if it is empty.

    Args:
        source: Of `busi.data.open_header`.
        numbers: Of the frames of the file that the masks are of, from 1; None for a file of one image.
        masks: At the size of the whole image.
        maker: Who predicted them.

    Returns:
        A file of highdicom, to be saved.

    Raises:
        InputError: If the file does not say what it takes to refer to it.
    """
    import highdicom as hd

    basis = make_basis(source)
    made = hd.seg.Segmentation(
        source_images=[basis],
        pixel_array=np.zeros((basis.Rows, basis.Columns), np.uint8),
        segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=[_describe(maker)],
        series_instance_uid=hd.UID(),
        series_number=SERIES_NUMBER,
        sop_instance_uid=hd.UID(),
        instance_number=1,
        content_label="LESION",
        content_description=as_label(f"predicted by {maker.model}"),
        series_description=as_label(f"Lesion by busi, {RESEARCH}"),
        omit_empty_frames=False,
        **maker.equipment(),
    )
    take_over(made, source)
    (first,) = made.PerFrameFunctionalGroupsSequence
    for item in (
        made.SourceImageSequence[0],
        made.ReferencedSeriesSequence[0].ReferencedInstanceSequence[0],
        first.DerivationImageSequence[0].SourceImageSequence[0],
    ):
        item.ReferencedSOPClassUID = source.SOPClassUID
    places, spacings = _locate(made, source, numbers)
    frames = [
        _make_frame(first, number, order, place, spacing)
        for order, (number, place, spacing) in enumerate(zip(numbers, places, spacings, strict=True), 1)
    ]
    alike: dict[str, set[Any]] = {
        "PlaneOrientationSequence": {place.orientation for place in places},
        "PixelMeasuresSequence": {*zip(spacings, (place.thickness for place in places), strict=True)},
    }
    for name, values in alike.items():
        if len(values) == 1:
            made.SharedFunctionalGroupsSequence[0][name] = frames[0][name]
            for frame in frames:
                del frame[name]
    made.DimensionIndexSequence.append(_index_position(made))
    made.PerFrameFunctionalGroupsSequence, made.NumberOfFrames = frames, len(frames)
    made.PixelData = b"".join(_pack(masks))
    return made


def _describe(maker: Maker) -> Any:
    import highdicom as hd

    algorithm = hd.AlgorithmIdentificationSequence(
        name=as_label(maker.model),
        family=codes.DCM.ArtificialIntelligence,
        version=as_label(f"{maker.software}, {maker.fingerprint}"),
        source="busi",
        parameters={"settings": "; ".join(maker.parameters)},
    )
    segment = hd.seg.SegmentDescription(
        segment_number=1,
        segment_label="Lesion",
        segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
        segmented_property_type=codes.SCT.Lesion,
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=algorithm,
        anatomic_regions=[codes.SCT.Breast],
        display_color=hd.color.CIELabColor(*LESION_COLOR),
    )
    segment.SegmentDescription = f"{as_label(maker.model)}, {maker.software}: {RESEARCH}"
    return segment


def _locate(
    made: Dataset, source: Dataset, numbers: Sequence[int | None]
) -> tuple[list[Place], list[Spacing]]:
    """Places and spacing of the frames; says in the file of which frame of reference they are."""
    indices = [(number or 1) - 1 for number in numbers]
    found = [frame_spacing(source, index) for index in indices]
    spacings = [Spacing(1.0, 1.0) if one is None else one for one in found]
    places = [_find_place(source, index) for index in indices]
    known = [place for place in places if place is not None]
    if source.get("FrameOfReferenceUID") and len(known) == len(places):
        made.FrameOfReferenceUID = source.FrameOfReferenceUID
        made.PositionReferenceIndicator = source.get("PositionReferenceIndicator")
        return known, spacings
    made.PositionReferenceIndicator = NO_SPACING if None in found else NO_PLACE
    upright = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
    return [Place((0.0, 0.0, float(index)), upright, 1.0) for index in indices], spacings


def _find_place(source: Dataset, index: int) -> Place | None:
    """Where a frame lies in the patient; None for most ultrasound."""
    groups = [
        *(source.get("PerFrameFunctionalGroupsSequence") or [])[index : index + 1],
        *(source.get("SharedFunctionalGroupsSequence") or []),
    ]
    items = [
        item
        for group in groups
        for name in ("PlanePositionSequence", "PlaneOrientationSequence", "PixelMeasuresSequence")
        for item in group.get(name) or []
    ]
    if (source.get("NumberOfFrames") or 1) == 1:
        items.append(source)
    position, orientation, thickness = (
        next((found for item in items if len(found := read_numbers(item, name)) == length), ())
        for name, length in PLACE
    )
    return Place(position, orientation, *(thickness or (1.0,))) if position and orientation else None


def _make_frame(first: Dataset, number: int | None, order: int, place: Place, spacing: Spacing) -> Dataset:
    """What a segmentation says of one of its frames.

    Args:
        first: Of the only frame that highdicom wrote.
        number: Of the frame in the source; None if that holds one.
        order: Of this frame here, from 1.
        place: Where it lies.
        spacing: Of its pixels.
    """
    import highdicom as hd
    from highdicom.content import PixelMeasuresSequence, PlaneOrientationSequence, PlanePositionSequence

    frame = deepcopy(first)
    frame.FrameContentSequence[0].DimensionIndexValues = [1, order]
    if number is not None:
        frame.DerivationImageSequence[0].SourceImageSequence[0].ReferencedFrameNumber = number
    system = hd.CoordinateSystemNames.PATIENT
    frame.PlanePositionSequence = PlanePositionSequence(system, place.position)
    frame.PlaneOrientationSequence = PlaneOrientationSequence(system, place.orientation)
    frame.PixelMeasuresSequence = PixelMeasuresSequence([spacing.rows, spacing.columns], place.thickness)
    return frame


def _index_position(made: Dataset) -> Dataset:
    """The second dimension of the frames, after the segment: where they lie."""
    index = Dataset()
    index.DimensionIndexPointer = tag_for_keyword("ImagePositionPatient")
    index.FunctionalGroupPointer = tag_for_keyword("PlanePositionSequence")
    index.DimensionOrganizationUID = made.DimensionIndexSequence[0].DimensionOrganizationUID
    index.DimensionDescriptionLabel = "Image Position (Patient)"
    return index


def _pack(masks: Iterable[Bool[np.ndarray, "h w"]]) -> Iterator[bytes]:
    """Pixels as bits, the first one lowest, frames without a gap between them; an even number of bytes."""
    length, rest = 0, iter(masks)
    while eight := list(islice(rest, 8)):  # of any size they fill whole bytes
        content = np.packbits(np.stack(eight).ravel(), bitorder="little").tobytes()
        length += len(content)
        yield content
    yield b"\0" * (length % 2)
