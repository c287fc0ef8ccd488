"""Records whose images are DICOM files: read as prediction reads them, or one clear problem each."""

import io
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from jaxtyping import UInt8
from PIL import Image
from pydicom.data import get_testdata_file
from pydicom.fileset import FileSet
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import (
    MPEG4HP41,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    RLELossless,
)

from busi.core.types import CLASSES, Record
from busi.data.class_folders import read_busi
from busi.data.contents import Content, read_contents
from busi.data.files import pixel_format, read_gray
from busi.data.images import pixel_hash
from busi.data.inputs import InputFile, find_inputs, read_items
from busi.data.manifest import read_csv
from busi.data.masks import read_mask
from busi.data.records import Problem
from tests.data.conftest import draw, lesion
from tests.data.test_dicom import region, write
from tests.data.test_dicom_gray import COLOR, YCBCR, encode_jpeg, halve_color, palette, rewrite, write_stream

SCAN = draw(5)
WIDE = SCAN.astype(np.uint16) * 16
TWELVE = {"BitsStored": 12, "HighBit": 11}


def encode_jpeg2000() -> bytes:
    stream = io.BytesIO()
    Image.fromarray(COLOR).save(stream, "JPEG2000", no_jp2=True)
    return stream.getvalue()


WRITERS: dict[str, Callable[[Path], Path]] = {
    "gray": lambda path: write(path, SCAN),
    "inverted": lambda path: write(path, SCAN, "MONOCHROME1"),
    "sixteen": lambda path: write(path, WIDE),
    "twelve": lambda path: write(path, WIDE, **TWELVE),
    "window": lambda path: write(path, WIDE, **TWELVE, WindowCenter=1800, WindowWidth=900),
    "sigmoid": lambda path: write(
        path, WIDE, **TWELVE, WindowCenter=1800, WindowWidth=900, VOILUTFunction="SIGMOID"
    ),
    "rescaled": lambda path: write(path, WIDE, **TWELVE, RescaleSlope=-1, RescaleIntercept=9),
    "color": lambda path: write(path, COLOR, "RGB"),
    "ycbcr": lambda path: write(path, YCBCR, "YBR_FULL"),
    "halved": lambda path: write(path, halve_color(YCBCR), "YBR_FULL_422", Rows=48, Columns=64),
    "palette": lambda path: palette(path, 16, 257),
    "rle": lambda path: rewrite(write(path, SCAN), RLELossless),
    "big": lambda path: rewrite(write(path, WIDE), ExplicitVRBigEndian),
    "implicit": lambda path: rewrite(write(path, SCAN), ImplicitVRLittleEndian),
    "jpeg": lambda path: write_stream(path, encode_jpeg("YCbCr", True), JPEGBaseline8Bit, "YBR_FULL"),
    "jpeg2000": lambda path: write_stream(path, encode_jpeg2000(), JPEG2000Lossless, "YBR_RCT"),
    "region": lambda path: write(path, SCAN, SequenceOfUltrasoundRegions=[region(10, 5, 69, 64)]),
    "one of one": lambda path: write(path, SCAN[None], NumberOfFrames=1),
}


def manifest(folder: Path, *rows: str) -> Path:
    path = folder / "manifest.csv"
    path.write_text("\n".join(("image,label,mask,spacing", *rows, "")))
    return path


def contents_of(
    folder: Path, *rows: str, cache: str = "cache"
) -> tuple[list[Record], list[Content], list[Problem]]:
    return read_contents(read_csv(manifest(folder, *rows)), folder / cache)


def test_training_reads_the_pixels_that_prediction_reads(tmp_path: Path) -> None:
    for name, write_file in WRITERS.items():
        write_file(tmp_path / name)
    records, contents, problems = contents_of(tmp_path, *(f"{name},normal,," for name in WRITERS))
    assert problems == []
    assert sorted(record.id for record in records) == sorted(WRITERS)
    for record, content in zip(records, contents, strict=True):
        (item,) = read_items(InputFile(record.id, record.image))
        assert item.frame is not None
        assert np.array_equal(read_gray(record.image), item.frame.gray)
        assert content.pixel_hash == pixel_hash(item.frame.gray)
        assert (content.height, content.width) == item.frame.gray.shape
    formats = {record.id: pixel_format(record.image) for record in records}
    assert formats["twelve"] == "DICOM MONOCHROME2, 12 bits"
    assert formats["palette"] == "DICOM PALETTE COLOR, 8 bits"


