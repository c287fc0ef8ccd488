"""DICOM files: written ones whose pixels are known, and those that pydicom ships."""

from pathlib import Path

import numpy as np
import pydicom
import pytest
from jaxtyping import UInt8
from PIL import Image
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, UltrasoundMultiFrameImageStorage, generate_uid

from busi.core.types import InputError
from busi.data.dicom import read_dicom

IMAGE = np.random.default_rng(0).integers(0, 256, (40, 60), np.uint8)


def write(path: Path, pixels: UInt8[np.ndarray, "..."], kind: str = "MONOCHROME2", **tags: object) -> Path:
    """An ultrasound file of these pixels, with a patient's name."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UltrasoundMultiFrameImageStorage
    meta.MediaStorageSOPInstanceUID, meta.TransferSyntaxUID = generate_uid(), ExplicitVRLittleEndian
    dataset = FileDataset(path, {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.PatientName, dataset.SOPInstanceUID = "Doe^Jane", meta.MediaStorageSOPInstanceUID
    color = kind not in ("MONOCHROME1", "MONOCHROME2")
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


def test_spacing_of_the_file_counts_without_a_region(tmp_path: Path) -> None:
    (frame,) = read_dicom(write(tmp_path / "a", IMAGE, PixelSpacing=[0.3, 0.4]))
    assert frame.spacing == pytest.approx((0.3, 0.4))
    (frame,) = read_dicom(write(tmp_path / "b", IMAGE, PixelSpacing=[0, 0]))
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


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("text", "damaged DICOM .InvalidDicomError"),
        ("truncated", "damaged DICOM .ValueError"),
        ("no pixels", "has no image: it is a DICOM file without pixels"),
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
    elif content == "no pixels":
        path = Path(str(get_testdata_file("rtplan.dcm")))
    elif content == "huge":
        write(path, IMAGE, Rows=60000, Columns=60000)
    with pytest.raises(InputError, match=words):
        list(read_dicom(path))
