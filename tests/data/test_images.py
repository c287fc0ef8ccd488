"""Images of every mode and depth as 8-bit gray, and upright."""

import base64
import io
import logging
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from jaxtyping import Shaped
from PIL import Image, TiffImagePlugin

from busi.core import NORMAL, InputError, Record
from busi.data import levels
from busi.data.contents import read_contents
from busi.data.files import pixel_format, read_frames, read_gray, read_nth
from busi.data.images import pixel_hash
from busi.data.inputs import InputFile, read_items
from busi.data.levels import refuse_flat, to_gray
from busi.formats.labelme import open_image
from busi.inference.demo_files import count_frames, read_frame
from busi.inference.predictor import as_frame
from tests.data.conftest import draw, save

ORIENTATION = 274
UPRIGHT: dict[int, Callable[..., Any]] = {
    1: lambda a: a,
    2: np.fliplr,
    3: lambda a: np.rot90(a, 2),
    4: np.flipud,
    5: np.transpose,
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a, 2).T,
    8: np.rot90,
}
"""What a viewer does to the stored pixels (EXIF 2.3, orientation)."""


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "LA", "P"])
def test_modes_of_a_gray_image_decode_to_the_same_pixels(tmp_path: Path, mode: str) -> None:
    image = draw(0)
    decoded = read_gray(save(tmp_path / "x.png", image, mode))
    assert np.array_equal(decoded, image)
    assert pixel_hash(decoded) == pixel_hash(image)


@pytest.mark.parametrize(
    ("mode", "suffix"), [("1", "png"), ("CMYK", "tif"), ("CMYK", "jpg"), ("RGB", "bmp"), ("P", "bmp")]
)
def test_other_modes_are_what_pillow_shows(tmp_path: Path, mode: str, suffix: str) -> None:
    path = save(tmp_path / f"x.{suffix}", draw(0), mode)
    with Image.open(path) as image:
        assert np.array_equal(read_gray(path), np.asarray(image.convert("L")))


def test_color_is_its_luma_bit_by_bit(tmp_path: Path) -> None:
    color = np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)
    expected = np.asarray(Image.fromarray(color).convert("L"))
    for mode in ("RGB", "RGBA"):
        Image.fromarray(color).convert(mode).save(tmp_path / "x.png")
        assert np.array_equal(read_gray(tmp_path / "x.png"), expected)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA", "tRNS"])
def test_what_is_transparent_becomes_black(tmp_path: Path, mode: str) -> None:
    gray = draw(0)
    alpha = np.full(gray.shape, 255, np.uint8)
    alpha[:20], alpha[20:40] = 0, 128
    expected = np.round(gray * (alpha / 255))
    if mode == "tRNS":
        gray[gray == 7], gray[:20], alpha = 8, 7, np.where(np.arange(72)[:, None] < 20, 0, 255)
        expected = np.where(alpha == 0, 0, gray)
        Image.fromarray(gray).save(tmp_path / "x.png", transparency=7)
    elif mode == "PA":
        entries = bytes(range(256))
        image = Image.fromarray(gray).convert("P")
        image.putpalette([x for x in entries for _ in range(3)])
        image.putdata(gray.ravel().tolist())
        image.save(tmp_path / "x.png", transparency=entries)
        expected = np.round(gray.astype(float) ** 2 / 255)
    else:
        image = Image.fromarray(gray).convert(mode[:-1])
        image.putalpha(Image.fromarray(alpha))
        image.save(tmp_path / "x.png")
    assert np.abs(read_gray(tmp_path / "x.png") - expected).max() <= 1


def write_wide(path: Path, values: Shaped[np.ndarray, "h w"]) -> Path:
    Image.fromarray(values).save(path)
    return path


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_sixteen_bit_images_are_taken_over_the_bits_that_they_use(
    tmp_path: Path, bits: int, suffix: str
) -> None:
    rng = np.random.default_rng(0)
    values: Shaped[np.ndarray, "h w"] = rng.integers(0, 2**bits, (30, 40)).astype(np.uint16)
    values[0, 0] = 2**bits - 1
    expected = np.round(values * (255 / (2**bits - 1)))
    path = write_wide(tmp_path / f"x.{suffix}", values)
    assert np.array_equal(read_gray(path), expected)
    (frame,) = read_frames(path)
    assert np.array_equal(frame.gray, expected)


def test_every_storage_of_more_than_8_bits_is_the_same_image(tmp_path: Path) -> None:
    values = draw(0).astype(np.uint16) * 16
    expected = read_gray(write_wide(tmp_path / "a.png", values))
    assert np.ptp(expected) > 200
    assert np.array_equal(read_gray(write_wide(tmp_path / "b.tif", values.astype(np.int32))), expected)
    big = Image.frombytes("I;16B", (80, 72), values.astype(">u2").tobytes())
    big.save(tmp_path / "c.tif")
    assert np.array_equal(read_gray(tmp_path / "c.tif"), expected)
    cv2.imwrite(str(tmp_path / "d.tif"), values)
    assert np.array_equal(read_gray(tmp_path / "d.tif"), expected)
    Image.fromarray(4095 - values).save(tmp_path / "e.tif", tiffinfo={262: 0})  # white is zero
    assert np.abs(read_gray(tmp_path / "e.tif").astype(int) - expected).max() <= 1


