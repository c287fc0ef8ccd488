"""The gallery of predicted images, in a real browser."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Page, expect

from busi.core.types import CLASSES
from busi.figures.gallery import write_gallery
from busi.figures.png import write_png
from tests.browser import WIDTHS, check_width, open_browser, open_page

ODD = ("a/b#1?%20.png", "</script><script>alert(1)</script>", 'it\'s "<b>" & é日本', "<!--<script>")


def make_rows(num_rows: int) -> list[dict[str, Any]]:
    """Rows of odd names and numbers, every seventh without an image."""
    rng = np.random.default_rng(0)
    rows = []
    for k in range(num_rows):
        name = ODD[k] if k < len(ODD) else f"scan {k % 70}"  # many rows of few files
        probs = rng.dirichlet((1, 1, 1)).tolist()
        row = {"id": name, "pred": CLASSES[int(np.argmax(probs))], "refer": bool(rng.integers(2))}
        row |= {f"prob_{one}": p for one, p in zip(CLASSES, probs, strict=True)}
        row |= {"conformal_set": ("benign",), "pred_area": int(rng.integers(3) * k), "pred_area_mm2": None}
        row |= {"calibrated": True, "header_Modality": "US", "error": ""}
        rows.append(row if k % 7 != 6 else dict.fromkeys(row) | {"id": name, "error": f"cannot read {name}"})
    return rows


def read_data(page: Path) -> dict[str, Any]:
    """What a browser takes for the rows."""
    (text,) = re.findall(
        r'<script type="application/json" id="data">(.*?)</script', page.read_text(), re.DOTALL
    )
    data: dict[str, Any] = json.loads(text)
    return data


def test_page_holds_every_row_whatever_its_names_say(tmp_path: Path) -> None:
    rows = make_rows(5000)
    page = write_gallery(tmp_path / "index.html", rows)
    data = read_data(page)
    assert page.stat().st_size < 200 * len(rows)
    assert page.read_text().count("<!--") == 0
    for row, cells in zip(rows, data["rows"], strict=True):
        shown = dict(zip(data["columns"], cells, strict=True))
        assert (shown["id"], shown["pred"], shown["error"]) == (row["id"], row["pred"], row["error"])
        assert shown["header_Modality"] == row["header_Modality"]
        assert shown["prob_benign"] == (row["prob_benign"] and pytest.approx(row["prob_benign"], abs=5e-5))


def names_on(page: Page) -> list[str]:
    return page.locator("#grid b").all_text_contents()


@pytest.mark.slow
def test_gallery_sorts_filters_and_opens_five_thousand_images(tmp_path: Path) -> None:
    rows = make_rows(5000)
    path = write_gallery(tmp_path / "index.html", rows)
    for name in {row["id"] for row in rows}:
        for folder in ("overlays", "masks"):
            write_png(tmp_path / folder / f"{name}.png", np.full((30, 40), 99, np.uint8), durable=False)
    usable = [row for row in rows if not row["error"]]
    with open_browser() as browser:
        wide, narrow = WIDTHS
        with open_page(browser, path, narrow) as page:
            assert not page.locator("table").is_visible()
            page.click("#as-table")
            expect(page.locator("tbody tr")).to_have_count(60)
            assert page.locator("tbody button").first.text_content() == ODD[0]
            check_width(page)
        with open_page(browser, path, wide) as page:
            expect(page.locator("#where")).to_have_text("1 to 60 of 5000")
            assert page.evaluate("document.querySelectorAll('*').length") < 3000
            for i in range(len(ODD)):
                expect(page.locator("#grid img").nth(i)).to_have_js_property("naturalWidth", 40)
            assert names_on(page)[: len(ODD)] == list(ODD)
            page.select_option("#sort", "prob_malignant")
            ranked = sorted(usable, key=lambda row: -round(row["prob_malignant"], 4))
            assert names_on(page) == [row["id"] for row in ranked[:60]]
            page.select_option("#filter", "refer")
            assert names_on(page) == [row["id"] for row in ranked if row["refer"]][:60]
            assert not page.locator("#paper").is_visible()
            page.emulate_media(media="print")
            number = sum(bool(row["refer"]) for row in ranked)
            expect(page.locator("#paper")).to_be_visible()
            expect(page.locator("#paper")).to_have_text(
                f"Images: 1 to 60 of {number}; shown: a person should look; sorted by probability, "
                "malignant, descending."
            )
            page.emulate_media(media="screen")
            page.fill("#name", "no such")
            expect(page.locator("#where")).to_have_text("nothing")
            page.fill("#name", "")
            page.select_option("#sort", "pred_area")
            page.select_option("#filter", "all")
            page.select_option("#order", "1")
            assert names_on(page)[0] == next(row["id"] for row in usable if row["pred_area"] == 0)
            page.select_option("#filter", "error")
            assert names_on(page) == [row["id"] for row in rows if row["error"]][:60]
            expect(page.locator("tbody td.error").first).to_have_text(f"cannot read {names_on(page)[0]}")
            page.select_option("#filter", "all")
            page.select_option("#sort", "place")
            page.locator("#grid button").first.focus()
            page.keyboard.press("Enter")
            expect(page.locator("dialog h2")).to_have_text(ODD[0])
            page.keyboard.press("ArrowRight")
            expect(page.locator("dialog h2")).to_have_text(ODD[1])
            page.click("#kind")
            expect(page.locator("#full")).to_have_attribute("src", re.compile("^masks/"))
            expect(page.locator("#full")).to_have_js_property("naturalWidth", 40)
            page.keyboard.press("Escape")
            expect(page.locator("dialog")).not_to_be_visible()
            assert page.pdf()[:4] == b"%PDF"
