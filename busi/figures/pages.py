"""Self-contained HTML pages: text, tables and figures in sections, readable offline and on paper."""

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import ClassVar

from jinja2 import Environment, StrictUndefined
from matplotlib.figure import Figure

from busi.core import write_whole
from busi.figures.contours import render

Cell = str | int | float | None


@dataclass(frozen=True)
class Table:
    """Rows of cells.

    Attributes:
        kind: How the template knows a table.
        header: Of the columns.
        rows: Floats are shown with three decimals, None and NaN as a dash.
        caption: What the table shows.
    """

    kind: ClassVar[str] = "table"
    header: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    caption: str = ""


@dataclass(frozen=True)
class PageFigure:
    """A figure with a caption.

    Attributes:
        kind: How the template knows a figure.
        name: Of its file, without suffix.
        figure: What matplotlib drew.
        caption: What it shows.
    """

    kind: ClassVar[str] = "figure"
    name: str
    figure: Figure
    caption: str


Block = str | Table | PageFigure
"""What a section is made of; a string is one paragraph of plain text."""


@dataclass(frozen=True)
class Section:
    """A heading and the blocks below it, in order."""

    title: str
    blocks: Sequence[Block] = field(default_factory=list)


def write_page(folder: Path, title: str, lead: str, sections: Sequence[Section]) -> Path:
    """Write ``index.html`` with all figures inside, and each figure as ``figures/<name>.png``.

    Returns:
        The page.
    """
    images: dict[str, str] = {}
    for section in sections:
        for block in section.blocks:
            if isinstance(block, PageFigure):
                content = render(block.figure)
                write_whole(folder / "figures" / f"{block.name}.png", _writer(content))
                images[block.name] = base64.b64encode(content).decode()
    page = _template(title=title, lead=lead, sections=sections, images=images)
    return write_whole(folder / "index.html", _writer(page.encode()))


def show(cell: Cell) -> str:
    """A cell as text."""
    if cell is None or cell != cell:
        return "-"
    return f"{cell:.3f}" if isinstance(cell, float) else str(cell)


def _template(**values: object) -> str:
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["show"] = show
    text = resources.files("busi.figures").joinpath("page.html").read_text(encoding="utf-8")
    return environment.from_string(text).render(**values)


def _writer(content: bytes) -> Callable[[Path], int]:
    return lambda part: part.write_bytes(content)
