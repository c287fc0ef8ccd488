"""The page of a run: its parts, and the whole of it in a real browser."""

import io
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import ConsoleMessage, Page, Request, expect, sync_playwright

from busi import Predictor
from busi.core.types import CLASSES, InputError
from busi.data.dicom import Frame, Spacing
from busi.inference.demo_files import count_frames, read_frame, write_samples
from busi.inference.demo_text import View, describe_diagnosis, describe_mask, draw_heatmap, write_results
from busi.inference.prediction import Prediction
from busi.models.postprocess import Postprocess
from tests.data.test_dicom import write
from tests.data.test_files import make_bomb
from tests.inference.test_predictor import make_image

PROBS = {"normal": 0.1, "benign": 0.25, "malignant": 0.65}
MASK = np.zeros((20, 30), bool)
MASK[5:9, 10:17] = True


def make_prediction(conformal_set: tuple[str, ...] | None, spacing: Spacing | None = None) -> Prediction:
    maps = MASK.astype(np.float32) * 0.6
    return Prediction("malignant", PROBS, True, conformal_set, maps, Postprocess(), spacing, 1.0)


def test_the_answer_is_put_into_words() -> None:
    def words(conformal_set: tuple[str, ...] | None) -> str:
        frame = Frame(np.zeros((20, 30), np.uint8), None)
        return describe_diagnosis(View("<b>", frame, make_prediction(conformal_set)), 0.9)

    assert "malignant: 65%" in words(("malignant",))
    assert "One class is left" in words(("malignant",))
    assert "benign, malignant" in words(("benign", "malignant"))
    assert "A person should decide" in words(("benign", "malignant"))
    assert "none" in words(())
    assert "Not calibrated" in words(None)
    assert "&lt;b&gt;" in words(None)


def test_the_mask_is_put_into_words() -> None:
    found = make_prediction(None, Spacing(0.5, 0.5))
    assert describe_mask(found) == (
        "Lesion of 28 pixels (7.0 mm²) in 1 part, inside 7 x 4 pixels from (10, 5), at threshold 0.50."
    )
    assert describe_mask(found.with_threshold(0.7)) == "No lesion at threshold 0.70."


def test_result_holds_what_is_shown(tmp_path: Path) -> None:
    found = make_prediction(("malignant",))
    drawn = np.zeros((20, 30, 3), np.uint8)
    with zipfile.ZipFile(write_results(tmp_path, "a", drawn, found)) as archive:
        assert np.array_equal(np.asarray(Image.open(archive.open("mask.png"))), MASK * np.uint8(255))
        assert Image.open(archive.open("overlay.png")).size == (30, 20)
        numbers = json.loads(archive.read("result.json"))
    assert (numbers["pred"], numbers["pred_area"], numbers["probs"]) == ("malignant", 28, PROBS)


def test_an_empty_heatmap_leaves_the_image_as_it_is() -> None:
    gray = make_image(20, 30)
    drawn = draw_heatmap(gray, MASK.astype(np.float32))
    assert np.array_equal(drawn[~MASK], np.repeat(gray[..., None], 3, axis=2)[~MASK])
    assert (drawn[MASK] != gray[MASK][:, None]).any(axis=1).all()


def test_frames_are_counted_and_read_by_number(tmp_path: Path) -> None:
    path = write(tmp_path / "scan.dcm", np.stack([make_image(20, 30) + np.uint8(k) for k in range(3)]))
    assert count_frames(path) == 3
    names, frames = zip(*(read_frame(path, number) for number in (1, 2, 3)), strict=True)
    assert names == ("scan", "scan [2]", "scan [3]")
    assert [int(frame.gray[0, 0]) - int(frames[0].gray[0, 0]) for frame in frames] == [0, 1, 2]
    with pytest.raises(InputError, match="no image 4"):
        read_frame(path, 4)
    (tmp_path / "bad.png").write_bytes(b"x")
    assert count_frames(tmp_path / "bad.png") == 0


def test_what_cannot_be_served_says_so(trained: Path, tmp_path: Path) -> None:
    def serve(*arguments: object) -> str:
        command = [sys.executable, "-m", "busi.demo", *map(str, arguments)]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 1
        return done.stderr.splitlines()[-1]

    assert "does not exist" in serve("--run", "nothing")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert (
            serve("--run", trained, "--port", port)
            == f"error: port {port} is taken: give another with --port"
        )


@pytest.fixture(scope="module")
def address(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A demo that runs on this computer."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-u", "-m", "busi.demo", "--run", str(trained), "--port", str(port)]
    folder = tmp_path_factory.mktemp("demo")
    places = {**os.environ, "TMPDIR": str(folder)}
    with (
        (folder / "log").open("w+") as log,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, env=places) as process,
    ):
        for line in process.stdout or ():
            if "Open http" in line:
                break
        else:
            log.seek(0)
            pytest.fail(log.read())
        assert list(folder.glob("busi-demo-*"))
        yield f"http://127.0.0.1:{port}"
        process.terminate()
        process.communicate()
    assert not list(folder.glob("busi-demo-*")), "the images of the demo stay when it ends"


