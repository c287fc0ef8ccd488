"""DICOM segmentations and reports, read back by highdicom and pydicom."""

from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import pydicom
import pytest
from jaxtyping import Bool
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import (
    JPEGBaseline8Bit,
    UltrasoundImageStorage,
    UltrasoundMultiFrameImageStorage,
    generate_uid,
)
from scipy.spatial.distance import pdist

from busi.core import InputError
from busi.data import Spacing, open_header
from busi.formats import Finding, Maker, longest_diameter, make_report, make_segmentation
from tests.data.test_dicom import region, write

MAKER = Maker("räum\\lich " * 20, "8cfa53b213053250", "1.2.3", ("trained on Köln\\1", "tta none"))
PROBS = {"normal": 0.1, "benign": 0.2, "malignant": 0.7}
PATIENT = {
    "PatientID": "7",
    "PatientSex": "?",
    "PatientBirthDate": "in May",
    "StudyDate": "1997.04.24",
    "StudyTime": "noon",
    "PatientAge": "old",
    "StudyDescription": "Brust",
    "StationName": "left behind",
}
"""As scanners write them, and DICOM does not allow them."""


def make_source(path: Path, num_frames: int, **tags: object) -> Dataset:
    """The header of an ultrasound file of 21 x 13 pixels: a frame does not fill whole bytes."""
    several = num_frames > 1
    identity = {
        "SOPClassUID": UltrasoundMultiFrameImageStorage if several else UltrasoundImageStorage,
        "StudyInstanceUID": generate_uid(),
        "SeriesInstanceUID": generate_uid(),
        **PATIENT,
        **tags,
    }
    pixels = np.zeros((num_frames, 21, 13) if several else (21, 13), np.uint8)
    with pydicom.config.disable_value_validation():
        return open_header(write(path, pixels, **identity))


def draw_masks(num_frames: int) -> Bool[np.ndarray, "n 21 13"]:
    """Noise; nothing on the second one."""
    masks = np.random.default_rng(0).random((num_frames, 21, 13)) < 0.4
    masks[1:2] = False
    return masks


def test_what_is_said_of_the_maker_is_ascii(tmp_path: Path) -> None:
    source = make_source(tmp_path / "a.dcm", 1)
    made = make_segmentation(source, [None], draw_masks(1), MAKER)
    finding = Finding(None, 5, 3.0, None, "benign", PROBS)
    for one in (made, make_report(source, made, [finding], MAKER)):
        text = repr(one.to_json_dict())
        assert text.isascii()
        assert "trained on K?ln/1" in text


@pytest.mark.parametrize("numbers", [[None], [2], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11], [2, 5, 9]])
def test_masks_come_back_frame_by_frame(tmp_path: Path, numbers: list[int | None]) -> None:
    source = make_source(tmp_path / "a.dcm", max(n or 1 for n in numbers))
    masks = draw_masks(len(numbers))
    make_segmentation(source, numbers, iter(masks), MAKER).save_as(tmp_path / "seg.dcm")
    found = hd.seg.segread(tmp_path / "seg.dcm")
    known = [number for number in numbers if number is not None]
    if known:
        again = found.get_pixels_by_source_frame(source.SOPInstanceUID, known)
    else:
        again = found.get_pixels_by_source_instance([source.SOPInstanceUID])
    assert np.array_equal(again[..., 0], masks)
    plain = pydicom.dcmread(tmp_path / "seg.dcm")
    assert np.array_equal(plain.pixel_array.reshape(masks.shape), masks)
    assert len(plain.PixelData) % 2 == 0
    positions = [
        frame.PlanePositionSequence[0].ImagePositionPatient
        for frame in plain.PerFrameFunctionalGroupsSequence
    ]
    assert positions == [[0, 0, (number or 1) - 1] for number in numbers]


def test_a_segmentation_says_what_it_is_of_and_who_made_it(tmp_path: Path) -> None:
    source = make_source(tmp_path / "a.dcm", 1)
    made = make_segmentation(source, [None], draw_masks(1), MAKER)
    made.save_as(tmp_path / "seg.dcm")
    found = pydicom.dcmread(tmp_path / "seg.dcm")
    for name in (*PATIENT.keys() - {"StationName"}, "StudyInstanceUID", "PatientName"):
        assert str(found[name].value) == str(source[name].value), name
    assert "StationName" not in found
    assert found.SeriesInstanceUID != source.SeriesInstanceUID
    (series,) = found.ReferencedSeriesSequence
    assert series.SeriesInstanceUID == source.SeriesInstanceUID
    assert series.ReferencedInstanceSequence[0].ReferencedSOPClassUID == UltrasoundImageStorage
    assert source.SOPClassUID == UltrasoundImageStorage
    assert (found.Manufacturer, found.SoftwareVersions) == ("busi", "busi 1.2.3")
    assert found.ManufacturerModelName.startswith("r?um/lich r?um")
    assert len(found.ManufacturerModelName) == 64
    assert "research use only" in found.SeriesDescription
    (segment,) = found.SegmentSequence
    assert "research use only" in segment.SegmentDescription
    assert segment.SegmentAlgorithmType == "AUTOMATIC"
    assert "FrameOfReferenceUID" not in source
    assert found.PositionReferenceIndicator.endswith("1 mm is 1 pixel")
    again = make_segmentation(source, [None], draw_masks(1), MAKER)
    assert again.FrameOfReferenceUID == found.FrameOfReferenceUID
    assert again.SOPInstanceUID != found.SOPInstanceUID


