"""Figures for run folders and reports: images with contours, and the confusion matrix."""

import io
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Int, UInt8
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text

from busi.core import CLASSES, write_whole
from busi.figures.palette import ANNOTATION, PREDICTION, Look

logging.getLogger("fontTools").setLevel(logging.WARNING)  # tells of each font that goes into a PDF

Mask = Bool[np.ndarray, "h w"]

IN_A_ROW = 4
"""Images."""
TILE, LINE, MARGIN = 3.0, 0.3, 0.1
"""Side of the square of an image, height of the words above it, and what stays free around it; in inches."""


@dataclass(frozen=True)
class Overlay:
    """One image to draw.

    Attributes:
        title: Written above it.
        image: Gray.
        mask: The annotation, drawn in blue and dashed.
        pred: The prediction, drawn in orange and solid.
    """

    title: str
    image: UInt8[np.ndarray, "h w"]
    mask: Bool[np.ndarray, "h w"]
    pred: Bool[np.ndarray, "h w"]


def draw_overlays(overlays: Sequence[Overlay], title: str) -> Figure:
    """Draw images in rows of four, with the annotation and the predicted mask as contours."""
    num_rows = max(1, -(-len(overlays) // IN_A_ROW))
    width, height = TILE * IN_A_ROW, (TILE + LINE) * num_rows + 2 * LINE + MARGIN
    figure = Figure(figsize=(width, height))
    # One system of axes, in inches from the top left: one for each image would take four times as long.
    axes = figure.add_axes((0, 0, 1, 1))
    axes.text(width / 2, LINE / 2 + MARGIN, title, fontsize=12, ha="center", va="center")
    for number, overlay in enumerate(overlays):
        row, column = divmod(number, IN_A_ROW)
        top = LINE + MARGIN + row * (TILE + LINE)
        axes.text((column + 0.5) * TILE, top + LINE * 0.75, overlay.title, fontsize=9, ha="center")
        _draw_tile(axes, overlay, column * TILE, top + LINE)
    axes.set(xlim=(0, width), ylim=(height, 0), aspect="equal")
    axes.axis("off")
    lines = [
        Line2D([], [], color=look.color, linestyle=look.linestyle, linewidth=2, label=name)
        for name, look in (("annotation", ANNOTATION), ("prediction", PREDICTION))
    ]
    axes.legend(handles=lines, loc="lower left", ncols=2, frameon=False, borderaxespad=0.2)
    return figure


def _draw_tile(axes: Axes, overlay: Overlay, left: float, top: float) -> None:
    """Draw an image with its contours into the square of a tile, at the top of it."""
    height, width = overlay.image.shape
    pixel = (TILE - 2 * MARGIN) / max(height, width)
    left += (TILE - width * pixel) / 2
    extent = (left, left + width * pixel, top + height * pixel, top)
    axes.imshow(overlay.image, cmap="gray", vmin=0, vmax=255, extent=extent)
    for mask, look in ((overlay.mask, ANNOTATION), (overlay.pred, PREDICTION)):
        draw_contour(axes, mask, look, (left, top), pixel)


def title_mask(name: str, label: str, dice: float, mask: Mask, pred: Mask) -> str:
    """What stands above an image with its masks.

    An empty mask of a normal image agrees with the annotation, which no Dice says.

    Args:
        name: Of the image.
        label: Its true class.
        dice: Of the masks.
        mask: The annotation.
        pred: The prediction.
    """
    shown = name if label in name else f"{name}, {label}"
    if not mask.any():
        return f"{shown}: " + (f"false mask on {pred.mean():.1%}" if pred.any() else "no false mask")
    return f"{shown}: Dice {dice:.2f}" if pred.any() else f"{shown}: no mask"


def draw_contour(
    axis: Axes,
    mask: Bool[np.ndarray, "h w"],
    look: Look,
    corner: tuple[float, float] = (-0.5, -0.5),
    pixel: float = 1.0,
) -> None:
    """Outline a mask; an empty one has no outline.

    Args:
        axis: Where the image is drawn.
        mask: Of the image.
        look: Of the line.
        corner: Where the top left corner of the image is; by default that of ``imshow``.
        pixel: Side of a pixel.
    """
    if mask.any():
        # A margin closes the contour of a mask that touches the border.
        framed = np.pad(mask.astype(float), 1)
        columns, rows = (
            start + pixel * (np.arange(-1, length + 1) + 0.5)
            for start, length in zip(corner, mask.shape[::-1], strict=True)
        )
        drawn = axis.contour(columns, rows, framed, levels=[0.5], colors=[look.color], linewidths=1.5)
        drawn.set_linestyle(look.linestyle)


def draw_confusions(matrices: Mapping[str, Int[np.ndarray, "3 3"]]) -> Figure:
    """Draw confusion matrices by their titles, at most three beside each other.

    Each has a row for each true class; the shade is the share of the row.
    """
    wide = min(len(matrices), 3)
    high = -(-len(matrices) // wide)
    figure = Figure(figsize=(4.4 * wide, 4.2 * high), layout="constrained")
    for number, (title, counts) in enumerate(matrices.items(), start=1):
        _draw_matrix(figure.add_subplot(high, wide, number), counts, title)
    return figure


def _draw_matrix(axis: Axes, counts: Int[np.ndarray, "3 3"], title: str) -> None:
    totals = counts.sum(axis=1)
    shares = counts / totals[:, None].clip(min=1)
    axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for i, j in np.ndindex(*counts.shape):
        color = "white" if shares[i, j] > 0.5 else "black"
        text = f"{counts[i, j]}\n{shares[i, j]:.0%}" if totals[i] else "-"  # the class has no image
        axis.text(j, i, text, ha="center", va="center", color=color)
    axis.set_xticks(range(len(CLASSES)), CLASSES)
    axis.set_yticks(range(len(CLASSES)), CLASSES, rotation=90, va="center")
    axis.set(xlabel="predicted", ylabel="true", title=title)


def save_figure(figure: Figure, path: Path) -> Path:
    """Write a figure as a PNG, whole or not at all."""
    content = render(figure)
    return write_whole(path, lambda part: part.write_bytes(content))


def render(figure: Figure, kind: str = "png") -> bytes:
    """Draw a figure as PNG, PDF or SVG; its text is shown as it is, and is no formula.

    The same figure gives the same bytes; the fonts of a PDF are TrueType, as journals ask for.
    """
    FigureCanvasAgg(figure)
    texts = figure.findobj(Text)
    ticks = {id(label) for axes in figure.axes for label in _tick_labels(axes)}
    for text in texts:
        if id(text) not in ticks:  # their formatters write numbers as formulas
            text.set_parse_math(False)
            text.set_text(text.get_text().encode("utf-8", "backslashreplace").decode())
    return save(figure, kind)


def save(figure: Figure, kind: str) -> bytes:
    """As `render`, of a figure that was rendered before."""
    if kind == "pdf":
        from fontTools.subset import Options

        # For those who set text, and no PDF reads them: to shorten them takes most of the time of a PDF.
        dropped = getattr(Options, "_drop_tables_default", [])
        Options._drop_tables_default = sorted({*dropped, "GDEF", "GPOS", "GSUB"})
    buffer = io.BytesIO()
    no_date = {"pdf": {"CreationDate": None}, "svg": {"Date": None}}.get(kind)
    # The default level takes more than twice the time, and saves four percent.
    packed: dict[str, Any] = {"pil_kwargs": {"compress_level": 3}} if kind == "png" else {}
    with rc_context({"pdf.fonttype": 42, "svg.hashsalt": "busi"}):
        figure.savefig(buffer, format=kind, dpi=110, metadata=no_date, **packed)
    return buffer.getvalue()


def _tick_labels(axes: Axes) -> list[Text]:
    ticks = [tick for axis in (axes.xaxis, axes.yaxis) for tick in (*axis.majorTicks, *axis.minorTicks)]
    return [label for tick in ticks for label in (tick.label1, tick.label2)]
