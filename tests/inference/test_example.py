"""The example of a bundle: its masks are those of ``busi.predict``."""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from jaxtyping import Float32, UInt8
from markdown_it import MarkdownIt
from PIL import Image, ImageFilter

from busi import Predictor
from busi.core.types import CLASSES
from busi.data.inputs import find_inputs
from busi.inference.bundle import PRETRAINED, Model
from busi.inference.folder import predict_inputs
from busi.inference.model_card import write_texts
from busi.inference.model_info import ModelInfo, read_model_info
from busi.models.postprocess import Postprocess
from tests.inference.test_predictor import make_image


def load_example(folder: Path) -> Any:
    spec = importlib.util.spec_from_file_location("example", folder / "example.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def make_map(seed: int, height: int, width: int) -> Float32[np.ndarray, "h w"]:
    """Many parts, some of which touch at corners alone; their peaks lie around common thresholds."""
    rng = np.random.default_rng(seed)
    probs = rng.choice(np.linspace(0, 1, 21), (height, width), p=np.r_[0.4, np.full(20, 0.03)])
    return np.asarray(probs, np.float32)


@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.5, 0.95, 1.0])
@pytest.mark.parametrize("high_threshold", [0.0, 0.5, 0.8, 0.9, 0.95, 0.99, 1.0])
def test_parts_are_those_of_the_postprocess(threshold: float, high_threshold: float) -> None:
    example = load_example(PRETRAINED)
    for seed, size in enumerate([(1, 1), (1, 40), (33, 2), (60, 70)]):
        probs = make_map(seed, *size)
        expected = Postprocess(threshold, high_threshold)(probs)
        assert np.array_equal(example.find_lesions(probs, threshold, high_threshold), expected)


def test_parts_are_judged_one_by_one() -> None:
    probs = np.zeros((5, 9), np.float32)
    probs[0, 0], probs[1, 1], probs[4, 4:8] = 0.95, 0.6, 0.7  # two that touch at a corner; one apart
    found = load_example(PRETRAINED).find_lesions(probs, 0.5, 0.9)
    assert [tuple(place) for place in np.argwhere(found).tolist()] == [(0, 0), (1, 1)]


class Gray:
    """In place of both networks: each pixel's gray value is its lesion probability."""

    def run(self, names: list[str], given: dict[str, UInt8[np.ndarray, "b s s"]]) -> tuple[Any, Any]:
        del names
        return self(given["images"])

    def __call__(self, letterboxed: UInt8[np.ndarray, "b s s"]) -> tuple[Any, Any]:
        probs = np.full((len(letterboxed), 3), 1 / 3, np.float32)
        return letterboxed.astype(np.float32) / 255, probs


@pytest.mark.parametrize("image_size", [32, 100, 320])
def test_boxes_and_sizes_are_those_of_the_predictor(image_size: int) -> None:
    example = load_example(PRETRAINED)
    model = {"image_size": image_size, "postprocess": {"threshold": 0.4, "high_threshold": 0.6}}
    info = ModelInfo(image_size, Postprocess(0.4, 0.6), 1.0, None, 0.9, {}, {}, {}, {})
    predictor = Predictor(Model(Gray(), info))
    sizes = [(1, 2), (1, 500), (499, 3), (37, 61), (61, 37), (641, 640), (471, 562), (300, 200)]
    sizes += [tuple(size) for size in np.random.default_rng(0).integers(2, 700, (20, 2)).tolist()]
    for height, width in sizes:
        gray = make_image(height, width)
        mask, _ = example.predict(gray, model, Gray())
        assert np.array_equal(mask, predictor(gray).mask), (height, width)


def compare(example: Any, files: list[Path], bundle: Path, output: Path) -> int:
    """How many masks of ``busi.predict`` show a lesion; all must be those of the example."""
    session = onnxruntime.InferenceSession(bundle / "model.onnx")
    inputs = find_inputs([str(path) for path in files], leave_out=output)
    rows = predict_inputs(Predictor(bundle), inputs, output)
    assert len(rows) == len(files)
    for row in rows:
        mask, probs = example.predict(example.read_gray(row["file"]), example.MODEL, session)
        stored = np.asarray(Image.open(output / "masks" / f"{row['id']}.png"))
        assert np.array_equal(mask * np.uint8(255), stored), row["id"]
        assert [row[f"prob_{name}"] for name in CLASSES] == pytest.approx(probs, abs=1e-6)
    return sum(row["pred_area"] > 0 for row in rows)