def test_spacing_is_that_of_the_region_and_a_place_that_of_the_file(tmp_path: Path) -> None:
    inside = make_source(tmp_path / "a.dcm", 2, SequenceOfUltrasoundRegions=[region(2, 3, 9, 15)])
    made = make_segmentation(inside, [1, 2], draw_masks(2), MAKER)
    (shared,) = made.SharedFunctionalGroupsSequence
    assert shared.PixelMeasuresSequence[0].PixelSpacing == pytest.approx([0.2, 0.1])
    assert made.PositionReferenceIndicator.endswith("no place in the patient")
    placed = {"ImagePositionPatient": [1, 2, 3], "ImageOrientationPatient": [0, 1, 0, 0, 0, -1]}
    source = make_source(tmp_path / "b.dcm", 1, FrameOfReferenceUID="1.2.3", SliceThickness=4, **placed)
    made = make_segmentation(source, [None], draw_masks(1), MAKER)
    assert made.FrameOfReferenceUID == "1.2.3"
    (frame,) = made.PerFrameFunctionalGroupsSequence
    assert frame.PlanePositionSequence[0].ImagePositionPatient == [1, 2, 3]
    (shared,) = made.SharedFunctionalGroupsSequence
    assert shared.PlaneOrientationSequence[0].ImageOrientationPatient == [0, 1, 0, 0, 0, -1]
    assert shared.PixelMeasuresSequence[0].SliceThickness == 4
    lost = make_source(tmp_path / "c.dcm", 1, FrameOfReferenceUID="1.2.3")
    assert make_segmentation(lost, [None], draw_masks(1), MAKER).FrameOfReferenceUID != "1.2.3"


def test_places_of_the_frames_of_an_enhanced_file_are_kept(tmp_path: Path) -> None:
    frames = []
    for k in range(3):
        position, orientation, frame = Dataset(), Dataset(), Dataset()
        position.ImagePositionPatient, orientation.ImageOrientationPatient = [0, 0, 5 * k], [1, 0, 0, 0, k, 1]
        frame.PlanePositionSequence, frame.PlaneOrientationSequence = [position], [orientation]
        frames.append(frame)
    tags = {"FrameOfReferenceUID": "1.2.3", "PerFrameFunctionalGroupsSequence": frames}
    made = make_segmentation(make_source(tmp_path / "a.dcm", 3, **tags), [1, 3], draw_masks(2), MAKER)
    groups = made.PerFrameFunctionalGroupsSequence
    assert [one.PlanePositionSequence[0].ImagePositionPatient[2] for one in groups] == [0, 10]
    assert [one.PlaneOrientationSequence[0].ImageOrientationPatient[4] for one in groups] == [0, 2]


def test_numbers_that_are_none_count_as_missing(tmp_path: Path) -> None:
    placed = {"FrameOfReferenceUID": "1.2.3", "ImageOrientationPatient": [1, 0, 0, 0, 1, 0]}
    source = make_source(tmp_path / "a.dcm", 1, LossyImageCompression="01", **placed)
    for name in ("ImagePositionPatient", "LossyImageCompressionRatio", "PixelSpacing"):
        tag = pydicom.tag.Tag(name)
        source._dict[tag] = RawDataElement(tag, "DS", 12, rb"here\there\a ", 0, False, True)
    made = make_segmentation(source, [None], draw_masks(1), MAKER)
    assert made.FrameOfReferenceUID != "1.2.3"
    assert "LossyImageCompressionRatio" not in made
    source.ImagePositionPatient = [1, 2, 3]
    make_segmentation(source, [None], draw_masks(1), MAKER).save_as(tmp_path / "seg.dcm")
    assert hd.seg.segread(tmp_path / "seg.dcm").FrameOfReferenceUID == "1.2.3"


def test_loss_is_told_also_where_the_source_does_not_say_it(tmp_path: Path) -> None:
    source = make_source(tmp_path / "a.dcm", 1)
    assert make_segmentation(source, [None], draw_masks(1), MAKER).LossyImageCompression == "00"
    source.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    assert make_segmentation(source, [None], draw_masks(1), MAKER).LossyImageCompression == "01"


