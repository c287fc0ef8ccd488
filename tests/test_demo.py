"""The page of a run: its parts, and the whole of it in a real browser."""

import io
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from html.parser import HTMLParser
from multiprocessing.process import BaseProcess
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import ConsoleMessage, Page, Request, expect, sync_playwright

from busi import Predictor
from busi.core.tables import read_table
from busi.core.types import CLASSES, InputError
from busi.data.frames import Frame, Spacing
from busi.formats.run_lengths import from_runs
from busi.inference.bundle import PRETRAINED
from busi.inference.demo_files import count_frames, read_frame, write_samples
from busi.inference.demo_folder import demo_folder, remove_leftovers
from busi.inference.demo_guard import is_own
from busi.inference.demo_text import (
    View,
    describe_diagnosis,
    describe_mask,
    describe_model,
    describe_scale,
    draw_heatmap,
    write_results,
)
from busi.inference.model_info import read_model_info
from busi.inference.prediction import Prediction
from busi.models.postprocess import Postprocess
from tests.data.test_dicom import write
from tests.data.test_files import make_bomb
from tests.inference.test_predictor import make_image
from tests.processes import call, start

PROBS = {"normal": 0.1, "benign": 0.25, "malignant": 0.65}
MASK = np.zeros((20, 30), bool)
MASK[5:9, 10:17] = True


def make_prediction(conformal_set: tuple[str, ...] | None, spacing: Spacing | None = None) -> Prediction:
    maps = MASK.astype(np.float32) * 0.6
    return Prediction(
        "malignant",
        PROBS,
        True,
        conformal_set,
        maps,
        Postprocess(),
        spacing,
        1.0,
        np.zeros(MASK.shape, np.uint8),
    )


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


@pytest.mark.parametrize(
    "name", ["<img src=x onerror=x>", "`![](http://a.b/c)`", "$x$ {{x}} ${x}", "a_b*c*</p>"]
)
def test_foreign_names_are_shown_as_they_are(name: str) -> None:
    info = read_model_info(PRETRAINED)
    info = replace(info, origin=info.origin | {"name": name, "guide": name})
    shown = Shown()
    shown.feed(describe_model(info, explained=True))
    assert shown.text == f"Model: {name}, {info.image_size} px, guide {name}."
    assert shown.tags == ["code", "code"]


class Shown(HTMLParser):
    """What a browser makes of a text."""

    def __init__(self) -> None:
        super().__init__()
        self.text, self.tags = "", list[str]()

    def handle_data(self, data: str) -> None:
        self.text += data

    def handle_starttag(self, tag: str, attrs: object) -> None:
        del attrs
        self.tags.append(tag)


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


def test_the_color_bar_has_the_colors_of_the_heatmap() -> None:
    drawn = draw_heatmap(np.zeros((1, 9), np.uint8), np.linspace(0, 1, 9, dtype=np.float32)[None])[0]
    colors = [bytes.fromhex(text) for text in re.findall("#([0-9a-f]{6})", describe_scale())]
    opacity = 0.6 * np.linspace(0, 1, 9)[:, None]
    assert np.abs(np.array([list(color) for color in colors]) * opacity - drawn).max() < 2


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
        done = call("busi.demo", *map(str, arguments), cwd=tmp_path)
        assert done.returncode == 1
        return done.stderr.splitlines()[-1]

    assert "does not exist" in serve("--run", "nothing")
    assert "does not exist" in serve("--review", "nothing")
    assert "holds no predictions.json" in serve("--review", ".")
    (tmp_path / "predictions.csv").touch()
    assert "which no prediction left there" in serve("--corrections", ".")
    for arguments, words in (
        (("--save", "x"), "needs --review"),
        (("--review", ".", "--run", "."), "leave out --run"),
        (("--review", ".", "--corrections", "x"), "say --save"),
    ):
        done = call("busi.demo", *arguments, cwd=tmp_path)
        assert (done.returncode, len(done.stderr.splitlines()), words in done.stderr) == (2, 1, True)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert (
            serve("--run", trained, "--port", port)
            == f"error: port {port} is taken: give another with --port"
        )


@contextmanager
def demo(folder: Path, *arguments: object) -> Iterator[tuple[BaseProcess, str]]:
    """A demo whose temporary files lie in `folder`: the process, and the address of its page.

    What it prints goes to ``said``, its errors to ``log``.
    """
    said, log = folder / "said", folder / "log"
    said.unlink(missing_ok=True)
    options = ["--port", "0", *map(str, arguments)]
    process = start("busi.demo", options, folder, (said, log), {"TMPDIR": str(folder)})
    try:
        while not (found := re.search(r"Open (http://\S+) in", said.read_text() if said.exists() else "")):
            if not process.is_alive():
                pytest.fail(log.read_text())
            time.sleep(0.02)
        yield process, found[1]
    finally:
        process.kill()
        process.join()


