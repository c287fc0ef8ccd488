"""Self-contained HTML pages: text, tables and figures in sections, readable offline and on paper."""

import base64
import json
import re
from collections.abc import Iterator, Sequence
from importlib import resources
from pathlib import Path

from jinja2 import Environment, StrictUndefined

from busi.core import check_overwritten, write_text
from busi.figures.blocks import KeyResults, PageFigure, Section, show
from busi.figures.files import KINDS, name_tables, write_figure, write_tables

PAGE = "index.html"
LISTED = re.compile(r"^<meta name=\"files\" content='(\[.*\])'>$", re.MULTILINE)
"""Where a page lists the figures and tables beside it."""
FILE = re.compile(r"figures/[^/\\\0]+\.(png|pdf|svg)|tables/[^/\\\0]+\.(csv|tex)")


def write_page(
    folder: Path, title: str, lead: str, sections: Sequence[Section], key: KeyResults | None = None
) -> Path:
    """Write ``index.html`` with all figures inside, and for papers each of its figures and tables.

    They are ``figures/<name>.png``, ``.pdf`` and ``.svg``, and ``tables/<section>_<caption>.csv`` and
    ``.tex``. Those that an older page of the folder lists, and this one does not have, are removed.

    Args:
        folder: Where they go.
        title: Of the page.
        lead: What a reader must know before the results.
        sections: Of the page.
        key: What stands above all of it.

    Returns:
        The page.

    Raises:
        InputError: If a figure or a table is there, and no page.
        ValueError: If two figures have one name.
    """
    figures = [block for section in sections for block in section.blocks if isinstance(block, PageFigure)]
    images: dict[str, str] = {}
    written: list[Path] = []
    old = list_files(folder / PAGE)
    if not (folder / PAGE).exists():
        check_overwritten(folder, list(name_files(figures, sections)), "page")
    for block in figures:
        if block.name in images:
            raise ValueError(f"two figures of a page are called {block.name}: one would be shown twice")
        content, paths = write_figure(folder / "figures", block.name, block.figure)
        images[block.name] = base64.b64encode(content).decode()
        written += paths
    written += write_tables(folder / "tables", sections)
    files = [path.relative_to(folder).as_posix() for path in written]
    text = _template(title=title, lead=lead, sections=sections, images=images, key=key, files=files)
    page = write_text(folder / PAGE, text)
    kept = {name.casefold() for name in files}  # on some disks, case does not tell files apart
    for name in old:
        if name.casefold() not in kept:
            (folder / name).unlink(missing_ok=True)
    return page


def name_files(figures: Sequence[PageFigure], sections: Sequence[Section]) -> Iterator[str]:
    """The figures and tables that a page is written with."""
    yield from (f"figures/{block.name}.{kind}" for block in figures for kind in KINDS)
    yield from (f"tables/{name}.{kind}" for name, _ in name_tables(sections) for kind in ("csv", "tex"))


def list_files(page: Path) -> list[str]:
    """The figures and tables that a page says it was written with; none if it does not say it clearly."""
    try:
        found = LISTED.search(page.read_text(encoding="utf-8"))
        names = json.loads(found[1]) if found else []
    except (OSError, ValueError):
        return []
    clear = isinstance(names, list) and all(isinstance(one, str) and FILE.fullmatch(one) for one in names)
    return names if clear else []


def _template(**values: object) -> str:
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["show"] = show
    text = resources.files("busi.figures").joinpath("page.html").read_text(encoding="utf-8")
    return environment.from_string(text).render(**values)