def test_spacing_is_that_of_the_file_unless_the_manifest_has_one(tmp_path: Path) -> None:
    write(tmp_path / "a.dcm", SCAN, PixelSpacing=[0.3, 0.4])
    write(tmp_path / "b.dcm", draw(6), SequenceOfUltrasoundRegions=[region(0, 0, 59, 59)])
    write(tmp_path / "c.dcm", draw(7))
    write(tmp_path / "d.dcm", draw(8), PixelSpacing=[0.3, 0.4])
    rows = [f"{name}.dcm,normal,," for name in "abc"]
    for _ in range(2):  # decoded, and kept
        records, _, _ = contents_of(tmp_path, *rows, "d.dcm,normal,,0.2")
        assert [record.spacing for record in records] == [
            pytest.approx((0.3, 0.4)),
            pytest.approx((0.2, 0.1)),
            None,
            (0.2, 0.2),
        ]


def test_a_folder_of_dicom_files_is_the_folder_of_their_pixels(root: Path, tmp_path: Path) -> None:
    _, plain, _ = read_contents(read_busi(root), tmp_path / "cache")
    for number, path in enumerate(sorted(root.glob("*/*).png"))):
        gray = read_gray(path)
        path.unlink()
        names = (f"{path.stem}.dcm", f"{path.stem}.DICOM", path.stem)
        write(path.with_name(names[number % 3]), gray)
    for folder in CLASSES:
        write(root / folder / "DICOMDIR", SCAN)
        (root / folder / "notes").write_text("text")
    records, contents, problems = read_contents(read_busi(root), tmp_path / "cache")
    assert problems == []
    assert [content.pixel_hash for content in contents] == [content.pixel_hash for content in plain]
    assert [content.mask_hash for content in contents] == [content.mask_hash for content in plain]
    found = find_inputs([str(root)], Path("/nowhere"))
    assert {source.path.resolve() for source in found} == {record.image.resolve() for record in records}


def test_files_named_by_their_uid_have_masks_and_ids_of_their_own(root: Path) -> None:
    for number in (1, 2):
        write(root / "benign" / f"1.2.840.{number}", draw(300 + number))
        Image.fromarray(lesion()).save(root / "benign" / f"1.2.840.{number}_mask.png")
    records, problems = read_busi(root)
    assert problems == []
    found = {record.id: [path.name for path in record.masks] for record in records}
    assert found["1.2.840.1"] == ["1.2.840.1_mask.png"]
    assert found["1.2.840.2"] == ["1.2.840.2_mask.png"]
    rows = [f"benign/1.2.840.{number},benign,," for number in (1, 2)]
    assert [record.id for record in read_csv(manifest(root, *rows))[0]] == [
        "benign/1.2.840.1",
        "benign/1.2.840.2",
    ]


def drawn(height: int, width: int, top: int, left: int) -> UInt8[np.ndarray, "{height} {width}"]:
    mask = np.zeros((height, width), np.uint8)
    mask[top : top + 20, left : left + 20] = 255
    return mask


def test_masks_of_the_whole_image_and_of_its_region_are_the_same(tmp_path: Path) -> None:
    path = write(tmp_path / "a.dcm", SCAN, SequenceOfUltrasoundRegions=[region(10, 5, 69, 64)])
    masks = {"whole": drawn(72, 80, 25, 30), "part": drawn(60, 60, 20, 20)}
    found = []
    for name, mask in masks.items():
        Image.fromarray(mask).save(tmp_path / f"{name}.png")
        record = Record("a", path, (tmp_path / f"{name}.png",), 1)
        found.append(read_mask(record, *read_gray(path).shape))
    assert np.array_equal(found[0], masks["part"] > 0)
    assert np.array_equal(found[0], found[1])