def kept(folder: Path) -> list[Path]:
    return sorted(folder.glob("busi-demo-*"))


@pytest.fixture(scope="module")
def address(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A demo that runs on this computer."""
    folder = tmp_path_factory.mktemp("demo")
    with demo(folder, "--run", trained, "--corrections", folder / "own") as (process, url):
        assert kept(folder)
        yield url
        process.terminate()
        process.join()
    assert kept(folder) == [], "the images of the demo stay when it ends"


def make_png() -> bytes:
    file = io.BytesIO()
    Image.fromarray(make_image(20, 30)).save(file, format="PNG")
    return file.getvalue()


def send_image(url: str, **headers: str) -> httpx.Response:
    files = {"files": ("scan.png", make_png())}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.post(f"{url}/gradio_api/upload", files=files, headers=named, trust_env=False)


def open_by_name(url: str, path: str) -> str:
    """Ask for a prediction of a file that is named, as the page does for one that it has uploaded."""
    with httpx.Client(base_url=url, trust_env=False, timeout=60) as client:
        functions = client.get("/config").json()["dependencies"]
        number = next(one["id"] for one in functions if len(one["inputs"]) == 3 and len(one["outputs"]) > 8)
        file = {"path": path, "meta": {"_type": "gradio.FileData"}}
        asked = {"data": [file, 0.25, 0.5], "fn_index": number, "session_hash": "test"}
        client.post("/gradio_api/queue/join", json=asked).raise_for_status()
        with client.stream("GET", "/gradio_api/queue/data?session_hash=test") as lines:
            done = next(line for line in lines.iter_lines() if "process_completed" in line)
    return done.replace(" ", "")


OWN = {"host": "127.0.0.1:7860"}


@pytest.mark.parametrize(
    ("own", "method", "path", "headers"),
    [
        (True, "GET", "/", OWN),
        (True, "POST", "/upload", OWN),
        (
            True,
            "POST",
            "/upload",
            {**OWN, "origin": "http://127.0.0.1:7860", "sec-fetch-site": "same-origin"},
        ),
        (True, "POST", "/upload", {"host": "LocalHost:9000", "origin": "http://localhost:9000"}),
        (True, "POST", "/upload", {"host": "localhost", "origin": "http://localhost"}),
        (True, "GET", "/", {**OWN, "sec-fetch-site": "none"}),
        (True, "GET", "/", {**OWN, "sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}),
        (False, "GET", "/", {}),
        (False, "GET", "/", {"host": ""}),
        (False, "GET", "/", {"host": "evil.example:7860"}),
        (False, "GET", "/", {"host": "127.0.0.1.evil.example:7860"}),
        (False, "GET", "/", {"host": "localhost.evil.example"}),
        (False, "GET", "/", {"host": "evil.example@127.0.0.1"}),
        (False, "GET", "/", {"host": "127.0.0.1:78x"}),
        (False, "GET", "/", {"host": "[::1"}),
        (False, "GET", "/", {"host": "0.0.0.0:7860"}),
        (False, "POST", "/upload", {"host": "evil.example", "origin": "http://evil.example"}),
        (False, "POST", "/upload", {**OWN, "origin": "http://evil.example"}),
        (False, "POST", "/upload", {**OWN, "origin": "null"}),
        (False, "POST", "/upload", {**OWN, "origin": ""}),
        (False, "POST", "/upload", {**OWN, "origin": "https://127.0.0.1:7860"}),
        (False, "POST", "/upload", {**OWN, "origin": "http://localhost:7860"}),
        (False, "POST", "/upload", {**OWN, "origin": "http://127.0.0.1:3000"}),
        (False, "GET", "/config", {**OWN, "origin": "http://evil.example"}),
        (False, "OPTIONS", "/upload", {**OWN, "origin": "http://evil.example"}),
        (False, "POST", "/upload", {**OWN, "sec-fetch-site": "cross-site"}),
        (False, "GET", "/file", {**OWN, "sec-fetch-site": "same-site", "sec-fetch-mode": "no-cors"}),
        (False, "POST", "/", {**OWN, "sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}),
    ],
)
def test_only_the_own_page_and_programs_are_answered(
    own: bool, method: str, path: str, headers: dict[str, str]
) -> None:
    if "sec-fetch-mode" in headers:
        headers = {**headers, "sec-fetch-dest": "document"}
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    assert is_own({"type": "http", "method": method, "path": path, "headers": raw}) == own


def test_no_page_can_embed_the_demo_and_one_host_is_named() -> None:
    raw = [(b"host", b"127.0.0.1:7860"), (b"sec-fetch-site", b"cross-site"), (b"sec-fetch-mode", b"navigate")]
    scope = {"type": "http", "method": "GET", "path": "/"}
    assert is_own({**scope, "headers": [*raw, (b"sec-fetch-dest", b"document")]})
    assert not is_own({**scope, "headers": [*raw, (b"sec-fetch-dest", b"iframe")]})
    assert not is_own({**scope, "headers": [raw[0], (b"host", b"evil.example")]})


def test_other_sites_can_send_the_demo_nothing(address: str) -> None:
    port = address.rpartition(":")[2]
    stored = send_image(address, Origin=address)
    assert (stored.status_code, len(stored.json())) == (200, 1)
    assert send_image(address).status_code == 200  # a program, which says no origin
    assert send_image(address, Host=f"localhost:{port}", Origin=f"http://localhost:{port}").status_code == 200
    for headers in (
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Host": "evil.example"},
        {"Host": f"evil.example:{port}", "Origin": f"http://evil.example:{port}"},
        {"Sec_Fetch_Site": "cross-site"},
    ):
        refused = send_image(address, **headers)
        assert refused.status_code == 403
        assert refused.text == f"403: the demo answers its own page alone. Open {address} in a tab.\n"
    asked = {"Origin": "http://evil.example", "Access-Control-Request-Method": "POST"}
    assert httpx.options(f"{address}/gradio_api/upload", headers=asked, trust_env=False).status_code == 403
    assert httpx.get(address, headers={"Host": "evil.example"}, trust_env=False).status_code == 403


def test_a_request_can_name_no_file_and_no_address_in_place_of_an_upload(
    address: str, tmp_path: Path
) -> None:
    (tmp_path / "scan.png").write_bytes(make_png())
    uploaded = send_image(address).json()[0]
    assert '"success":true' in open_by_name(address, uploaded)
    for named in (str(tmp_path / "scan.png"), "http://192.0.2.1/scan.png", "https://example.org/scan.png"):
        assert '"success":false' in open_by_name(address, named)


def test_the_browser_keeps_no_runs(address: str) -> None:
    assert httpx.get(f"{address}/config", trust_env=False).json()["run_history"] is False
    assert httpx.get(f"{address}/gradio_api/runs", trust_env=False).status_code == 404


def test_a_demo_can_call_this_computer_alone() -> None:
    lines = """
        import socket
        from busi.inference.demo_guard import stay_local
        stay_local()
        with socket.create_server(("127.0.0.1", 0)) as server:
            socket.create_connection(("localhost", server.getsockname()[1]), 5).close()
        local, far = socket.socketpair()[0], socket.socket(type=socket.SOCK_DGRAM)
        for leave in (
            lambda: socket.getaddrinfo("example.org", 80),
            lambda: socket.getaddrinfo(b"example.org", 80),
            lambda: socket.gethostbyname("example.org"),
            lambda: socket.gethostbyaddr("192.0.2.1"),
            lambda: socket.create_connection(("192.0.2.1", 80), 5),
            lambda: far.sendto(b"x", ("192.0.2.1", 53)),
            lambda: far.connect(("192.0.2.1", 53)),
        ):
            try:
                leave()
            except PermissionError as error:
                assert "nothing leaves this computer" in str(error)
            else:
                raise SystemExit("it left")
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(lines)], check=True, timeout=60)


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM, signal.SIGINT])
def test_no_image_stays_whatever_ends_the_demo(number: signal.Signals, tmp_path: Path) -> None:
    if signal.getsignal(number) is signal.SIG_IGN:
        pytest.skip("the tests were started with nohup, whose signal the demo ignores, too")
    with demo(tmp_path) as (process, url):
        stored = Path(send_image(url).json()[0])
        assert stored.read_bytes() == make_png()
        assert stored.is_relative_to(kept(tmp_path)[0])
        with httpx.stream("GET", f"{url}/gradio_api/heartbeat/open", trust_env=False):  # as the page does
            assert process.pid is not None
            before = (tmp_path / "said").read_text()
            os.kill(process.pid, number)
            process.join(60)
    assert (process.exitcode, (tmp_path / "said").read_text()) == (0, before)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log", "said"]
    assert (tmp_path / "log").read_text() == ""