@pytest.fixture
def page(address: str) -> Iterator[Page]:
    """The page in Chromium; it must ask for nothing outside and report no error."""
    chromium = shutil.which("chromium") or pytest.fail("no Chromium: make browser")
    said: list[ConsoleMessage] = []
    raised: list[object] = []
    asked: list[Request] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1200, "height": 1000})
        # playwright takes no built-in functions.
        page.on("console", lambda message: said.append(message))
        page.on("pageerror", lambda error: raised.append(error))
        page.on("request", lambda request: asked.append(request))
        page.goto(address)
        expect(page.get_by_role("heading", level=1)).to_contain_text("Lesion mask")
        yield page
        browser.close()
    assert raised == []
    assert [message.text for message in said if message.type == "error"] == []
    assert asked
    inside = (address, "data:", "blob:")
    assert [request.url for request in asked if not request.url.startswith(inside)] == []


def upload(page: Page, path: Path) -> None:
    if page.get_by_label("Clear").count():
        page.get_by_label("Clear").first.click()
    page.set_input_files("input[type=file]", path)


def shown_image(page: Page, label: str) -> Image.Image:
    image = page.locator(f".block:has(label:text-is('{label}')) img")
    expect(image).to_be_visible()
    return Image.open(io.BytesIO(page.request.get(str(image.get_attribute("src"))).body()))


@pytest.mark.slow
def test_page_shows_what_the_predictor_says(page: Page, trained: Path, tmp_path: Path) -> None:
    predictor = Predictor(trained)
    expect(page.get_by_text(f"Model: {trained.name}, 32 px, guide predicted.")).to_be_visible()
    for size in ((1, 1), (90, 120), (333, 222)):
        path = tmp_path / f"{size[0]}.png"
        Image.fromarray(make_image(*size)).save(path)
        found = predictor(path)
        upload(page, path)
        expect(page.locator("#diagnosis")).to_contain_text(path.stem)
        expect(page.locator("#diagnosis")).to_contain_text(f"{found.pred}: {found.probs[found.pred]:.0%}")
        expect(page.locator("#set")).to_have_text(", ".join(found.conformal_set or ()) or "none")
        expect(page.locator("#mask-text")).to_contain_text(describe_mask(found)[:20])
        for name in CLASSES:
            expect(page.get_by_text(re.compile(f"^{name}$")).first).to_be_visible()
        assert np.array_equal(np.asarray(shown_image(page, "Mask").convert("L")), found.mask * np.uint8(255))
        assert shown_image(page, "Overlay").size == size[::-1]
        assert shown_image(page, "Grad-CAM of the class").size == size[::-1]
        expect(page.get_by_text("With an empty guide")).to_be_visible()
    with page.expect_download() as downloaded:
        page.get_by_text("Download mask, overlay and numbers").click()
    with zipfile.ZipFile(downloaded.value.path()) as archive:
        assert np.array_equal(np.asarray(Image.open(archive.open("mask.png"))), found.mask * np.uint8(255))
    low = found.with_threshold(0.05)
    page.get_by_label("number input for Threshold of the mask").fill("0.05")
    page.get_by_label("number input for Threshold of the mask").press("Tab")
    expect(page.locator("#mask-text")).to_have_text(describe_mask(low))


@pytest.mark.slow
def test_unusable_uploads_get_a_message_and_clear_the_page(page: Page, tmp_path: Path) -> None:
    Image.fromarray(make_image(60, 60)).save(tmp_path / "good.png")
    (tmp_path / "text.png").write_text("no image")
    (tmp_path / "bomb.png").write_bytes(make_bomb(9_000, 9_000))
    for name, words in (
        ("text.png", "cannot read text.png: no image"),
        ("bomb.png", "at most 50 megapixels"),
    ):
        upload(page, tmp_path / "good.png")
        expect(page.locator("#mask-text")).to_contain_text("threshold")
        upload(page, tmp_path / name)
        expect(page.get_by_role("alert")).to_contain_text(words)
        expect(page.get_by_text("Grad-CAM of the class")).to_be_hidden()
        expect(page.locator("#mask-text")).not_to_contain_text("threshold")


@pytest.mark.slow
def test_every_frame_of_a_file_can_be_seen(page: Page, trained: Path, tmp_path: Path) -> None:
    path = write(tmp_path / "scan.dcm", np.stack([make_image(60, 80), make_image(61, 80)[1:]]))
    upload(page, path)
    expect(page.locator("#diagnosis")).to_contain_text("scan")
    slider = page.get_by_role("slider", name="range slider for Frame")
    slider.focus()
    slider.press("ArrowRight")
    expect(page.locator("#diagnosis")).to_contain_text("scan [2]")
    found = Predictor(trained).predict_one(read_frame(path, 2)[1])
    expect(page.locator("#mask-text")).to_have_text(describe_mask(found))


@pytest.mark.slow
def test_page_is_usable_by_keyboard_and_on_a_phone(page: Page, tmp_path: Path) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    expect(page.get_by_text("For research only")).to_be_visible()
    sample = page.get_by_role("button", name="synthetic malignant.png")
    for _ in range(20):
        page.keyboard.press("Tab")
        if sample.evaluate("element => element === document.activeElement"):
            break
    else:
        pytest.fail("the samples cannot be reached by Tab")
    page.keyboard.press("Enter")
    expect(page.locator("#diagnosis")).to_contain_text("synthetic malignant")
    expect(page.get_by_text("Grad-CAM of the class")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    page.screenshot(path=tmp_path / "phone.png", full_page=True)


def test_a_synthetic_sample_of_each_class_is_written(tmp_path: Path) -> None:
    assert [path.name for path in write_samples(tmp_path)] == [f"synthetic {name}.png" for name in CLASSES]
