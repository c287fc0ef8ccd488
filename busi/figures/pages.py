"""Self-contained HTML pages: text, tables and figures in sections, readable offline and on paper."""

import base64
import json
import re
from collections.abc import Iterator, Sequence
from importlib import resources
from pathlib import Path

from jinja2 import Environment, StrictUndefined

from busi.core import check_overwritten, write_json, write_text
from busi.figures.blocks import KeyResults, PageFigure, Section, show
from busi.figures.files import KINDS, name_tables, write_figure, write_tables

PAGE = "index.html"
BEGUN = ".page.json"
"""Lists the figures and tables of a page while they are written, so that a later call goes on with them."""
LISTED = re.compile(r"^<meta name=\"files\" content='(\[.*\])'>$", re.MULTILINE)
"""Where a page lists the figures and tables beside it."""
FILE = re.compile(r"figures/[^/\\\0]+\.(png|pdf|svg)|tables/[^/\\\0]+\.(csv|tex)")


def write_page(
    folder: Path, title: str, lead: str, sections: Sequence[Section], key: KeyResults | None = None
) -> Path:
    """Write ``index.html`` with all figures inside, and for papers each of its figures and tables.

    They are ``figures/<name>.png``, ``.pdf`` and ``.svg``, and ``tables/<section>_<caption>.csv`` and
    ``.tex``. Those of an older page of the folder, or of a call that was stopped, are overwritten, or removed
    if this page does not have them.

    Args:
        folder: Where they go.
        title: Of the page.
        lead: What a reader must know before the results.
        sections: Of the page.
        key: What stands above all of it.

    Returns:
        The page.

    Raises:
        InputError: If a figure or a table is there that no page lists.
        ValueError: If two figures have one name.
    """
    figures = [block for section in sections for block in section.blocks if isinstance(block, PageFigure)]
    images: dict[str, str] = {}
    written: list[Path] = []
    old = [*list_files(folder / PAGE), *read_names(folder / BEGUN)]
    names = list(name_files(figures, sections))
    own = {name.casefold() for name in old}  # on some disks, case does not tell files apart
    check_overwritten(folder, [name for name in names if name.casefold() not in own], "page")
    begun = write_json(folder / BEGUN, sorted({*old, *names}))
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
    kept = {name.casefold() for name in files}
    for name in old:
        if name.casefold() not in kept:
            (folder / name).unlink(missing_ok=True)
    begun.unlink()
    return page


def name_files(figures: Sequence[PageFigure], sections: Sequence[Section]) -> Iterator[str]:
    """The figures and tables that a page is written with."""
    yield from (f"figures/{block.name}.{kind}" for block in figures for kind in KINDS)
    yield from (f"tables/{name}.{kind}" for name, _ in name_tables(sections) for kind in ("csv", "tex"))


def list_files(page: Path) -> list[str]:
    """The figures and tables that a page says it was written with; none if it does not say it clearly."""
    try:
        found = LISTED.search(page.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    return parse_names(found[1]) if found else []


def read_names(path: Path) -> list[str]:
    """The figures and tables that a call was writing when it was stopped."""
    try:
        return parse_names(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []


def parse_names(text: str) -> list[str]:
    """A list of figures and tables as JSON; none if it is no such list, or names anything else."""
    try:
        names = json.loads(text)
    except (ValueError, RecursionError):
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
