"""Self-contained HTML pages: text, tables and figures in sections, readable offline and on paper."""

import base64
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

from jinja2 import Environment, StrictUndefined

from busi.core import write_text
from busi.figures.blocks import KeyResults, PageFigure, Section, show
from busi.figures.files import write_figure, write_tables


def write_page(
    folder: Path, title: str, lead: str, sections: Sequence[Section], key: KeyResults | None = None
) -> Path:
    """Write ``index.html`` with all figures inside, and for papers each of its figures and tables.

    They are ``figures/<name>.png``, ``.pdf`` and ``.svg``, and ``tables/<section>_<caption>.csv`` and
    ``.tex``.

    Args:
        folder: Where they go.
        title: Of the page.
        lead: What a reader must know before the results.
        sections: Of the page.
        key: What stands above all of it.

    Returns:
        The page.

    Raises:
        ValueError: If two figures have one name.
    """
    figures = [block for section in sections for block in section.blocks if isinstance(block, PageFigure)]
    images: dict[str, str] = {}
    for block in figures:
        if block.name in images:
            raise ValueError(f"two figures of a page are called {block.name}: one would be shown twice")
        content = write_figure(folder / "figures", block.name, block.figure)
        images[block.name] = base64.b64encode(content).decode()
    write_tables(folder / "tables", sections)
    page = _template(title=title, lead=lead, sections=sections, images=images, key=key)
    return write_text(folder / "index.html", page)


def _template(**values: object) -> str:
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["show"] = show
    text = resources.files("busi.figures").joinpath("page.html").read_text(encoding="utf-8")
    return environment.from_string(text).render(**values)