def test_the_next_demo_removes_what_a_killed_one_left_and_no_more(tmp_path: Path) -> None:
    with demo(tmp_path) as (killed, url):
        send_image(url)
        killed.kill()
        killed.join()
    (left,) = kept(tmp_path)
    with demo(tmp_path) as (_, url):
        (living,) = kept(tmp_path)
        assert living != left
        stored = Path(send_image(url).json()[0])
        with demo(tmp_path) as (last, _):
            assert len(kept(tmp_path)) == 2
            last.terminate()
            last.join()
        assert kept(tmp_path) == [living]
        assert stored.is_file()


def test_leftovers_are_own_folders_and_links_are_not_followed(tmp_path: Path) -> None:
    place, outside = tmp_path / "tmp", tmp_path / "outside"
    for folder in (place / "busi-demo-dead" / "deep", place / "another", outside):
        folder.mkdir(parents=True)
        (folder / "scan.png").write_bytes(make_png())
    (place / "busi-demo-file").write_text("no folder")
    (place / "busi-demo-link").symlink_to(outside)
    (place / "busi-demo-dead" / "link").symlink_to(outside)
    remove_leftovers(place)
    left = ["another", "busi-demo-file", "busi-demo-link"]
    assert sorted(path.name for path in place.iterdir()) == left
    assert (outside / "scan.png").read_bytes() == make_png()
    remove_leftovers(tmp_path / "missing")


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a folder to somebody else")
def test_leftovers_of_other_users_stay(tmp_path: Path) -> None:
    (tmp_path / "busi-demo-other").mkdir()
    os.chown(tmp_path / "busi-demo-other", 12345, 12345)
    remove_leftovers(tmp_path)
    assert kept(tmp_path)


