"""Known gray values through each color and each compression that DICOM has and that is installed."""

import io
import logging
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pydicom
import pytest
from jaxtyping import UInt8
from PIL import Image
from pydicom.data import get_testdata_file
from pydicom.encaps import encapsulate
from pydicom.uid import (
    MPEG4HP41,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    RLELossless,
)

from busi.core.types import InputError
from busi.data import levels
from busi.data.dicom import read_dicom
from tests.data.test_dicom import IMAGE, write

NATIVE = (
    ImplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
)


def make_color(height: int = 48, width: int = 64) -> UInt8[np.ndarray, "h w 3"]:
    """A gray scan on black with a patch of color, as Doppler paints it."""
    smooth = cv2.GaussianBlur(np.random.default_rng(3).normal(size=(height, width)), (0, 0), 4)
    gray = (255 * (smooth - smooth.min()) / np.ptp(smooth)).astype(np.uint8)
    gray[:, :8] = 0
    color = np.stack([gray] * 3, -1)
    color[8:16, 40:56] = (200, 40, 30)
    return color


COLOR = make_color()
GRAY = np.asarray(Image.fromarray(COLOR).convert("L"))
YCBCR = np.asarray(Image.fromarray(COLOR).convert("YCbCr"))


def halve_color(ybr: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "h half 4"]:
    """Y Y Cb Cr of each two neighbors (PS3.3, C.7.6.3.1.2)."""
    return np.stack([ybr[:, ::2, 0], ybr[:, 1::2, 0], ybr[:, ::2, 1], ybr[:, ::2, 2]], -1)


def rewrite(path: Path, syntax: pydicom.uid.UID) -> Path:
    dataset = pydicom.dcmread(path)
    list(dataset.iterall())  # what is not decoded is written as it is
    if syntax == RLELossless:
        kind, dataset.PhotometricInterpretation = dataset.PhotometricInterpretation, "RGB"
        if dataset.SamplesPerPixel == 1:
            dataset.PhotometricInterpretation = "MONOCHROME2"
        dataset.compress(RLELossless)
        dataset.PhotometricInterpretation = kind
    elif syntax == ExplicitVRBigEndian:
        dataset["PixelData"].VR = "OB"
    dataset.file_meta.TransferSyntaxUID = syntax
    layout = {"implicit_vr": syntax == ImplicitVRLittleEndian, "little_endian": syntax != ExplicitVRBigEndian}
    pydicom.dcmwrite(path, dataset, enforce_file_format=True, **layout)
    return path


def write_stream(path: Path, stream: bytes, syntax: pydicom.uid.UID, kind: str, **tags: object) -> Path:
    """A color file of one compressed frame."""
    dataset = pydicom.dcmread(write(path, COLOR, kind))
    dataset.file_meta.TransferSyntaxUID = syntax
    for name, value in tags.items():
        setattr(dataset, name, value)
    dataset.PixelData = encapsulate([stream])
    dataset.save_as(path)
    return path


def gray_of(path: Path) -> UInt8[np.ndarray, "h w"]:
    (frame,) = read_dicom(path)
    return frame.gray


def difference(first: UInt8[np.ndarray, "h w"], second: UInt8[np.ndarray, "h w"]) -> int:
    return int(np.abs(first.astype(int) - second).max())


def palette(path: Path, bits: int, factor: int, **tags: object) -> Path:
    """Indices into a table that turns the image over; entries of `bits` bits, `factor` a gray level."""
    entries = ((255 - np.arange(256)) * factor).astype(np.uint8 if bits == 8 else "<u2").tobytes()
    names = [f"{color}PaletteColorLookupTable" for color in ("Red", "Green", "Blue")]
    tables = {f"{name}Data": entries for name in names}
    tables |= {f"{name}Descriptor": [256, 0, bits] for name in names}
    return write(path, 255 - GRAY, "PALETTE COLOR", **(tables | tags))


