"""What pages are made of: text, tables and figures in sections."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from matplotlib.figure import Figure

Cell = str | int | float | None


@dataclass(frozen=True)
class Table:
    """Rows of cells.

    Attributes:
        kind: How the template knows a table.
        header: Of the columns.
        rows: Floats are shown with three decimals, None and NaN as a dash.
        caption: What the table shows.
        folded: Whether the page shows its caption alone until somebody opens it.
    """

    kind: ClassVar[str] = "table"
    header: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    caption: str = ""
    folded: bool = False


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


@dataclass(frozen=True)
class KeyResults:
    """What a reader with half a minute reads.

    Attributes:
        verdict: In a sentence or two.
        numbers: What is measured, and its value.
    """

    verdict: str
    numbers: Sequence[tuple[str, str]] = ()


def show(cell: Cell) -> str:
    """A cell as text."""
    if cell is None or cell != cell:
        return "-"
    return f"{cell:.3f}" if isinstance(cell, float) else str(cell)