def test_temporary_files_go_into_the_folder_while_it_is_there() -> None:
    before = tempfile.gettempdir()
    with demo_folder() as folder:
        assert tempfile.gettempdir() == str(folder)
        assert folder.stat().st_mode & 0o077 == 0
        remove_leftovers(folder.parent)  # as another demo does
        assert folder.is_dir()
    assert not folder.exists()
    assert tempfile.gettempdir() == before


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
    for size in ((2, 2), (90, 120), (333, 222)):
        path = tmp_path / f"image-{size[0]}.png"  # a name that no number on the page contains
        Image.fromarray(make_image(*size)).save(path)
        found = predictor(path)
        upload(page, path)
        expect(page.locator("#diagnosis")).to_contain_text(path.stem)
        uploaded = np.asarray(shown_image(page, "Image").convert("L"))
        assert np.array_equal(uploaded, read_frame(path, 1)[1].gray)
        expect(page.locator("#diagnosis")).to_contain_text(f"{found.pred}: {max(found.probs.values()):.0%}")
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
    page.get_by_role("button", name="Correct this mask").click()
    correct_upload(page, found)


def correct_upload(page: Page, found: Prediction) -> None:
    """Follow the link that the page shows, paint, and save."""
    place = page.get_by_text("What you choose to correct is kept in").locator("code").inner_text()
    with page.context.expect_page() as opened:
        page.get_by_role("link", name="Paint its mask right").click()
    review = opened.value
    review.get_by_label("Your name").fill("Ann")
    review.get_by_role("button", name="Begin").click()
    expect(review.locator("#about")).to_contain_text("shown: the prediction")
    assert from_runs(review.evaluate("toRuns(mask)"), *found.mask.shape).sum() == found.pred_area
    review.get_by_role("button", name="Clear").click()
    review.locator("#mask").focus()
    review.keyboard.press("Space")
    review.keyboard.press("3")
    review.get_by_role("button", name="Save and next").click()
    expect(review.locator("#state")).to_have_text("Saved")
    (row,) = read_table(Path(place, "review", "corrections.csv"))
    assert (row["label"], row["_was_label"], row["_reviewer"]) == ("malignant", found.pred, "Ann")
    assert np.asarray(Image.open(Path(place, "review", row["mask"]))).shape == found.mask.shape


@pytest.mark.slow
def test_unusable_uploads_get_a_message_and_clear_the_page(page: Page, tmp_path: Path) -> None:
    Image.fromarray(make_image(60, 60)).save(tmp_path / "good.png")
    Image.new("L", (60, 60), 9).save(tmp_path / "flat.png")
    (tmp_path / "text.png").write_text("no image")
    (tmp_path / "bomb.png").write_bytes(make_bomb(9_000, 9_000))
    for name, words in (
        ("text.png", "cannot read text.png: no image"),
        ("bomb.png", "at most 50 megapixels"),
        ("flat.png", "the same gray level"),
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