@pytest.mark.parametrize("syntax", [*NATIVE, RLELossless], ids=lambda syntax: syntax.name[:20])
@pytest.mark.parametrize(
    ("kind", "pixels", "most"),
    [
        ("MONOCHROME1", 255 - GRAY, 0),
        ("MONOCHROME2", GRAY, 0),
        ("RGB", COLOR, 0),
        ("YBR_FULL", YCBCR, 1),
        ("YBR_FULL_422", halve_color(YCBCR), 1),
        ("YBR_FULL_422", YCBCR, 1),  # says half the color, has all
        ("YBR_FULL_422", COLOR, 0),  # has no YCbCr
        ("YBR_FULL", COLOR, 0),
        ("RGB", YCBCR, 1),
        ("YBR_RCT", COLOR, 0),
    ],
)
def test_every_uncompressed_color_in_every_encoding_gives_the_known_gray(
    tmp_path: Path, kind: str, pixels: UInt8[np.ndarray, "..."], most: int, syntax: pydicom.uid.UID
) -> None:
    if pixels.shape[-1] == 4 and syntax == RLELossless:
        pytest.skip("RLE has no halved color")
    path = write(tmp_path / "a", pixels, kind, Rows=GRAY.shape[0], Columns=GRAY.shape[1])
    assert difference(gray_of(rewrite(path, syntax)), GRAY) <= most


@pytest.mark.parametrize("syntax", [*NATIVE[:2], NATIVE[3], RLELossless], ids=lambda syntax: syntax.name[:20])
@pytest.mark.parametrize(("bits", "factor"), [(8, 1), (16, 257), (16, 1)])
def test_palettes_of_8_and_16_bits_and_of_16_that_use_8_are_the_same(
    tmp_path: Path, bits: int, factor: int, syntax: pydicom.uid.UID
) -> None:
    assert np.array_equal(gray_of(rewrite(palette(tmp_path / "a", bits, factor), syntax)), GRAY)


def test_planes_one_after_the_other_are_put_together(tmp_path: Path) -> None:
    planes = np.ascontiguousarray(np.moveaxis(COLOR, -1, 0))
    path = write(
        tmp_path / "a", planes, "RGB", Rows=GRAY.shape[0], Columns=GRAY.shape[1], PlanarConfiguration=1
    )
    assert np.array_equal(gray_of(path), GRAY)


def test_partial_range_of_old_video_is_stretched(tmp_path: Path) -> None:
    partial = YCBCR.copy()
    partial[..., 0] = np.round(16 + YCBCR[..., 0] * (219 / 255))
    size = {"Rows": GRAY.shape[0], "Columns": GRAY.shape[1]}
    found = gray_of(write(tmp_path / "a", halve_color(partial), "YBR_PARTIAL_422", **size))
    assert difference(found, YCBCR[..., 0]) <= 1


def encode_jpeg(holds: str, marked: bool) -> bytes:
    """A JPEG stream of `COLOR`; without markers, nothing in it says which color it holds."""
    stream = io.BytesIO()
    options = {"keep_rgb": True} if holds == "RGB" else {}
    Image.fromarray(COLOR).save(stream, "JPEG", quality=100, subsampling=0, **options)
    whole = stream.getvalue()
    return whole if marked else strip_markers(whole)


def strip_markers(stream: bytes) -> bytes:
    """Leave out the application segments, and number the components 1, 2, 3."""
    kept, place = bytearray(stream[:2]), 2
    while stream[place + 1] != 0xDA:
        size = 2 + int.from_bytes(stream[place + 2 : place + 4], "big")
        segment = bytearray(stream[place : place + size])
        if segment[1] == 0xC0:
            segment[10], segment[13], segment[16] = 1, 2, 3
        if not 0xE0 <= segment[1] <= 0xEF:
            kept += segment
        place += size
    scan = bytearray(stream[place:])
    scan[5], scan[7], scan[9] = 1, 2, 3
    return bytes(kept + scan)


