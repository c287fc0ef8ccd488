"""The page of a review in a real browser: painting, keeping, going on, training."""

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
import pytest
from jaxtyping import Bool
from PIL import Image
from playwright.sync_api import Browser, ConsoleMessage, Dialog, Page, Request, Route, expect

from busi.core.tables import read_table
from busi.formats.run_lengths import from_runs, to_runs
from busi.inference.folder import predict_files
from tests.browser import WIDTHS, check_width, open_browser
from tests.conftest import SMALL, Compose
from tests.data.test_pool import write as write_folder


@contextmanager
def review(folder: Path, port: int = 0) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """The command, until it is ended: its process and port."""
    command = [sys.executable, "-u", "-m", "busi.demo", "--review", str(folder), "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout or ():
            if found := re.search(r"Open http://127.0.0.1:(\d+)", line):
                break
        else:
            pytest.fail("it did not start")
        try:
            yield process, int(found[1])
        finally:
            process.kill()


@contextmanager
def open_review(browser: Browser, port: int, width: int) -> Iterator[Page]:
    """The page, which asks for nothing outside and raises no error."""
    page = browser.new_page(viewport={"width": width, "height": 844}, has_touch=width < 600)
    wrong: list[str] = []
    address = f"http://127.0.0.1:{port}/"

    def ask(request: Request) -> None:
        if not request.url.startswith((address, "data:")):
            wrong.append(request.url)

    def stay(dialog: Dialog) -> None:
        dialog.dismiss()

    def listen(message: ConsoleMessage) -> None:
        if message.type == "error" and "net::ERR_" not in message.text:  # the tests end the server
            wrong.append(message.text)

    page.on("console", listen)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("request", ask)
    page.on("dialog", stay)
    page.goto(address)
    yield page
    assert wrong == []
    page.close()


def begin(page: Page, name: str) -> None:
    page.get_by_label("Your name").fill(name)
    page.get_by_role("button", name="Begin").click()
    expect(page.locator("#about")).to_contain_text("pixels")


def drag(page: Page, *points: tuple[float, float]) -> None:
    """Paint along points, given as parts of the image's width and height."""
    box = page.locator("#mask").bounding_box()
    assert box is not None
    places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points]
    page.mouse.move(*places[0])
    page.mouse.down()
    for place in places:
        page.mouse.move(*place, steps=3)
    page.mouse.up()


def check_fits(page: Page) -> None:
    """The whole image is seen, as large as its frame allows, with the mask exactly over it."""
    image, mask, stage = (page.locator(name).bounding_box() for name in ("#image", "#mask", "#stage"))
    assert image is not None
    assert stage is not None
    assert image == mask
    assert image["width"] <= stage["width"]
    assert image["height"] <= stage["height"]
    assert image["width"] > stage["width"] - 4 or image["height"] > stage["height"] - 4


def draft_of(folder: Path) -> Bool[np.ndarray, "h w"]:
    """The mask of the only draft; the images of these tests have one size."""
    (path,) = folder.glob("review/drafts/*/*/*.json")
    mask: Bool[np.ndarray, "h w"] = from_runs(json.loads(path.read_text())["runs"], 72, 80)
    return mask


