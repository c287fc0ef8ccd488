"""DICOM files: written ones whose pixels are known, and those that pydicom ships."""

from pathlib import Path

import numpy as np
import pydicom
import pytest
from jaxtyping import Shaped
from PIL import Image
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import (
    EncapsulatedPDFStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
    UltrasoundMultiFrameImageStorage,
    generate_uid,
)

from busi.core.types import InputError
from busi.data.dicom import read_dicom, read_header
from busi.data.files import is_dicom, read_frames

IMAGE = np.random.default_rng(0).integers(0, 256, (40, 60), np.uint8)


def write(
    path: Path, pixels: Shaped[np.ndarray, "..."], kind: str = "MONOCHROME2", /, **tags: object
) -> Path:
    """An ultrasound file of these pixels, with a patient's name."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UltrasoundMultiFrameImageStorage
    meta.MediaStorageSOPInstanceUID, meta.TransferSyntaxUID = generate_uid(), ExplicitVRLittleEndian
    dataset = FileDataset(path, {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.PatientName, dataset.SOPInstanceUID = "Doe^Jane", meta.MediaStorageSOPInstanceUID
    color = kind not in ("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR")
    dataset.Rows, dataset.Columns = pixels.shape[-3:-1] if color else pixels.shape[-2:]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = (3 if color else 1), kind
    dataset.BitsAllocated = dataset.BitsStored = 8 * pixels.itemsize
    dataset.HighBit, dataset.PixelRepresentation = dataset.BitsStored - 1, 0
    if color:
        dataset.PlanarConfiguration = 0
    if pixels.ndim == (4 if color else 3):
        dataset.NumberOfFrames = len(pixels)
    for name, value in tags.items():
        setattr(dataset, name, value)
    dataset.PixelData = pixels.tobytes()
    dataset.save_as(path, enforce_file_format=True)
    return path


def region(left: int, top: int, right: int, bottom: int, **tags: object) -> Dataset:
    one = Dataset()
    one.RegionDataType, one.RegionSpatialFormat = 1, 1
    one.RegionLocationMinX0, one.RegionLocationMinY0 = left, top
    one.RegionLocationMaxX1, one.RegionLocationMaxY1 = right, bottom
    one.PhysicalUnitsXDirection = one.PhysicalUnitsYDirection = 3
    one.PhysicalDeltaX, one.PhysicalDeltaY = 0.01, 0.02
    for name, value in tags.items():
        setattr(one, name, value)
    return one


def test_eight_bit_gray_stays_as_it_is_and_monochrome1_is_inverted(tmp_path: Path) -> None:
    (frame,) = read_dicom(write(tmp_path / "a", IMAGE))
    assert np.array_equal(frame.gray, IMAGE)
    assert frame.spacing is None
    (inverted,) = read_dicom(write(tmp_path / "b", IMAGE, "MONOCHROME1"))
    assert np.array_equal(inverted.gray, 255 - IMAGE)


def test_more_bits_are_scaled_by_what_is_stored(tmp_path: Path) -> None:
    wide = IMAGE.astype(np.uint16) * 16
    (frame,) = read_dicom(write(tmp_path / "a", wide, BitsStored=12, HighBit=11))
    assert np.abs(frame.gray - wide.astype(float) * 255 / 4095).max() <= 0.5 + 1e-9
    (window,) = read_dicom(
        write(tmp_path / "b", wide, BitsStored=12, HighBit=11, WindowCenter=2048, WindowWidth=1024)
    )
    assert (window.gray[wide < 1500] == 0).all()
    assert (window.gray[wide > 2600] == 255).all()


def test_frames_come_one_at_a_time_in_order(tmp_path: Path) -> None:
    frames = np.stack([IMAGE, IMAGE[::-1], IMAGE[:, ::-1]])
    found = [frame.gray for frame in read_dicom(write(tmp_path / "a", frames))]
    assert np.array_equal(found, frames)


def test_color_becomes_luma(tmp_path: Path) -> None:
    color = np.random.default_rng(1).integers(0, 256, (20, 30, 3), np.uint8)
    expected = np.asarray(Image.fromarray(color).convert("L"))
    (frame,) = read_dicom(write(tmp_path / "rgb", color, "RGB"))
    assert np.array_equal(frame.gray, expected)
    ybr = np.asarray(Image.fromarray(color).convert("YCbCr"))
    (frame,) = read_dicom(write(tmp_path / "ybr", ybr, "YBR_FULL"))
    assert np.abs(frame.gray.astype(int) - expected).max() <= 2


def test_the_largest_region_of_tissue_is_cut_out_with_its_spacing(tmp_path: Path) -> None:
    regions = [
        region(0, 0, 9, 9),
        region(10, 5, 49, 34),
        region(0, 0, 59, 39, RegionDataType=2),  # a color bar
        region(0, 0, 200, 39),  # reaches out of the image
    ]
    path = write(tmp_path / "a", IMAGE, SequenceOfUltrasoundRegions=regions, PixelSpacing=[9, 9])
    (frame,) = read_dicom(path)
    assert np.array_equal(frame.gray, IMAGE[5:35, 10:50])
    assert frame.spacing == pytest.approx((0.2, 0.1))


@pytest.mark.parametrize(
    ("tags", "found"),
    [
        ({"PhysicalDeltaX": None}, None),
        ({"PhysicalDeltaY": 0}, None),
        ({"PhysicalDeltaX": -0.01}, (0.2, 0.1)),
        ({"PhysicalUnitsXDirection": None}, (9, 9)),
        ({"PhysicalUnitsYDirection": 4}, None),  # a time axis
    ],
)
def test_a_region_without_spacing_is_cut_out_all_the_same(
    tmp_path: Path, tags: dict[str, object], found: tuple[float, float] | None
) -> None:
    one = region(10, 5, 49, 34, **tags)
    for name in [name for name, value in tags.items() if value is None]:
        del one[name]
    path = write(tmp_path / "a", IMAGE, SequenceOfUltrasoundRegions=[one], PixelSpacing=[9, 9])
    (frame,) = read_dicom(path)
    assert np.array_equal(frame.gray, IMAGE[5:35, 10:50])
    assert frame.spacing == (pytest.approx(found) if found else None)


def test_a_region_without_a_place_is_no_region(tmp_path: Path) -> None:
    one = region(10, 5, 49, 34)
    del one.RegionLocationMaxX1
    (frame,) = read_dicom(write(tmp_path / "a", IMAGE, SequenceOfUltrasoundRegions=[one]))
    assert np.array_equal(frame.gray, IMAGE)


@pytest.mark.parametrize("implicit", [True, False])
def test_files_without_a_preamble_or_without_a_syntax_are_read(tmp_path: Path, implicit: bool) -> None:
    dataset = pydicom.dcmread(write(tmp_path / "whole", IMAGE))
    list(dataset.iterall())
    if implicit:
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    for name, has_meta in (("no preamble", True), ("nothing", False)):
        dataset.preamble = None
        if not has_meta:
            dataset.file_meta = FileMetaDataset()
        pydicom.dcmwrite(tmp_path / name, dataset, implicit_vr=implicit, little_endian=True)
        assert is_dicom(tmp_path / name)
        (frame,) = read_frames(tmp_path / name)
        assert np.array_equal(frame.gray, IMAGE)
        assert read_header(tmp_path / name, ["PatientName", "StudyID"]) == {"PatientName": "Doe^Jane"}


def test_files_of_other_kinds_are_no_dicom(tmp_path: Path) -> None:
    for suffix in ("png", "bmp", "tif", "jpg"):
        Image.fromarray(IMAGE).save(tmp_path / f"a.{suffix}")
        assert not is_dicom(tmp_path / f"a.{suffix}")


def test_frames_before_a_damaged_one_are_read(tmp_path: Path) -> None:
    dataset = pydicom.dcmread(write(tmp_path / "a", np.stack([IMAGE] * 3)))
    dataset.compress(RLELossless)
    frames = list(generate_frames(dataset.PixelData, number_of_frames=3))
    frames[1] = frames[1][: len(frames[1]) // 4 * 2]
    dataset.PixelData = encapsulate(frames)
    dataset.save_as(tmp_path / "a")
    read = read_dicom(tmp_path / "a")
    assert np.array_equal(next(read).gray, IMAGE)
    with pytest.raises(InputError, match="damaged, or compressed .RLE Lossless"):
        next(read)


def test_spacing_of_the_file_counts_without_a_region(tmp_path: Path) -> None:
    (frame,) = read_dicom(write(tmp_path / "a", IMAGE, PixelSpacing=[0.3, 0.4]))
    assert frame.spacing == pytest.approx((0.3, 0.4))
    for number, value in enumerate(([0, 0], 0.3, None, [-1, 1])):
        (frame,) = read_dicom(write(tmp_path / f"b{number}", IMAGE, PixelSpacing=value))
        assert frame.spacing is None


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("examples_palette.dcm", 1),
        ("examples_ybr_color.dcm", 30),
        ("SC_rgb_rle_2frame.dcm", 2),
        ("SC_rgb_jpeg_dcmtk.dcm", 1),
        ("JPEGLSNearLossless_08.dcm", 1),
        ("examples_jpeg2k.dcm", 1),
    ],
)
def test_files_of_other_makers_are_decoded(name: str, number: int) -> None:
    path = get_testdata_file(name)
    assert path
    frames = list(read_dicom(Path(str(path))))
    dataset = pydicom.dcmread(str(path))
    assert len(frames) == number
    for frame in frames:
        assert frame.gray.shape == (dataset.Rows, dataset.Columns)
        assert np.ptp(frame.gray) > 100


REMOVED = {
    "document": ("PixelData", "Rows"),
    "floats": ("PixelData",),
    "no rows": ("Rows",),
    "no sign": ("PixelRepresentation",),
    "no color": ("PhotometricInterpretation",),
}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("text", "no DICOM file, or a damaged one"),
        ("truncated", "pixels are cut off, or the header is wrong: 1900 of 2400 bytes"),
        ("empty", "damaged DICOM: 60 x 0 pixels"),
        ("no pixels", "no image: a DICOM file without pixels, or cut off before them .RT Plan Storage"),
        ("report", "no image: a DICOM file without pixels, .* .Comprehensive SR Storage"),
        ("document", "no image: a DICOM file without pixels, .* .Encapsulated PDF Storage"),
        ("floats", "no image: floating-point pixels"),
        ("no rows", "damaged DICOM: it does not say Rows"),
        ("no sign", "damaged DICOM: it does not say PixelRepresentation"),
        ("no color", "damaged DICOM: it does not say PhotometricInterpretation"),
        ("end", "no image: a DICOM file without pixels, or cut off before them"),
        ("huge", "60000 x 60000 pixels: give at most 50 megapixels"),
        ("missing", "cannot read"),
    ],
)
def test_what_is_no_image_is_one_error(tmp_path: Path, content: str, words: str) -> None:
    path = tmp_path / "a.dcm"
    if content == "text":
        path.write_text("not an image")
    elif content == "truncated":
        path.write_bytes(write(tmp_path / "b", IMAGE).read_bytes()[:-500])
    elif content in ("no pixels", "report"):
        path = Path(str(get_testdata_file({"report": "test-SR.dcm"}.get(content, "rtplan.dcm"))))
    elif content in REMOVED:
        dataset = pydicom.dcmread(write(path, IMAGE))
        for keyword in REMOVED[content]:
            del dataset[keyword]
        if content == "document":
            dataset.SOPClassUID = EncapsulatedPDFStorage
            dataset.EncapsulatedDocument = b"%PDF-1.4"
        elif content == "floats":
            dataset.FloatPixelData = IMAGE.astype(np.float32).tobytes()
        dataset.save_as(path)
    elif content == "end":
        whole = write(tmp_path / "b", IMAGE).read_bytes()
        path.write_bytes(whole[: whole.index(b"\xe0\x7f\x10\x00")])  # before the element of the pixels
    elif content == "empty":
        write(path, IMAGE, Rows=0)
    elif content == "huge":
        write(path, IMAGE, Rows=60000, Columns=60000)
    with pytest.raises(InputError, match=words):
        list(read_dicom(path))