@pytest.mark.parametrize("syntax", [JPEGBaseline8Bit, JPEGExtended12Bit], ids=["baseline", "extended"])
@pytest.mark.parametrize("kind", ["RGB", "YBR_FULL", "YBR_FULL_422"])
@pytest.mark.parametrize("marked", [True, False])
@pytest.mark.parametrize("holds", ["RGB", "YCbCr"])
def test_a_jpeg_is_read_as_what_it_holds_whatever_it_says(
    tmp_path: Path, holds: str, marked: bool, kind: str, syntax: pydicom.uid.UID
) -> None:
    path = write_stream(tmp_path / "a", encode_jpeg(holds, marked), syntax, kind)
    found = gray_of(path).astype(int)
    smooth = np.ones(GRAY.shape, bool)
    smooth[6:18, 38:58] = False  # around the edge of the patch, JPEG rings
    assert np.abs(found - GRAY)[smooth].max() <= 3
    assert np.abs(found - GRAY).mean() < 0.7


def test_a_file_that_says_another_color_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    levels.say.cache_clear()
    with caplog.at_level(logging.WARNING):
        gray_of(write_stream(tmp_path / "a", encode_jpeg("YCbCr", False), JPEGBaseline8Bit, "RGB"))
    assert "A DICOM file says RGB and holds YCbCr: read as what it holds" in caplog.text


