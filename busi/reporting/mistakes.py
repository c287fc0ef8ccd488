"""Images that a classifier takes for another class with the most certainty."""

from dataclasses import replace

import numpy as np

from busi.core import CLASSES, InputError
from busi.figures import Block, PageFigure, draw_overlays
from busi.reporting.overlays import read_overlay
from busi.reporting.pooling import Scored
from busi.runs import Variant, find_records_of

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
        records = find_records_of({fold: runs[fold].run for fold in set(scored.folds[chosen].tolist())})
        cases = [
            replace(
                read_overlay(runs[fold], name, records[fold]),
                title=f"true {CLASSES[label]}, predicted {CLASSES[pred]} ({prob:.2f})\n{name}",
            )
            for fold, name, label, pred, prob in zip(
                scored.folds[chosen].tolist(),
                map(str, scored.columns["id"][chosen]),
                scored.labels[chosen],
                preds[chosen],
                certain[chosen],
                strict=True,
            )
        ]
    except InputError as error:
        return [f"No images are shown here: {error}."]
    caption = (
        f"The {len(cases)} most certain of {len(wrong)} mistakes{whose} among {len(preds)} images, with the "
        "probability of the predicted class: annotation (blue, dashed), and predicted mask if any (orange)"
    )
    return [PageFigure(f"mistakes_{variant.name}", draw_overlays(cases, "Most certain mistakes"), caption)]
