"""Images that a classifier takes for another class with the most certainty."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from busi.core import CLASSES, InputError
from busi.data import file_name, read_gray, read_mask
from busi.figures import ANNOTATION, PREDICTION, Block, Overlay, PageFigure, draw_contour
from busi.reporting.pooling import Scored
from busi.runs import Predictions, Variant, find_records

MOST, COLUMNS = 8, 4
"""Images that are drawn, and how many of them in a row."""


def show_mistakes(variant: Variant, scored: Scored) -> list[Block]:
    """Draw the most certain mistakes of the first seed.

    Args:
        variant: The runs. Images are read, and maps where they are there.
        scored: The calibrated predictions of the first seed.
    """
    preds, certain = scored.probs.argmax(axis=1), scored.probs.max(axis=1)
    wrong = np.flatnonzero(preds != scored.labels)
    whose = " of the first training" if len(variant.seeds) > 1 else ""
    if not len(wrong):
        return [f"Every test image has its true class as the most probable one{whose}."]
    chosen = wrong[np.argsort(-certain[wrong], kind="stable")][:MOST].tolist()
    runs = {one.fold: one for one in variant.seeds[0]}
    try:
        cases = [
            make_case(
                runs[int(scored.folds[i])],
                str(scored.columns["id"][i]),
                f"true {CLASSES[scored.labels[i]]}, predicted {CLASSES[preds[i]]} ({certain[i]:.2f})",
            )
            for i in chosen
        ]
    except InputError as error:
        return [f"No images are shown here: {error}."]
    caption = (
        f"The {len(cases)} most certain of {len(wrong)} mistakes{whose} among {len(preds)} images, with the "
        "probability of the predicted class: annotation (blue, dashed), and predicted mask if any (orange)"
    )
    return [PageFigure(f"mistakes_{variant.name}", draw_mistakes(cases), caption)]


def make_case(one: Predictions, name: str, title: str) -> Overlay:
    """An image with its annotation, and the mask of its map if there is one.

    Raises:
        InputError: If the image is no longer there.
    """
    record = find_records(one.run).get(name)
    if record is None:
        raise InputError(f"{name} is no longer in the data of {one.run.folder}")
    gray = read_gray(record.image)
    empty = np.zeros(gray.shape, np.bool_)
    mask = read_mask(record, *gray.shape).astype(bool) if record.annotated else empty
    path = one.run.folder / "maps" / f"{file_name(name)}.png"
    pred = one.run.postprocess(read_gray(path) / 255) if path.is_file() else empty
    return Overlay(f"{title}\n{name}", gray, mask, pred if pred.shape == gray.shape else empty)


def draw_mistakes(cases: Sequence[Overlay]) -> Figure:
    """Draw images in rows, with the outlines of their masks."""
    rows = -(-len(cases) // COLUMNS)
    figure = Figure(figsize=(9, 2.6 * rows), layout="constrained")
    axes = figure.subplots(rows, COLUMNS, squeeze=False).ravel()
    for axis in axes:
        axis.axis("off")
    for axis, case in zip(axes, cases, strict=False):
        axis.imshow(case.image, cmap="gray", vmin=0, vmax=255)
        axis.set_title(case.title, fontsize=7)
        draw_contour(axis, case.mask, ANNOTATION)
        draw_contour(axis, case.pred, PREDICTION)
    return figure