def test_a_tiff_of_12_bits_is_taken_over_12_bits(tmp_path: Path) -> None:
    dark = (draw(0) // 4).astype(np.uint16)  # of 12 bits, it uses 6
    pairs = dark.reshape(-1, 2).astype(np.uint32)
    packed = (pairs[:, 0] << 12 | pairs[:, 1]).astype(">u4").view(np.uint8).reshape(-1, 4)[:, 1:].tobytes()
    tags = [(256, 80), (257, 72), (258, 12), (259, 1), (262, 1), (273, 122), (277, 1), (278, 72)]
    tags.append((279, len(packed)))
    body = struct.pack("<2sHIH", b"II", 42, 8, len(tags))
    body += b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags) + bytes(4)
    (tmp_path / "a.tif").write_bytes(body + packed)
    assert len(body) == 122
    assert np.array_equal(read_gray(tmp_path / "a.tif"), np.round(dark * (255 / 4095)))


@pytest.mark.parametrize("white", [1, 255])
def test_floating_point_is_0_to_1_or_0_to_255(tmp_path: Path, white: int) -> None:
    values: Shaped[np.ndarray, "h w"] = (draw(0) / 255 * white).astype(np.float32)
    assert np.array_equal(read_gray(write_wide(tmp_path / "a.tif", values)), draw(0))


def test_the_range_that_is_taken_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    levels.say.cache_clear()
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            read_gray(write_wide(tmp_path / "a.png", draw(0).astype(np.uint16) * 16))
            read_gray(write_wide(tmp_path / "a.tif", (draw(0) / 255).astype(np.float32)))
    assert [record.message for record in caplog.records] == [
        "An image of more than 8 bits uses 12 of them: 0 is taken as black, 4095 as white",
        "An image of floating-point values: 0 is taken as black, 1 as white",
    ]


FLOATS = np.linspace(0, 1, 72 * 80, dtype=np.float32).reshape(72, 80)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (np.where(FLOATS > 0.5, np.float32(np.nan), FLOATS), "infinite or no numbers"),
        (np.where(FLOATS > 0.5, np.float32(np.inf), FLOATS), "infinite or no numbers"),
        (FLOATS - np.float32(0.5), "floating-point values from -0.5 to 0.5: scale them"),
        (FLOATS * np.float32(1000), "floating-point values from 0 to 1000: scale them"),
        ((FLOATS * 100_000).astype(np.int32), "values up to 100000: scale them"),
        ((FLOATS * 100).astype(np.int32) - np.int32(5), "values from -5 to 95: scale them"),
    ],
)
def test_values_without_a_meaning_are_one_error(
    tmp_path: Path, values: Shaped[np.ndarray, "h w"], words: str
) -> None:
    path = write_wide(tmp_path / "a.tif", values)
    for read in (read_gray, lambda path: list(read_frames(path))):
        with pytest.raises(InputError, match=words) as raised:
            read(path)
        assert str(path) in str(raised.value)


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
@pytest.mark.parametrize("channels", [3, 4])
def test_color_of_16_bits_is_refused_not_cut_to_8(tmp_path: Path, name: str, channels: int) -> None:
    cv2.imwrite(str(tmp_path / name), np.stack([draw(0).astype(np.uint16) * 16] * channels, -1))
    with pytest.raises(InputError, match="color of more than 8 bits: convert it"):
        read_gray(tmp_path / name)


def test_bands_that_are_no_colors_are_one_error(tmp_path: Path) -> None:
    bands = np.stack([draw(k) for k in range(5)], -1)
    cv2.imwritemulti(str(tmp_path / "pages.tif"), [bands[..., k] for k in range(5)])
    with pytest.raises(InputError, match="file of several images"):
        read_gray(tmp_path / "pages.tif")
    assert len(list(read_frames(tmp_path / "pages.tif"))) == 5
    lab = Image.merge("LAB", [Image.fromarray(bands[..., k]) for k in range(3)])
    lab.save(tmp_path / "lab.tif")
    with pytest.raises(InputError, match="cannot read"):
        read_gray(tmp_path / "lab.tif")
    first, second = Image.fromarray(draw(0)), Image.fromarray(draw(1))
    first.save(tmp_path / "moving.png", save_all=True, append_images=[second])
    for read in (read_gray, lambda path: list(read_frames(path))):
        with pytest.raises(InputError, match="an animation"):
            read(tmp_path / "moving.png")


