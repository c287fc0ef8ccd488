"""Images that a classifier takes for another class with the most certainty."""

from collections.abc import Mapping

import numpy as np

from busi.core import CLASSES, InputError, Record
from busi.data import read_gray, read_mask
from busi.figures import Block, Overlay, PageFigure, draw_overlays
from busi.reporting.pooling import Scored
from busi.runs import Predictions, Variant, find_records, map_path

MOST = 8
"""Images that are drawn."""


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
        records = {fold: find_records(runs[fold].run) for fold in set(scored.folds[chosen].tolist())}
        cases = [
            make_case(
                runs[int(scored.folds[i])],
                records[int(scored.folds[i])],
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
    return [PageFigure(f"mistakes_{variant.name}", draw_overlays(cases, "Most certain mistakes"), caption)]


def make_case(one: Predictions, records: Mapping[str, Record], name: str, title: str) -> Overlay:
    """An image with its annotation, and the mask of its map if there is one.

    Args:
        one: Of the run that predicted it.
        records: The data of the run, see `busi.runs.find_records`.
        name: Of the image.
        title: Stands above it.

    Raises:
        InputError: If the image is no longer there.
    """
    record = records.get(name)
    if record is None:
        raise InputError(f"{name} is no longer in the data of {one.run.folder}")
    gray = read_gray(record.image)
    empty = np.zeros(gray.shape, np.bool_)
    mask = read_mask(record, *gray.shape).astype(bool) if record.annotated else empty
    path = map_path(one.run.folder, name)
    pred = one.run.postprocess(read_gray(path) / 255) if path.is_file() else empty
    return Overlay(f"{title}\n{name}", gray, mask, pred if pred.shape == gray.shape else empty)