def make_directory(folder: Path) -> Path:
    write(folder / "inside", SCAN)
    dataset = pydicom.dcmread(folder / "inside")
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID
    dataset.PatientID, dataset.StudyInstanceUID, dataset.SeriesInstanceUID = "1", "1.2", "1.3"
    dataset.StudyDate, dataset.StudyTime, dataset.StudyID = "20200101", "100000", "1"
    dataset.Modality, dataset.SeriesNumber, dataset.InstanceNumber = "US", 1, 1
    files = FileSet()
    files.add(dataset)
    files.write(folder / "set")
    return folder / "set" / "DICOMDIR"


def cut_off(path: Path) -> Path:
    write(path, SCAN)
    path.write_bytes(path.read_bytes()[:-500])
    return path


def garble(path: Path) -> Path:
    path.write_bytes(b"x" * 500)
    return path


BAD: dict[str, tuple[Callable[[Path], Path], str]] = {
    "frames": (lambda path: write(path, np.stack([SCAN, SCAN[::-1]])), "file of several images"),
    "cut off": (cut_off, "pixels are cut off, or the header is wrong"),
    "report": (
        lambda _: Path(str(get_testdata_file("test-SR.dcm"))),
        "no image: a DICOM file without pixels",
    ),
    "directory": (lambda path: make_directory(path.parent), "no image: a DICOM file without pixels"),
    "video": (
        lambda path: write_stream(path, bytes(100), MPEG4HP41, "YBR_PARTIAL_420"),
        "compressed as MPEG-4 .* not supported",
    ),
    "stream": (
        lambda path: write_stream(path, b"\xff\xd8no\xff\xd9", JPEGBaseline8Bit, "RGB"),
        "damaged, or compressed",
    ),
    "garbage": (garble, "no DICOM file, or a damaged one"),
    "flat": (lambda path: write(path, SCAN * 0), "every pixel has the same gray level"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_no_single_image_is_one_problem(tmp_path: Path, case: str) -> None:
    write_file, words = BAD[case]
    path = write_file(tmp_path / "a.dcm")
    write(tmp_path / "good.dcm", SCAN)
    records, _, (problem,) = contents_of(tmp_path, f"{path},normal,,", "good.dcm,normal,,")
    assert [record.id for record in records] == ["good"]
    assert (problem.file, re.match(words, problem.kind) is not None) == (path.name, True), problem


@pytest.mark.parametrize(
    ("mask", "words"),
    [
        ("dicom", "mask that is a DICOM file"),
        ("size", "mask of another size than its image"),
        ("out", "mask that reaches out of the tissue region of its DICOM image"),
        ("beside", "mask that reaches out of the tissue region of its DICOM image"),
    ],
)
def test_masks_that_do_not_fit_are_one_problem(tmp_path: Path, mask: str, words: str) -> None:
    write(tmp_path / "a.dcm", SCAN, SequenceOfUltrasoundRegions=[region(30, 30, 69, 64)])
    if mask == "dicom":
        write(tmp_path / "mask.png", drawn(72, 80, 40, 40))
    else:
        place = {"size": (71, 80, 40, 40), "out": (72, 80, 20, 40), "beside": (72, 80, 2, 2)}[mask]
        Image.fromarray(drawn(*place)).save(tmp_path / "mask.png")
    _, _, (problem,) = contents_of(tmp_path, "a.dcm,benign,mask.png,")
    assert (problem.kind.startswith(words), problem.file) == (True, "mask.png"), problem


def test_a_file_is_read_as_soon_as_its_decoder_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    WRITERS["jpeg2000"](tmp_path / "a.dcm")
    write(tmp_path / "b.dcm", SCAN)
    rows = ("a.dcm,normal,,", "b.dcm,normal,,")
    with monkeypatch.context() as patch:
        patch.setattr(get_decoder(JPEG2000Lossless), "_available", {})
        records, _, (problem,) = contents_of(tmp_path, *rows)
        assert "needs pip install '.[dicom]'" in problem.kind
        assert [record.id for record in records] == ["b"]
    records, _, problems = contents_of(tmp_path, *rows)
    assert ([record.id for record in records], problems) == (["a", "b"], [])