@pytest.mark.parametrize("first", [True, False])
def test_a_thumbnail_in_a_tiff_is_no_image(first: bool, tmp_path: Path) -> None:
    """Before its image or behind it, for whoever counts images or asks for one of them."""
    path, small = tmp_path / "a.tif", TiffImagePlugin.ImageFileDirectory_v2()
    small[254] = 1
    with TiffImagePlugin.AppendingTiffWriter(str(path), new=True) as file:
        for is_small in (first, not first):
            page = Image.fromarray(draw(0)[::8, ::8]).convert("RGB") if is_small else Image.fromarray(draw(0))
            page.save(file, "TIFF", tiffinfo=small if is_small else {})
            file.newFrame()
    with Image.open(path) as image:
        assert getattr(image, "n_frames", 1) == 2
    assert np.array_equal(read_gray(path), draw(0))
    assert read_nth(path, 2) is None
    found = as_frame(path), read_nth(path, 1), read_frame(path, 1)[1]
    assert all(one is not None and np.array_equal(one.gray, draw(0)) for one in found)
    assert count_frames(path) == 1
    assert [item.number for item in read_items(InputFile("a", path))] == [None]
    assert pixel_format(path) == "L"
    text = base64.b64encode(path.read_bytes()).decode()
    assert np.array_equal(open_image(text, to_gray), draw(0))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "lzw.tif"])
def test_images_are_read_as_a_viewer_turns_them(tmp_path: Path, suffix: str, orientation: int) -> None:
    stored = np.kron(draw(0, 8, 9), np.ones((8, 8), np.uint8))
    path, exif = tmp_path / f"a.{suffix}", Image.Exif()
    exif[ORIENTATION] = orientation
    if path.suffix == ".tif":
        packed = "tiff_lzw" if "lzw" in suffix else None
        Image.fromarray(stored).save(path, tiffinfo={ORIENTATION: orientation}, compression=packed)
    else:
        Image.fromarray(stored).save(path, exif=exif, quality=100)
    expected = UPRIGHT[orientation](stored)
    found = read_gray(path)
    assert found.shape == expected.shape
    assert np.abs(found.astype(int) - expected).max() <= (2 if suffix == "jpg" else 0)
    (frame,) = read_frames(path)
    assert np.array_equal(frame.gray, found)


def test_damaged_exif_does_not_matter(tmp_path: Path) -> None:
    stream = io.BytesIO()
    Image.fromarray(draw(0)).save(stream, "JPEG", exif=b"Exif\0\0garbage!")
    (tmp_path / "a.jpg").write_bytes(stream.getvalue())
    assert read_gray(tmp_path / "a.jpg").shape == draw(0).shape


def test_a_flat_image_is_a_problem_of_the_data_and_of_that_image_alone(tmp_path: Path) -> None:
    pages = [draw(0), np.full((30, 40), 90, np.uint8), draw(1)]
    first, *rest = map(Image.fromarray, pages)
    first.save(tmp_path / "a.tif", save_all=True, append_images=rest)
    items = list(read_items(InputFile("a", tmp_path / "a.tif")))
    assert [(item.id, item.frame is None) for item in items] == [
        ("a [1]", False),
        ("a [2]", True),
        ("a [3]", False),
    ]
    assert items[1].error.endswith("every pixel has the same gray level (90): it shows nothing")
    records = [
        Record(name, save(tmp_path / f"{name}.png", image), (), NORMAL)
        for name, image in (("flat", pages[1]), ("good", pages[0]))
    ]
    good, _, problems = read_contents((records, []), tmp_path / "cache")
    assert [record.id for record in good] == ["good"]
    assert [(x.file, x.kind) for x in problems] == [
        ("flat.png", "every pixel has the same gray level (90): it shows nothing")
    ]


def test_a_mask_is_no_scan() -> None:
    mask = np.where(draw(0) > 90, 255, 0).astype(np.uint8)
    with pytest.raises(InputError, match="no gray level but 0 and 255: it is a mask"):
        refuse_flat(mask)
    mask[0, 0] = 1
    refuse_flat(mask)


def test_hash_depends_on_the_shape_and_on_every_pixel() -> None:
    image = draw(0)
    other = image.copy()
    other[3, 4] ^= 1
    assert len({pixel_hash(image), pixel_hash(other), pixel_hash(image.reshape(80, 72))}) == 3


@pytest.mark.parametrize("content", [b"", b"no image", None])
def test_damaged_file_is_an_error(tmp_path: Path, content: bytes | None) -> None:
    path = save(tmp_path / "x.png", draw(0))
    path.write_bytes(path.read_bytes()[:400] if content is None else content)
    with pytest.raises(InputError, match="cannot read"):
        read_gray(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot read .*gone.png: No such file"):
        read_gray(tmp_path / "gone.png")
