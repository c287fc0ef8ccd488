"""The same scan in other files gets the same answer, and what shows nothing gets none."""

from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.uid import JPEGBaseline8Bit

from busi.core import MALIGNANT, InputError
from busi.data import Frame, draw_sample, read_gray
from busi.inference.folder import predict_files
from busi.inference.predictor import Predictor
from tests.data.test_dicom import write
from tests.data.test_dicom_gray import rewrite, strip_markers

SCAN = draw_sample(MALIGNANT, np.random.default_rng(0), 200).image


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    """The model that comes along."""
    return Predictor()


def test_depth_and_container_do_not_change_the_answer(predictor: Predictor, tmp_path: Path) -> None:
    expected = predictor(SCAN)
    wide = SCAN.astype(np.uint16) * 16
    Image.fromarray(wide).save(tmp_path / "12 bits.png")
    Image.fromarray(wide).save(tmp_path / "12 bits.tif")
    Image.fromarray((SCAN / 255).astype(np.float32)).save(tmp_path / "float.tif")
    Image.fromarray(SCAN).convert("RGBA").save(tmp_path / "opaque.png")
    write(tmp_path / "gray", SCAN)
    write(tmp_path / "16 bits", wide)
    write(tmp_path / "inverted", 255 - SCAN, "MONOCHROME1")
    for path in tmp_path.iterdir():
        found = predictor(path)
        assert found.probs == pytest.approx(expected.probs, abs=0.01), path
        assert (found.mask != expected.mask).mean() < 0.002, path
        assert found.pred == expected.pred


def test_jpeg_in_dicom_that_says_another_color_gets_the_same_answer(
    predictor: Predictor, tmp_path: Path
) -> None:
    Image.fromarray(SCAN).convert("RGB").save(tmp_path / "a.jpg", quality=95, subsampling=0)
    stream = strip_markers((tmp_path / "a.jpg").read_bytes())
    dataset = pydicom.dcmread(write(tmp_path / "a.dcm", np.stack([SCAN] * 3, -1), "RGB"))
    dataset.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    dataset.PixelData = pydicom.encaps.encapsulate([stream])
    dataset.save_as(tmp_path / "a.dcm")
    gray, expected = read_gray(tmp_path / "a.dcm"), read_gray(tmp_path / "a.jpg")
    assert np.abs(gray.astype(int) - expected).max() <= 2  # two decoders round differently
    assert predictor(tmp_path / "a.dcm").probs == pytest.approx(predictor(gray).probs, abs=1e-6)
    plain = rewrite(write(tmp_path / "b.dcm", SCAN), pydicom.uid.RLELossless)
    assert predictor(plain).probs == pytest.approx(predictor(SCAN).probs, abs=1e-6)


def test_results_fit_a_rotated_image_as_a_viewer_shows_it(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6  # stored on its side
    Image.fromarray(np.rot90(SCAN)).save(tmp_path / "turned.png", exif=exif)
    Image.fromarray(SCAN).save(tmp_path / "upright.png")
    rows = predict_files([str(tmp_path)], tmp_path / "out")
    assert [row["id"] for row in rows] == ["turned", "upright"]
    for name in (
        "pred",
        "prob_normal",
        "prob_benign",
        "prob_malignant",
        "pred_area",
        "box_left",
        "box_width",
    ):
        assert rows[0][name] == rows[1][name]
    masks = [np.asarray(Image.open(tmp_path / "out" / "masks" / f"{row['id']}.png")) for row in rows]
    assert masks[0].shape == SCAN.shape
    assert np.array_equal(masks[0], masks[1])
    with Image.open(tmp_path / "out" / "overlays" / "turned.png") as overlay:
        assert overlay.size == SCAN.shape[::-1]


def test_a_pillow_image_is_turned_as_its_file_is(predictor: Predictor, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = 3
    Image.fromarray(SCAN[::-1, ::-1]).save(tmp_path / "a.png", exif=exif)
    with Image.open(tmp_path / "a.png") as image:
        assert predictor(image).probs == predictor(SCAN).probs


@pytest.mark.parametrize("level", [0, 90, 255])
def test_a_flat_image_gets_no_answer(predictor: Predictor, tmp_path: Path, level: int) -> None:
    flat = np.full((30, 40), level, np.uint8)
    Image.fromarray(flat).save(tmp_path / "a.png")
    for image in (flat, tmp_path / "a.png", Image.fromarray(flat)):
        with pytest.raises(InputError, match="every pixel has the same gray level"):
            predictor(image)
    with pytest.raises(InputError, match="every pixel has the same gray level"):
        list(predictor.predict([Frame(SCAN, None), Frame(flat, None)]))
    Image.fromarray(SCAN).save(tmp_path / "b.png")
    with pytest.raises(InputError, match="1 of 2 could not be used"):
        predict_files([str(tmp_path)], tmp_path / "out")
    assert (tmp_path / "out" / "masks" / "b.png").exists()
