"""Files of every kind, sound and damaged, and how they are found and named."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from busi.core.types import InputError
from busi.data.files import read_frames, read_gray
from tests.data.test_dicom import write

IMAGE = np.random.default_rng(1).integers(0, 256, (30, 41), np.uint8)


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "jpg"])
def test_a_file_is_read_as_training_reads_it(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(IMAGE).convert("RGB").save(path)
    (frame,) = read_frames(path)
    assert np.array_equal(frame.gray, read_gray(path))
    assert frame.spacing is None


def test_the_content_decides_not_the_name(tmp_path: Path) -> None:
    Image.fromarray(IMAGE).save(tmp_path / "a.jpg", format="PNG")
    (frame,) = read_frames(tmp_path / "a.jpg")
    assert np.array_equal(frame.gray, IMAGE)
    Image.fromarray(IMAGE).save(tmp_path / "a.dcm", format="PNG")
    for path in (write(tmp_path / "b.png", IMAGE), tmp_path / "a.dcm"):
        (frame,) = read_frames(path)
        assert np.array_equal(frame.gray, IMAGE)


def test_every_page_of_a_tiff_is_an_image(tmp_path: Path) -> None:
    pages = [IMAGE, IMAGE[::-1]]
    first, *rest = map(Image.fromarray, pages)
    first.save(tmp_path / "a.tif", save_all=True, append_images=rest)
    frames = list(read_frames(tmp_path / "a.tif"))
    assert [np.array_equal(frame.gray, page) for frame, page in zip(frames, pages, strict=True)] == [True] * 2


def make_bomb(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds next to nothing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    pieces = (chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(bytes(9))), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(pieces)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "no image"),
        (b"no image at all", "no image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "no image"),
        (make_bomb(10_000, 6_000), "10000 x 6000 pixels: give at most 50 megapixels"),
        (make_bomb(30_000, 30_000), "far over 50 megapixels"),
        (b"\0" * 128 + b"DICM" + b"\1\2\3", "no DICOM file, or a damaged one"),
    ],
)
def test_what_is_no_image_says_so(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(InputError, match=words):
        list(read_frames(tmp_path / "a.png"))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "BMP"])
def test_no_cut_and_no_flipped_byte_raises_anything_else(tmp_path: Path, kind: str) -> None:
    stream = io.BytesIO()
    Image.fromarray(IMAGE).save(stream, format=kind)
    whole, rng = stream.getvalue(), np.random.default_rng(0)
    for _ in range(150):
        content = bytearray(whole[: rng.integers(0, len(whole) + 1)])
        for place in rng.integers(0, max(1, len(content)), 5):
            if content:
                content[place] = rng.integers(0, 256)
        (tmp_path / "a").write_bytes(content)
        try:
            for frame in read_frames(tmp_path / "a"):
                assert frame.gray.dtype == np.uint8
        except InputError as error:
            assert str(tmp_path / "a") in str(error)  # noqa: PT017  either outcome is right
