"""Figures of an audit: images with their annotations, and distributions."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from busi.core import BENIGN, CLASSES, MALIGNANT
from busi.data import read_gray, read_mask
from busi.figures import ANNOTATION, CHANCE, LOOKS, draw_contour
from busi.reporting.audit import Audit

MAX_ROWS, MAX_COLUMNS = 12, 5
"""Of a figure of images; what is beyond is in the tables."""


def draw_clusters(audit: Audit, rows: Sequence[Sequence[int]]) -> Figure:
    """Images in rows with their ids, annotations as contours.

    Args:
        audit: The data set.
        rows: Positions of images; `MAX_ROWS` of them are drawn, and `MAX_COLUMNS` images of each.
    """
    rows = rows[:MAX_ROWS]
    columns = min(MAX_COLUMNS, max(2, *(len(row) for row in rows)))
    figure = Figure(figsize=(2.6 * columns, 2.4 * len(rows)), layout="constrained")
    axes = figure.subplots(len(rows), columns, squeeze=False)
    for axis in axes.ravel():
        axis.axis("off")
    for row, line in zip(rows, axes, strict=True):
        for i, axis in zip(row, line, strict=False):
            record = audit.records[i]
            gray = read_gray(record.image)
            mask = read_mask(record, *gray.shape)
            axis.imshow(gray, cmap="gray", vmin=0, vmax=255)
            # At the width of a page, 10 pixels.
            title = shorten(record.id, 24 if columns > 4 else 32)
            axis.set_title(title, fontsize=max(8.0, 0.77 * figure.get_figwidth()))
            draw_contour(axis, mask.astype(bool), ANNOTATION)
    return figure


def shorten(text: str, most: int = 32) -> str:
    """The end of a long id, by which paths differ."""
    return text if len(text) <= most else f"...{text[3 - most :]}"


def draw_lesion_sizes(audit: Audit) -> Figure:
    """Histograms of the share of the image that a lesion covers, by class."""
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    axis = figure.subplots()
    shares = {
        label: [
            summary.lesion_share
            for summary, record in zip(audit.summaries, audit.records, strict=True)
            if record.label == label and record.masks
        ]
        for label in (BENIGN, MALIGNANT)
    }
    smallest = min([0.001, *(share for some in shares.values() for share in some if share > 0)])
    edges = np.geomspace(smallest, 1, 31).tolist()
    for label, some in shares.items():
        look = LOOKS[CLASSES[label]]
        number, shown = np.histogram(some, edges)[0], CLASSES[label]
        axis.stairs(number, edges, linewidth=1.8, color=look.color, linestyle=look.linestyle, label=shown)
    axis.set(xscale="log", xlabel="share of the image that the lesion covers", ylabel="images")
    axis.legend()
    return figure


def draw_agreement(audit: Audit) -> Figure:
    """Histogram of the agreement of two annotations of one frame."""
    figure = Figure(figsize=(8, 3), layout="constrained")
    axis = figure.subplots()
    axis.hist([value for _, _, value in audit.repeated], np.linspace(0, 1, 41).tolist(), color=CHANCE)
    axis.set(xlabel="Dice of two annotations of one frame", ylabel="pairs")
    return figure