@pytest.mark.parametrize("name", ["StudyInstanceUID", "SeriesInstanceUID"])
def test_a_file_that_nothing_can_refer_to_is_one_error(tmp_path: Path, name: str) -> None:
    source = make_source(tmp_path / "a.dcm", 1, **{name: ""})
    with pytest.raises(InputError, match=f"the file has no {name}: nothing can refer to it"):
        make_segmentation(source, [None], draw_masks(1), MAKER)


def test_a_bare_file_of_an_unknown_class_is_enough(tmp_path: Path) -> None:
    source = make_source(tmp_path / "a.dcm", 1, SOPClassUID="1.2.3.4")
    for name in (*PATIENT, "PatientName", "SOPInstanceUID"):  # the UID stands in the file's beginning
        del source[name]
    made = make_segmentation(source, [None], draw_masks(1), MAKER)
    assert made.PatientID is None
    assert made.ReferencedSeriesSequence[0].ReferencedInstanceSequence[0].ReferencedSOPClassUID == "1.2.3.4"
    report = make_report(source, made, [Finding(None, 0, 0.0, None, None, {})], MAKER)
    assert report.PatientID is None
    assert {uids[3] for uids in report.get_evidence()} == {"1.2.3.4", made.SOPClassUID}


@pytest.mark.parametrize("spacing", [None, Spacing(0.2, 0.1)])
def test_a_report_measures_each_frame_and_refers_to_it(tmp_path: Path, spacing: Spacing | None) -> None:
    source = make_source(tmp_path / "a.dcm", 3)
    seg = make_segmentation(source, [1, 3], draw_masks(2), MAKER)
    findings = [
        Finding(1, 50, 12.5, spacing, "malignant", PROBS),
        Finding(3, 0, 0.0, spacing, "normal", PROBS),
    ]
    make_report(source, seg, findings, MAKER).save_as(tmp_path / "sr.dcm")
    report: Any = hd.sr.srread(tmp_path / "sr.dcm")
    (lesion,) = report.content.get_planar_roi_measurement_groups()
    (image,) = report.content.get_image_measurement_groups()
    found = {one.name: one for one in lesion.get_measurements()}
    units = (codes.UCUM.SquareMillimeter.value, "mm") if spacing else ("{pixels}", "{pixels}")
    assert found[codes.SCT.Area].value == pytest.approx(50 * 0.02 if spacing else 50)
    assert found[codes.SCT.LongAxis].value == 12.5
    assert (found[codes.SCT.Area].unit.value, found[codes.SCT.LongAxis].unit.value) == units
    assert found[codes.DCM.ProbabilityOfCancer].value == 70
    assert lesion.get_qualitative_evaluations()[0].value == codes.SCT.Malignant
    reference = lesion.referenced_segmentation_frame
    assert reference.referenced_sop_instance_uid == seg.SOPInstanceUID
    assert reference[0].referenced_frame_numbers == [1]
    assert reference.source_image_for_segmentation.referenced_frame_numbers == [1]
    assert {one.value for one in image.get_measurements()} == {10, 20, 70}
    assert image.source_images[0].referenced_frame_numbers == [3]
    assert report.VerificationFlag == "UNVERIFIED"
    evidence = {uids[2] for uids in report.get_evidence()}
    assert evidence == {source.SOPInstanceUID, seg.SOPInstanceUID}
    text = str(report)
    assert "research use only" in text
    assert text.count("8cfa53b213053250") >= 2


def test_the_longest_diameter_is_that_of_all_pairs_of_corners() -> None:
    mask = np.zeros((60, 70), bool)
    assert longest_diameter(mask, None) == 0
    mask[10:14, 20:50] = True
    assert longest_diameter(mask, None) == pytest.approx(np.hypot(4, 30))
    assert longest_diameter(mask, Spacing(2.0, 0.5)) == pytest.approx(np.hypot(8, 15))
    mask[50:58, 2:10] = True  # a smaller part, which belongs to nothing
    assert longest_diameter(mask, None) == pytest.approx(np.hypot(4, 30))
    rows, columns = np.indices((60, 70))
    for angle in np.linspace(0, 3, 5):
        x, y = columns - 35, rows - 30
        along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
        oval = (along / 25) ** 2 + (across / 9) ** 2 < 1
        corners = np.concatenate([np.argwhere(oval) + np.array([i, j]) for i in (0, 1) for j in (0, 1)])
        for spacing in (None, Spacing(0.3, 0.7)):
            expected = pdist(corners * np.array(spacing or (1, 1))).max()
            assert longest_diameter(oval, spacing) == pytest.approx(expected)