@pytest.mark.slow
def test_paint_save_reload_go_on_and_train(tmp_path: Path, compose: Compose) -> None:
    scans = write_folder(tmp_path / "scans", (4, 4, 4), 0)
    folder = tmp_path / "predictions"
    predict_files([str(scans)], folder)
    with open_browser() as browser:
        with review(folder) as (process, port), open_review(browser, port, WIDTHS[0]) as page:
            begin(page, "Ann")
            place = page.get_by_label("Image", exact=True)
            assert place.input_value() == "0"
            # A stroke is a draft at once; undo, redo, eraser and fill change it; the keyboard paints, too.
            state = page.locator("#state")
            drag(page, (0.1, 0.1), (0.2, 0.1))
            page.get_by_role("button", name="Clear").click()
            expect(state).to_have_text("Draft kept")
            assert not draft_of(folder).any()
            assert page.evaluate("document.activeElement.tagName") == "BODY"  # so that Enter saves
            drag(page, (0.3, 0.3), (0.7, 0.3), (0.7, 0.7), (0.3, 0.7), (0.3, 0.3))
            expect(state).to_have_text("Draft kept")
            outline = draft_of(folder)
            assert outline[21, 40]
            assert not outline[36, 40]
            page.keyboard.press("f")
            drag(page, (0.5, 0.5))
            expect(state).to_have_text("Draft kept")
            filled = draft_of(folder)
            assert filled[36, 40]
            assert not filled[3, 3]
            page.keyboard.press("Control+z")
            expect(state).to_have_text("Draft kept")
            assert np.array_equal(draft_of(folder), outline)
            page.keyboard.press("y")
            expect(state).to_have_text("Draft kept")
            assert np.array_equal(draft_of(folder), filled)
            page.keyboard.press("e")
            drag(page, (0.5, 0.5))
            expect(state).to_have_text("Draft kept")
            erased = draft_of(folder)
            assert 0 < (filled & ~erased).sum() < 400
            assert not (erased & ~filled).any()
            page.keyboard.press("b")
            page.keyboard.press("Space")  # where the brush is
            expect(state).to_have_text("Draft kept")
            assert np.array_equal(draft_of(folder), filled)
            page.keyboard.press("3")
            expect(state).to_have_text("Draft kept")
            # The browser closes, and the server dies; both come back, and the draft is there.
            page.close()
            process.send_signal(signal.SIGKILL)
            process.wait()
        with review(folder, port) as (process, _), open_review(browser, port, WIDTHS[1]) as page:
            begin(page, "Ann")
            expect(page.locator("#about")).to_contain_text("your draft")
            expect(page.get_by_label("malignant")).to_be_checked()
            check_width(page)
            page.screenshot(path=tmp_path / "phone.png", full_page=True)
            check_fits(page)
            page.get_by_role("button", name="Save and next").click()
            expect(page.locator("#state")).to_have_text("Saved")
            assert page.get_by_label("Image", exact=True).input_value() == "1"
            (row,) = read_table(folder / "review" / "corrections.csv")
            mask = np.asarray(Image.open(folder / "review" / row["mask"]))
            assert np.array_equal(mask > 0, filled)
            assert (row["label"], row["_reviewer"]) == ("malignant", "Ann")
            # Undo takes back where one began, too; a key during a stroke does nothing.
            page.keyboard.press("p")
            expect(page.locator("#about")).to_contain_text("the correction of Ann")
            page.get_by_role("button", name="Prediction").click()
            page.keyboard.press("z")
            expect(page.locator("#state")).to_have_text("Draft kept")
            (draft,) = folder.glob("review/drafts/*/*/*.json")
            assert json.loads(draft.read_text())["started_from"] == row["_correction"]
            box = page.locator("#mask").bounding_box()
            assert box is not None
            page.mouse.move(box["x"] + 5, box["y"] + 5)
            page.mouse.down()
            page.keyboard.press("n")
            assert page.get_by_label("Image", exact=True).input_value() == "0"
            page.mouse.up()
            page.keyboard.press("z")
            # An answer that is lost leaves it open whether it is kept; sent again, it is one correction.
            page.route("**/correction", lose_answer)
            page.get_by_role("button", name="Save and next").click()
            expect(page.locator("#state")).to_have_text("No answer")
            expect(page.get_by_role("alert")).to_contain_text("save again. It counts once")
            page.unroute("**/correction")
            # A correction that is kept is told so, also if the list does not come.
            page.route("**/images?*", lambda route: route.abort())
            page.get_by_role("button", name="Save and next").click()
            expect(page.locator("#state")).to_have_text("Saved")
            expect(page.get_by_role("alert")).to_contain_text("choose the image again")
            page.unroute("**/images?*")
            assert len(list(folder.glob("review/corrections/*.json"))) == 2
            paint_with_a_pen(page, folder)
            page.get_by_role("button", name="Next", exact=True).click()
            expect(page.locator("#about")).to_contain_text("the prediction")
            (draft,) = folder.glob("review/drafts/*/*/*.json")
            draft.unlink()
            # While nothing answers, a stroke waits in the window, and is kept once the server is back.
            process.send_signal(signal.SIGKILL)
            process.wait()
            before = page.locator("#about").inner_text()
            drag(page, (0.1, 0.8), (0.6, 0.8))
            expect(page.get_by_role("alert")).to_contain_text("leave it open")
            page.get_by_role("button", name="Next", exact=True).click()  # asks, and stays
            expect(page.locator("#about")).to_have_text(before)
            with review(folder, port):
                expect(page.locator("#state")).to_have_text("Draft kept", timeout=15_000)
                assert draft_of(folder)[57, 10:40].all()
                page.reload()
                expect(page.locator("#about")).to_contain_text("your draft")
                correct_the_rest(port, 12)
                page.reload()
                expect(page.locator("#where")).to_contain_text("12 of 12 corrected")
    manifest = folder / "review" / "corrections.csv"
    train_on(manifest, compose, tmp_path)


