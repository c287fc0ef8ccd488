"""Pages in a real browser: what they ask for, what they cut, and what goes wrong in them."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, ConsoleMessage, Page, Request, sync_playwright

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
"""The system's; without one that of playwright."""
WIDTHS = (1280, 390)
"""Of a desktop and of a phone."""


@contextmanager
def open_browser() -> Iterator[Browser]:
    """A browser that ends with the test."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextmanager
def open_page(browser: Browser, path: Path, width: int) -> Iterator[Page]:
    """A page from the disk, which may ask for nothing else, complain of nothing, and cut nothing."""
    page = browser.new_page(viewport={"width": width, "height": 900}, offline=True)
    complaints: list[str] = []

    def note(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            complaints.append(message.text)

    def ask(request: Request) -> None:
        if not request.url.startswith(("file:", "data:")):
            complaints.append(request.url)

    page.on("console", note)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", ask)
    page.on("requestfailed", lambda one: complaints.append(one.url))
    page.goto(path.as_uri())
    check_width(page)
    yield page
    assert complaints == []
    page.close()


def check_width(page: Page) -> None:
    """What is wider than the page has a place of its own to scroll."""
    assert page.evaluate("document.documentElement.scrollWidth") <= page.evaluate("innerWidth")


def check_page(browser: Browser, path: Path) -> None:
    """A page of `busi.figures.write_page`: no text is cut at any width, and it prints."""
    for width in WIDTHS:
        with open_page(browser, path, width) as page:
            texts = page.locator("h1, h2, p, figcaption, caption span, summary, dt, dd, nav a").all()
            boxes = [(one.text_content(), one.bounding_box()) for one in texts if one.is_visible()]
            assert boxes
            assert not [text for text, box in boxes if box and not 0 <= box["x"] <= width - box["width"]]
            for image in page.locator("figure img").all():
                drawn = image.bounding_box()
                assert drawn is not None
                # On a phone a figure is as wide as its text needs, and scrolls.
                needed = image.evaluate("one => parseFloat(one.style.getPropertyValue('--small'))")
                assert width > 700 or drawn["width"] >= needed
            assert page.pdf()[:4] == b"%PDF"
