from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from busi.core.types import InputError
from busi.data.images import pixel_hash, read_gray
from tests.data.conftest import draw, save


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "LA", "P"])
def test_modes_of_a_gray_image_decode_to_the_same_pixels(tmp_path: Path, mode: str) -> None:
    image = draw(0)
    decoded = read_gray(save(tmp_path / "x.png", image, mode))
    assert np.array_equal(decoded, image)
    assert pixel_hash(decoded) == pixel_hash(image)


def test_one_bit_and_sixteen_bit_images_use_the_full_range(tmp_path: Path) -> None:
    binary = (draw(0) > 128).astype(np.uint8) * np.uint8(255)
    assert np.array_equal(read_gray(save(tmp_path / "1.png", binary, "1")), binary)
    wide = draw(0).astype(np.uint16) * np.uint16(257)
    Image.fromarray(wide).save(tmp_path / "16.png")
    assert np.array_equal(read_gray(tmp_path / "16.png"), draw(0))


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