def lose_answer(route: Route) -> None:
    """Let the server keep what is sent, and the page not know."""
    assert route.fetch().ok
    route.abort()


def paint_with_a_pen(page: Page, folder: Path) -> None:
    """A hand that comes down before the pen does not paint, nor does it keep the pen from it."""
    box = page.locator("#mask").bounding_box()
    assert box is not None
    before = from_runs(page.evaluate("toRuns(mask)"), 72, 80)
    page.evaluate("HTMLElement.prototype.setPointerCapture = () => {}")  # these pointers are made up
    for name, number, kind, x, y in (
        ("pointerdown", 51, "touch", 0.9, 0.95),
        ("pointerdown", 52, "pen", 0.1, 0.05),
        ("pointermove", 52, "pen", 0.2, 0.05),
        ("pointermove", 51, "touch", 0.8, 0.95),
        ("pointerup", 52, "pen", 0.2, 0.05),
        ("pointerup", 51, "touch", 0.8, 0.95),
    ):
        place = {"clientX": box["x"] + x * box["width"], "clientY": box["y"] + y * box["height"]}
        event = {"pointerId": number, "pointerType": kind, "bubbles": True, **place}
        script = "([name, event]) => $('mask').dispatchEvent(new PointerEvent(name, event))"
        page.evaluate(script, [name, event])
    expect(page.locator("#state")).to_have_text("Draft kept")
    painted = draft_of(folder)
    assert (painted & ~before)[3, 8:16].all()
    assert np.array_equal(painted[60:], before[60:])


def correct_the_rest(port: int, count: int) -> None:
    """Confirm images as the page does: four of each class, which three folds need."""
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
        for place in range(count):
            shown = client.get(f"/images/{place}", params={"reviewer": "Ann"}).json()
            label = shown["id"].partition("/")[0]
            mask = np.zeros((shown["height"], shown["width"]), bool)
            mask[20:60, 30:70] = label != "normal"
            kept = {key: shown[key] for key in ("patient", "started_from", "version", "image")}
            body = {"reviewer": "Ann", "runs": to_runs(mask), "label": label, "window": "w", **kept}
            answer = client.post(f"/images/{place}/correction", json=body)
            assert answer.status_code == 200, answer.text


def train_on(manifest: Path, compose: Compose, folder: Path) -> None:
    """An epoch on the corrections beside another data set."""
    from busi.training.fitting import fit

    small = [text for text in SMALL if not text.startswith("data")]
    sources = f"data.sources=[{write_folder(folder / 'ours', (4, 4, 4), 900)},{manifest}]"
    config = compose(*small, "data=pooled", sources, "stage=seg", "data.num_folds=3")
    fit(config, folder / "run")
    sources_of = {row["source"] for row in read_table(folder / "run" / "predictions.csv")}
    assert sources_of == {"ours", "corrections"}