def write_blobs(folder: Path, count: int) -> list[Path]:
    """Noise with several dark parts, of which the model that comes along takes some for lesions."""
    files = []
    for k in range(count):
        rng = np.random.default_rng(k)
        height, width = rng.integers(200, 600, 2).tolist()
        gray = rng.normal(120, 30, (height, width))
        for _ in range(4):
            y, x, r = rng.integers(0, height), rng.integers(0, width), rng.integers(15, 70)
            rows, columns = np.ogrid[:height, :width]
            gray[(rows - y) ** 2 / 0.5 + (columns - x) ** 2 < r**2] *= rng.uniform(0.1, 0.7)
        image = Image.fromarray(gray.clip(0, 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(2))
        files.append(folder / f"{k}.png")
        image.convert("RGB" if k % 2 else "L").save(files[-1])
    return files


def test_masks_are_those_of_the_command_on_synthetic_images(tmp_path: Path) -> None:
    files = write_blobs(tmp_path, 10)
    red = np.zeros((80, 90, 3), np.uint8)
    red[20:60, 30:70], red[:5] = (200, 80, 40), (30, 60, 90)
    orientation = Image.Exif()
    orientation[274] = 6
    Image.fromarray(red).save(tmp_path / "a.jpg", exif=orientation, quality=90)
    for name in ("b.bmp", "c.png"):
        Image.fromarray(red).save(tmp_path / name)
    files += [tmp_path / name for name in ("a.jpg", "b.bmp", "c.png")]
    assert compare(load_example(PRETRAINED), files, PRETRAINED, tmp_path / "out") >= 3


def test_masks_of_a_new_bundle_are_those_of_the_command(bundle: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(bundle, tmp_path / "bundle")
    content = json.loads((folder / "model.json").read_text())
    content["postprocess"] = {"threshold": 0.5, "high_threshold": 0.505}  # it has learned next to nothing
    (folder / "model.json").write_text(json.dumps(content))
    compare(load_example(folder), write_blobs(tmp_path, 4), folder, tmp_path / "out")


@pytest.mark.skipif("BUSI_ROOT" not in os.environ, reason="needs the BUSI files: set BUSI_ROOT")
def test_masks_are_those_of_the_command_on_50_real_images(tmp_path: Path) -> None:
    images = sorted(Path(os.environ["BUSI_ROOT"]).glob("*/*.png"))
    found = [path for path in images if "_mask" not in path.name]
    files = found[:: len(found) // 50][:50]
    assert len(files) == 50
    assert compare(load_example(PRETRAINED), files, PRETRAINED, tmp_path / "out") >= 30


def test_example_refuses_what_it_would_read_in_another_way_than_the_command(tmp_path: Path) -> None:
    example, gray = load_example(PRETRAINED), make_image(20, 30)
    Image.fromarray(gray.astype(np.uint16) * 200).save(tmp_path / "wide.png")
    Image.fromarray(np.dstack([gray] * 4)).save(tmp_path / "alpha.png")
    Image.fromarray(gray).save(tmp_path / "pages.tif")
    Image.fromarray(gray).save(tmp_path / "key.png", transparency=0)
    Image.fromarray(gray * 0).save(tmp_path / "flat.png")
    Image.fromarray(np.dstack([gray] * 3)).save(tmp_path / "cut.png")
    os.truncate(tmp_path / "cut.png", 200)
    for name, words in (
        ("wide.png", "not 8-bit gray or RGB"),
        ("alpha.png", "not 8-bit gray or RGB"),
        ("key.png", "not 8-bit gray or RGB"),
        ("pages.tif", "cannot read"),
        ("cut.png", "cannot read"),
        ("gone.png", "cannot read"),
        ("flat.png", "same gray level"),
    ):
        with pytest.raises(SystemExit, match=words):
            example.read_gray(str(tmp_path / name))
    command = [sys.executable, str(PRETRAINED / "example.py")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert "python example.py IMAGE" in done.stderr


def test_example_and_model_card_of_the_model_that_comes_along_are_those_of_an_export(tmp_path: Path) -> None:
    info = read_model_info(PRETRAINED)
    about = json.loads((PRETRAINED / "model.json").read_text())["graph"]
    write_texts(tmp_path, info, about)
    for name in ("README.md", "example.py"):
        assert (tmp_path / name).read_text() == (PRETRAINED / name).read_text()
    model_card = (tmp_path / "README.md").read_text()
    assert "Pixels of at least 0.5 (`threshold`) form parts; pixels that touch at a corner" in model_card
    high = info.postprocess.high_threshold
    assert f"A part is kept if one of its pixels reaches {high:g} (`high_threshold`)." in model_card


def test_foreign_text_in_the_model_card_is_text(tmp_path: Path) -> None:
    """A bundle comes from anywhere; an HTML page or an editor shows its card."""
    evil = "a | <script>x</script> ![b](http://c/d.png) [e](f) `g` ``h`` *i* ~~j~~ $k$ &lt; \\ _l_ www.m.n"
    info, about = read_model_info(PRETRAINED), json.loads((PRETRAINED / "model.json").read_text())["graph"]
    texts = ("name", "data", "guide", "encoder")
    made = {"data": evil, "fingerprint": evil, "num_images": 3, "date": "2026-01-01", "kept": [evil]}
    origin = info.origin | dict.fromkeys(texts, evil) | {"recalibrated": made, "sources": [evil]}
    numbers: dict[str, list[float | None]] = {evil: [0.5, 0.4, 0.6]}
    info = replace(
        info,
        origin=origin,
        metrics=numbers,
        local_metrics={"before": numbers, "after": numbers},
        fingerprints=dict.fromkeys(info.fingerprints, evil),
    )
    write_texts(tmp_path, info, about)
    card = (tmp_path / "README.md").read_text()
    page = MarkdownIt("commonmark", {"linkify": False}).enable(["table", "strikethrough"]).render(card)
    assert not re.findall(r"<(script|img|a|em|s)\b", page)
    shown = unescape(re.sub(r"<[^>]*>", "", page))
    assert shown.count(evil) == 13  # all but the checkpoint's fingerprint, which is cut short