def test_colors_without_any_gray_are_read_as_the_stream_or_the_file_says(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    color = np.stack([rng.integers(a, b, (48, 64)) for a, b in ((150, 220), (60, 100), (0, 30))], -1)
    color = color.astype(np.uint8)
    gray = np.asarray(Image.fromarray(color).convert("L"))
    ybr = np.asarray(Image.fromarray(color).convert("YCbCr"))
    assert difference(gray_of(write(tmp_path / "a", color, "RGB")), gray) == 0
    assert difference(gray_of(write(tmp_path / "b", ybr, "YBR_FULL")), gray) <= 1
    stream = io.BytesIO()
    flat = np.broadcast_to(color[:1, :1], color.shape)
    Image.fromarray(np.ascontiguousarray(flat)).save(stream, "JPEG", quality=95, subsampling=2)
    path = write_stream(tmp_path / "c", strip_markers(stream.getvalue()), JPEGBaseline8Bit, "RGB")
    assert difference(gray_of(path), np.full_like(gray, gray[0, 0])) <= 2
    with pytest.raises(InputError, match="YBR_RCT outside of JPEG 2000"):
        gray_of(write(tmp_path / "d", color, "YBR_RCT"))


@pytest.mark.parametrize(
    ("kind", "pixels", "mct", "irreversible", "most"),
    [
        ("RGB", COLOR, 0, False, 0),
        ("RGB", COLOR, 1, False, 0),
        ("YBR_RCT", COLOR, 1, False, 0),
        ("YBR_RCT", COLOR, 0, False, 0),
        ("YBR_ICT", COLOR, 1, True, 2),
        ("YBR_FULL", YCBCR, 0, False, 1),
        ("RGB", YCBCR, 0, False, 1),
        ("YBR_FULL", COLOR, 0, False, 0),
    ],
)
def test_jpeg_2000_gives_the_known_gray(
    tmp_path: Path, kind: str, pixels: UInt8[np.ndarray, "h w 3"], mct: int, irreversible: bool, most: int
) -> None:
    stream = io.BytesIO()
    options = {"mct": mct, "irreversible": irreversible, "no_jp2": True}
    Image.fromarray(pixels).save(stream, "JPEG2000", **options)
    path = write_stream(tmp_path / "a", stream.getvalue(), JPEG2000Lossless, kind)
    assert difference(gray_of(path), GRAY) <= most


@pytest.mark.parametrize(
    ("compressed", "plain"),
    [
        ("SC_rgb_jpeg_gdcm.dcm", "SC_rgb_rle.dcm"),  # JPEG lossless
        ("SC_rgb_gdcm_KY.dcm", "SC_rgb_rle.dcm"),  # JPEG 2000
        ("SC_rgb_dcmtk_+eb+cr.dcm", "SC_rgb_rle.dcm"),  # JPEG baseline of RGB
        ("SC_rgb_jpeg_dcmtk.dcm", "SC_rgb_rle.dcm"),
        ("SC_ybr_full_422_uncompressed.dcm", "SC_rgb_rle.dcm"),
        ("SC_rgb_jls_lossy_line.dcm", "SC_rgb_rle.dcm"),
        ("SC_rgb_jls_lossy_sample.dcm", "SC_rgb_rle.dcm"),
        ("SC_rgb_small_odd_big_endian.dcm", "SC_rgb_small_odd.dcm"),
        ("MR_small_RLE.dcm", "MR_small.dcm"),
        ("MR_small_bigendian.dcm", "MR_small.dcm"),
        ("MR_small_implicit.dcm", "MR_small.dcm"),
        ("MR_small_jp2klossless.dcm", "MR_small.dcm"),
        ("MR_small_jpeg_ls_lossless.dcm", "MR_small.dcm"),
        ("liver_expb_1frame.dcm", "liver_1frame.dcm"),
    ],
)
def test_files_of_other_makers_are_alike_however_compressed(compressed: str, plain: str) -> None:
    first, second = (gray_of(Path(str(get_testdata_file(name)))) for name in (compressed, plain))
    difference = np.abs(first.astype(int) - second)
    assert np.median(difference) <= 1
    assert difference.mean() < 2


def cut_short(stream: bytes) -> bytes:
    return stream[: len(stream) // 2 // 2 * 2]


@pytest.mark.parametrize(
    ("change", "tags", "words"),
    [
        (cut_short, {}, "frame 1 is cut off"),
        (None, {"Rows": 64, "Columns": 48}, "says 48 x 64 pixels and holds 64 x 48"),
        (None, {"PhotometricInterpretation": "HSV"}, "PhotometricInterpretation HSV is not supported"),
        (None, {"PhotometricInterpretation": "MONOCHROME2"}, "says MONOCHROME2 and has 3 values a pixel"),
    ],
)
def test_streams_that_do_not_fit_are_one_error(
    tmp_path: Path, change: Callable[[bytes], bytes] | None, tags: dict[str, object], words: str
) -> None:
    stream = encode_jpeg("YCbCr", True)
    path = write_stream(tmp_path / "a", change(stream) if change else stream, JPEGBaseline8Bit, "RGB", **tags)
    with pytest.raises(InputError, match=words) as raised:
        gray_of(path)
    assert str(path) in str(raised.value)


def test_compression_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    path = write_stream(tmp_path / "a", bytes(100), MPEG4HP41, "YBR_PARTIAL_420")
    with pytest.raises(InputError, match=r"compressed as MPEG-4.*not supported"):
        gray_of(path)
    path = write_stream(tmp_path / "b", b"\xff\xd8nothing\xff\xd9", JPEGBaseline8Bit, "RGB")
    with pytest.raises(InputError, match="damaged, or compressed .JPEG Baseline"):
        gray_of(path)


def test_sixteen_bits_are_taken_as_those_that_are_used_or_said(tmp_path: Path) -> None:
    wide = IMAGE.astype(np.uint16) * 16
    expected = (wide * (255 / 4095)).round()
    assert np.array_equal(gray_of(write(tmp_path / "a", wide)), expected)
    assert np.array_equal(gray_of(write(tmp_path / "b", wide, BitsStored=12, HighBit=11)), expected)
    dark = wide // 4  # the file says 12 bits, so that it is a dark image
    found = gray_of(write(tmp_path / "c", dark, BitsStored=12, HighBit=11))
    assert np.array_equal(found, (dark * (255 / 4095)).round())
    color = np.stack([wide] * 3, -1)
    assert np.array_equal(gray_of(write(tmp_path / "d", color, "RGB", BitsStored=12, HighBit=11)), expected)
    with pytest.raises(InputError, match="unusual place .HighBit 15 of BitsStored 12"):
        gray_of(write(tmp_path / "e", wide * 16, BitsStored=12, HighBit=15))
    with pytest.raises(InputError, match="signed values .from -100. without a window"):
        gray_of(write(tmp_path / "f", wide.astype(np.int16) - np.int16(100), PixelRepresentation=1))


def test_rescaling_moves_the_window_and_nothing_else(tmp_path: Path) -> None:
    wide = IMAGE.astype(np.uint16) * 16
    bits = {"BitsStored": 12, "HighBit": 11}
    plain = gray_of(write(tmp_path / "a", wide, **bits))
    for slope, intercept in ((0.5, 0), (2, -1000), (1, -1024)):
        tags = bits | {"RescaleSlope": slope, "RescaleIntercept": intercept}
        assert np.array_equal(gray_of(write(tmp_path / "b", wide, **tags)), plain)
        window = {"WindowCenter": 2048 * slope + intercept, "WindowWidth": 1024 * slope}
        found = gray_of(write(tmp_path / "c", wide, **tags, **window))
        expected = np.clip((wide.astype(float) - 2048) / 1024 + 0.5, 0, 1) * 255
        assert np.abs(found - expected).max() <= 1
    turned = gray_of(write(tmp_path / "d", wide, **bits, RescaleSlope=-1, RescaleIntercept=0))
    assert np.array_equal(turned, 255 - plain)


@pytest.mark.parametrize(
    "tags",
    [
        {"WindowCenter": 128, "WindowWidth": 0},
        {"WindowCenter": None, "WindowWidth": None},
        {"WindowCenter": 128, "WindowWidth": None},
        {"RescaleSlope": None, "RescaleIntercept": None},
        {"RescaleSlope": None, "RescaleIntercept": 0},
        {"RescaleSlope": 0, "RescaleIntercept": 0},
        {"VOILUTSequence": [], "ModalityLUTSequence": []},
        {"NumberOfFrames": 1},
        {"HighBit": None, "SequenceOfUltrasoundRegions": None},
    ],
)
def test_empty_and_senseless_elements_count_as_missing(tmp_path: Path, tags: dict[str, object]) -> None:
    assert np.array_equal(gray_of(write(tmp_path / "a", IMAGE, **tags)), IMAGE)


@pytest.mark.parametrize(("name", "bits"), [("VOI", 8), ("VOI", 16), ("Modality", 8), ("Modality", 16)])
def test_tables_are_looked_up_at_every_depth(tmp_path: Path, name: str, bits: int) -> None:
    item = pydicom.Dataset()
    item.LUTDescriptor = [4096, 0, bits]
    entries = (4095 - np.arange(4096)) // 16 * (257 if bits == 16 else 1)
    item.LUTData = entries.astype("<u2" if bits == 16 else np.uint8).tobytes()
    wide = IMAGE.astype(np.uint16) * 16
    path = write(tmp_path / "a", wide, BitsStored=12, HighBit=11, **{f"{name}LUTSequence": [item]})
    assert np.array_equal(gray_of(path), 255 - IMAGE)


def test_a_window_of_one_frame_is_that_of_the_frame(tmp_path: Path) -> None:
    """Enhanced multi-frame files keep it in a group of each frame."""
    groups = []
    for center in (64, 192):
        window, group = pydicom.Dataset(), pydicom.Dataset()
        window.WindowCenter, window.WindowWidth = center, 129
        group.FrameVOILUTSequence = [window]
        groups.append(group)
    path = write(tmp_path / "a", np.stack([IMAGE, IMAGE]), PerFrameFunctionalGroupsSequence=groups)
    low, high = (frame.gray for frame in read_dicom(path))
    assert (low[IMAGE >= 128] == 255).all()
    assert (high[IMAGE < 128] == 0).all()


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ExplicitVRBigEndian, RLELossless])
def test_frames_of_an_odd_number_of_pixels_stay_apart(tmp_path: Path, syntax: pydicom.uid.UID) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (3, 5, 7), np.uint8)
    path = rewrite(write(tmp_path / "a", frames), syntax)
    assert np.array_equal([frame.gray for frame in read_dicom(path)], frames)
