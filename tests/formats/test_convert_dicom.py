"""DICOM segmentations that highdicom writes, with the images that they refer to."""

import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pydicom
import pytest
from jaxtyping import Shaped
from pydicom.dataset import FileMetaDataset
from pydicom.sr.codedict import codes
from pydicom.uid import UltrasoundImageStorage, UltrasoundMultiFrameImageStorage, generate_uid

from busi.core.tables import read_table
from busi.core.types import InputError
from busi.data.dicom import open_header
from busi.data.files import read_frames, read_gray
from busi.data.frames import Frame
from busi.data.manifest import read_csv
from busi.data.masks import read_mask
from busi.formats import Maker, dicom_segmentations, make_segmentation
from busi.formats.annotations import MAY_BE_MISSING
from busi.formats.converting import convert
from busi.formats.dicom_segmentations import find_group
from busi.formats.known import recognize
from tests.data.test_dicom import region, write
from tests.formats.made import HEIGHT, WIDTH, draw_masks, problems_of, read_back, same

MASKS = draw_masks()
NOISE = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH), np.uint8)
STUDY = generate_uid()


def write_image(
    path: Path,
    patient: str,
    pixels: Shaped[np.ndarray, "..."] = NOISE,
    kind: str = UltrasoundImageStorage,
    **tags: Any,
) -> pydicom.Dataset:
    """An ultrasound image or clip, without a frame of reference."""
    path.parent.mkdir(parents=True, exist_ok=True)
    own: dict[str, Any] = dict.fromkeys(
        ("PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "AccessionNumber"), ""
    )
    own |= {"StudyID": "", "ReferringPhysicianName": "", "Modality": "US", "PatientID": patient}
    own |= {"StudyInstanceUID": STUDY, "SeriesInstanceUID": generate_uid(), "SeriesNumber": 1}
    write(path, pixels, SOPClassUID=kind, InstanceNumber=1, **own, **tags)
    return pydicom.dcmread(path)


def write_segmentation(
    path: Path,
    image: pydicom.Dataset,
    layers: Shaped[np.ndarray, "..."],
    *words: str,
    kind: str = "BINARY",
) -> None:
    """What a tool saves: a segment for each layer."""
    segments = [
        highdicom.seg.SegmentDescription(
            segment_number=k,
            segment_label=word,
            segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
            segmented_property_type=codes.SCT.Lesion,
            algorithm_type=highdicom.seg.SegmentAlgorithmTypeValues.MANUAL,
        )
        for k, word in enumerate(words, 1)
    ]
    found = highdicom.seg.Segmentation(
        source_images=[image],
        pixel_array=layers,
        segmentation_type=kind,
        segment_descriptions=segments,
        series_instance_uid=generate_uid(),
        series_number=2,
        sop_instance_uid=generate_uid(),
        instance_number=1,
        manufacturer="x",
        manufacturer_model_name="x",
        software_versions="1",
        device_serial_number="1",
    )
    found.save_as(path)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two images of one patient, and one of another."""
    folder = tmp_path / "in"
    for number, (name, patient) in enumerate(
        {"benign a": "7", "benign b": "7", "malignant (1)": "Q"}.items()
    ):
        image = write_image(
            folder / "images" / f"{name}.dcm", patient, NOISE + number, PixelSpacing=[0.1, 0.2]
        )
        write_segmentation(folder / f"seg{number}.dcm", image, MASKS[name][None], name.split()[0].title())
    return folder


def test_segmentations_come_back_equal_with_patients_that_nobody_knows(data: Path, tmp_path: Path) -> None:
    assert recognize(data) == "dicom-seg"
    convert(str(data), tmp_path / "out")
    assert same(read_back(tmp_path / "out"), {k: v for k, v in MASKS.items() if "normal" not in k})
    rows = read_table(tmp_path / "out" / "manifest.csv")
    assert [row["patient"] for row in rows] == ["p0001", "p0001", "p0002"]
    assert {row["spacing"] for row in rows} == {"0.1;0.2"}
    convert(str(data / "seg0.dcm"), tmp_path / "one", images=data / "images")
    assert same(read_back(tmp_path / "one"), {"benign a": MASKS["benign a"]})


def test_several_segments_and_images_of_one_file(tmp_path: Path) -> None:
    image = write_image(tmp_path / "in" / "benign a.dcm", "7")
    halves = np.stack([MASKS["benign a"], MASKS["benign b"], ~MASKS["benign a"]], -1)[None]
    write_segmentation(tmp_path / "in" / "seg.dcm", image, halves.astype(np.uint8), "Benign", "cyst", "rib")
    convert(str(tmp_path / "in"), tmp_path / "out", labels={"cyst": "mask", "rib": "ignore"})
    union = MASKS["benign a"] | MASKS["benign b"]
    assert same(read_back(tmp_path / "out"), {"benign a": union})


def test_a_segmentation_of_the_whole_image_is_cut_as_the_image_is(tmp_path: Path) -> None:
    """The mask may reach out of the tissue region, which is an error, or lie in it."""
    regions: Any = {"SequenceOfUltrasoundRegions": [region(5, 2, 45, 30)]}
    for name, mask in (("benign a", MASKS["benign a"]), ("benign b", MASKS["benign b"])):
        image = write_image(tmp_path / "in" / f"{name}.dcm", "7", **regions)
        write_segmentation(tmp_path / "in" / f"{name}.seg.dcm", image, mask[None], "benign")
    convert(str(tmp_path / "in"), tmp_path / "out")
    ((record,), _) = read_csv(tmp_path / "out" / "manifest.csv")
    shape = read_gray(record.image).shape
    assert np.array_equal(read_mask(record, *shape), MASKS["benign a"][2:31, 5:46])
    problem = "mask that reaches out of the tissue region of its DICOM image"
    assert problems_of(tmp_path / "out") == {"benign b.dcm": problem}
    convert(str(tmp_path / "out" / "manifest.csv"), tmp_path / "coco", to="coco")
    convert(str(tmp_path / "coco"), tmp_path / "back")
    assert np.array_equal(read_back(tmp_path / "back")["benign a"], MASKS["benign a"][2:31, 5:46])


def test_frames_of_a_clip_are_images_where_something_is_drawn(tmp_path: Path) -> None:
    """A clip of three frames, of which two are drawn on; the frames are cut to the tissue."""
    clip = np.random.default_rng(0).integers(0, 256, (3, HEIGHT, WIDTH), np.uint8)
    path, regions = tmp_path / "in" / "benign.dcm", [region(5, 2, 45, 30)]
    image = write_image(
        path, "7", clip, UltrasoundMultiFrameImageStorage, SequenceOfUltrasoundRegions=regions
    )
    del image.NumberOfFrames
    image.SOPClassUID = UltrasoundImageStorage
    for frame in (1, 3):  # highdicom writes one frame where there is no frame of reference
        segmentation = path.with_name(f"seg{frame}.dcm")
        write_segmentation(segmentation, image, MASKS["benign a"][None], "benign")
        dataset = pydicom.dcmread(segmentation)
        derivation = find_group(dataset, 0, "DerivationImageSequence")
        derivation.SourceImageSequence[0].ReferencedFrameNumber = frame
        dataset.save_as(segmentation)
    convert(str(tmp_path / "in"), tmp_path / "out")
    rows = read_table(tmp_path / "out" / "manifest.csv")
    assert [row["id"] for row in rows] == ["benign [1]", "benign [3]"]
    for row, number in zip(rows, (0, 2), strict=True):
        assert np.array_equal(read_gray(tmp_path / "out" / row["image"]), clip[number, 2:31, 5:46])
        mask = read_gray(tmp_path / "out" / row["mask"]) > 0
        assert np.array_equal(mask, MASKS["benign a"][2:31, 5:46])
    sheet, labels = tmp_path / "s.csv", {"benign": "mask"}
    sheet.write_text("image,label,id\nbenign.dcm,malignant,x\n")
    convert(str(tmp_path / "in"), tmp_path / "two", labels=labels, sheet=sheet)
    rows = read_table(tmp_path / "two" / "manifest.csv")
    assert [(row["id"], row["label"]) for row in rows] == [("x [1]", "malignant"), ("x [3]", "malignant")]
    sheet.write_text("image,label\nbenign,malignant\nbenign [3],normal\n")
    convert(str(tmp_path / "in"), tmp_path / "three", labels=labels, sheet=sheet)
    assert problems_of(tmp_path / "three") == {"benign [3]": "image whose row of the sheet is not clear"}


@pytest.mark.parametrize("has_meta", [True, False])
def test_an_image_without_a_preamble_is_read_and_a_directory_is_none(
    data: Path, tmp_path: Path, has_meta: bool
) -> None:
    for path in sorted((data / "images").iterdir()):
        dataset = pydicom.dcmread(path)
        dataset.preamble = None
        if not has_meta:
            dataset.file_meta = FileMetaDataset()
        pydicom.dcmwrite(path, dataset, implicit_vr=False, little_endian=True)
        assert path.read_bytes()[:1] == (b"\2" if has_meta else b"\10")
    (data / "DICOMDIR").write_bytes(bytes(128) + b"DICM")
    convert(str(data), tmp_path / "out")
    assert same(read_back(tmp_path / "out"), {k: v for k, v in MASKS.items() if "normal" not in k})
    assert not (tmp_path / "out" / "problems.csv").exists()


def test_every_fault_of_a_segmentation_is_a_row(data: Path, tmp_path: Path) -> None:
    image = write_image(data / "far" / "x.dcm", "9")
    write_segmentation(data / "stranger.dcm", image, MASKS["benign a"][None], "benign")
    shutil.rmtree(data / "far")
    half = MASKS["benign a"][None] * np.float32(0.5)
    first = pydicom.dcmread(data / "images" / "benign a.dcm")
    write_segmentation(data / "half.dcm", first, half, "x", kind="FRACTIONAL")
    content = (data / "seg1.dcm").read_bytes()
    (data / "cut.dcm").write_bytes(content[: len(content) // 2])
    huge = pydicom.dcmread(data / "seg1.dcm")
    huge.Rows = huge.Columns = 60_000
    huge.save_as(data / "huge.dcm")
    write(data / "images" / "flat.dcm", np.zeros((9, 9), np.uint8))
    convert(str(data), tmp_path / "out", empty="normal")
    found = problems_of(tmp_path / "out")
    assert found.pop("stranger.dcm").startswith("segmentation of an image that is not there")
    assert found == {
        "half.dcm": "segmentation of probabilities: threshold it, and save it as a binary one",
        "cut.dcm": "damaged or incomplete DICOM segmentation",
        "huge.dcm": "size of 60000 x 60000: give at most 50 megapixels, and at least one",
        "images/flat.dcm": "every pixel has the same gray level (0): it shows nothing",
    }
    assert len(read_table(tmp_path / "out" / "manifest.csv")) == 3
    with pytest.raises(InputError, match=r"file that is no DICOM segmentation"):
        convert(str(data / "images" / "benign a.dcm"), tmp_path / "other", source_format="dicom-seg")


@pytest.mark.parametrize("kind", ["cut", "stranger", "deflated", "two words"])
def test_a_segmentation_that_cannot_be_used_leaves_no_normal_image(
    kind: str, data: Path, tmp_path: Path
) -> None:
    path = data / "seg0.dcm"
    dataset = pydicom.dcmread(path)
    if kind == "stranger":
        dataset.PerFrameFunctionalGroupsSequence[0].DerivationImageSequence[0].SourceImageSequence[
            0
        ].ReferencedSOPInstanceUID = "1.2.3"
    elif kind == "two words":
        dataset.SegmentSequence.append(pydicom.Dataset())
        dataset.SegmentSequence[1].SegmentNumber, dataset.SegmentSequence[1].SegmentLabel = 1, "Cyst"
    elif kind == "deflated":
        dataset.file_meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian
    dataset.save_as(path)
    path.write_bytes(path.read_bytes()[: -30 if kind == "cut" else None])
    convert(str(data), tmp_path / "out", empty="normal")
    found = problems_of(tmp_path / "out")
    assert found.keys() == {"seg0.dcm", "images/benign a.dcm"}
    assert found["images/benign a.dcm"] == MAY_BE_MISSING
    assert read_back(tmp_path / "out").keys() == {"benign b", "malignant (1)"}


def test_images_of_one_identifier_are_rows_unless_they_are_the_same(data: Path, tmp_path: Path) -> None:
    images = data / "images"
    shutil.copy(images / "benign a.dcm", images / "same.dcm")
    other = pydicom.dcmread(images / "benign b.dcm")
    other.PixelData = bytes(255 - x for x in other.PixelData)
    other.save_as(images / "other.dcm")
    convert(str(data), tmp_path / "out", empty="normal")
    found = problems_of(tmp_path / "out")
    assert found.keys() == {"images/benign b.dcm", "images/other.dcm"}
    assert all(text.startswith("DICOM image with the SOPInstanceUID of another") for text in found.values())
    assert read_back(tmp_path / "out").keys() == {"benign a", "malignant (1)"}


@pytest.mark.parametrize("copy", [False, True])
def test_images_of_an_archive_are_kept_beside_those_of_a_folder(
    copy: bool, data: Path, tmp_path: Path
) -> None:
    """What is unpacked is gone afterwards; what lies elsewhere stays there."""
    (data / "images" / "benign a.dcm").rename(tmp_path / "benign a.dcm")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for path in data.rglob("*.dcm"):
            archive.write(path, path.relative_to(data))
    (tmp_path / "far").mkdir()
    (tmp_path / "benign a.dcm").rename(tmp_path / "far" / "benign a.dcm")
    convert(str(tmp_path / "a.zip"), tmp_path / "out", images=tmp_path / "far", copy=copy)
    assert same(read_back(tmp_path / "out"), {k: v for k, v in MASKS.items() if "normal" not in k})
    images = {row["id"]: row["image"] for row in read_table(tmp_path / "out" / "manifest.csv")}
    far = str(tmp_path / "far" / "benign a.dcm")
    assert [text for text in images.values() if not text.startswith("images/")] == ([] if copy else [far])


def test_a_sheet_names_all_images_of_a_patient(data: Path, tmp_path: Path) -> None:
    """Whose other images have the same PatientID; and numbers are names that the sheet does not use."""
    sheet = tmp_path / "s.csv"
    write_image(data / "images" / "new.dcm", "new", NOISE[::-1])
    sheet.write_text("image,patient\nbenign b,P0001\n")
    convert(str(data), tmp_path / "one", sheet=sheet, empty="normal")
    found = {
        row["id"].rpartition("/")[2]: row["patient"] for row in read_table(tmp_path / "one" / "manifest.csv")
    }
    assert found == {"benign a": "P0001", "benign b": "P0001", "malignant (1)": "p0002", "new": "p0003"}
    sheet.write_text("image,patient\nbenign a,A17\nbenign b,B2\n")
    convert(str(data), tmp_path / "two", sheet=sheet, empty="normal")
    kind = "DICOM image of one PatientID with several names (A17, B2): give it one in the sheet"
    assert problems_of(tmp_path / "two") == dict.fromkeys(
        ("images/benign a.dcm", "images/benign b.dcm"), kind
    )


def test_a_segmentation_of_a_long_clip_is_decoded_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its frames together have more pixels than an image may have, and lie between bytes."""
    data, shape = tmp_path / "in", (7, 9)
    monkeypatch.setattr("busi.formats.orientation.MAX_VALUES", 3 * 63)
    rng = np.random.default_rng(0)
    clip = rng.integers(0, 256, (40, *shape), np.uint8)
    write_image(data / "c.dcm", "7", clip, UltrasoundMultiFrameImageStorage)
    drawn = rng.random((40, *shape)) < 0.3
    drawn[5] = False
    made = make_segmentation(open_header(data / "c.dcm"), range(1, 41), drawn, Maker("m", "8cfa53b2", "1"))
    made.save_as(data / "s.dcm")
    opened: list[Path] = []

    def read(path: Path) -> Iterator[Frame]:
        opened.append(path)
        return read_frames(path)

    monkeypatch.setattr(dicom_segmentations, "read_frames", read)
    assert not convert(str(data), tmp_path / "out", labels={"lesion": "benign"})
    assert len(opened) == 2  # for the spacing, and for the pixels
    rows = read_table(tmp_path / "out" / "manifest.csv")
    numbers = [k for k in range(40) if k != 5]
    assert [row["id"] for row in rows] == [f"c [{k + 1}]" for k in numbers]
    for row, k in zip(rows, numbers, strict=True):
        assert np.array_equal(read_gray(tmp_path / "out" / row["mask"]) > 0, drawn[k])
    monkeypatch.setattr(dicom_segmentations, "MAX_UNPACKED", 39 * 63)
    with pytest.raises(InputError, match="40 frames of over"):
        convert(str(data), tmp_path / "other", labels={"lesion": "benign"})


def test_what_busi_predicts_comes_back_equal(tmp_path: Path) -> None:
    """A still, and a clip on whose middle frame nothing is drawn: that frame is no image."""
    maker, data = Maker("model", "8cfa53b2", "1.2.3"), tmp_path / "in"
    write_image(data / "still.dcm", "7")
    clip = np.stack([NOISE, NOISE[::-1], NOISE[:, ::-1]])
    write_image(data / "clip.dcm", "7", clip, UltrasoundMultiFrameImageStorage)
    drawn = {"still": MASKS["benign a"], "clip [1]": MASKS["benign b"], "clip [3]": MASKS["benign a"]}
    frames = [drawn["clip [1]"], np.zeros((HEIGHT, WIDTH), bool), drawn["clip [3]"]]
    still, source = open_header(data / "still.dcm"), open_header(data / "clip.dcm")
    make_segmentation(still, [None], [drawn["still"]], maker).save_as(data / "1.dcm")
    make_segmentation(source, [1, 2, 3], frames, maker).save_as(data / "2.dcm")
    assert not convert(str(data), tmp_path / "out", labels={"lesion": "benign"})
    rows = {row["id"]: row for row in read_table(tmp_path / "out" / "manifest.csv")}
    assert rows.keys() == drawn.keys()
    for name, mask in drawn.items():
        assert np.array_equal(read_gray(tmp_path / "out" / rows[name]["mask"]), mask * np.uint8(255))
    assert np.array_equal(read_gray(tmp_path / "out" / rows["clip [3]"]["image"]), clip[2])
