"""Calibration in a report: what it was fitted on, its temperatures and thresholds, and the conformal sets."""

from collections.abc import Mapping, Sequence

import numpy as np

from busi.core import CLASSES
from busi.figures import Block, Cell, Table
from busi.metrics import ENOUGH, Estimates
from busi.reporting.cells import JsonObject, cell
from busi.reporting.metric_titles import POINTS
from busi.reporting.pooling import Scored, rows_by_source
from busi.reporting.sources import name_folds
from busi.reporting.words import is_evaluation
from busi.runs import Variant


def explain_calibration(variant: Variant, scored: Sequence[Scored], given: bool = False) -> str:
    """Where temperature, thresholds and conformal sets come from.

    Args:
        variant: The runs.
        scored: Their calibrated predictions, seed by seed.
        given: Whether they were calibrated by something else than their validation images.
    """
    fitted = [(fold, source, known) for one in scored for (fold, source), known in one.fitted.items()]
    what = "Temperature, thresholds and conformal sets"
    if not all(one.calibrated for one in scored):
        return (
            "There are no predictions of validation images. So probabilities count as they are, no threshold "
            "is set for malignant, and there are no conformal sets."
        )
    origins = " and ".join(dict.fromkeys(name for *_, known in fitted for name in known.fitted_on))
    if given:
        return f"{what} come from {origins}."
    if variant.held_out:
        return f"{what} come from the validation images of {origins} in the same run."
    if len(rows_by_source(scored[0].columns)) == 1:
        return f"{what} come from the validation fold of the same run."
    text = (
        f"{what} of a source come from the validation images of that source in the same run, if at least "
        f"{ENOUGH} of them are malignant and {ENOUGH} are not; else from those of all sources. If it has "
        "fewer than 9 of a class, those of all sources say which images have this class in their set."
    )
    lent: dict[str, set[int]] = {}
    for fold, source, known in fitted:
        if known.fitted_on != (source,):
            lent.setdefault(source, set()).add(fold)
    for source, folds in lent.items():
        text += f" {source} has too few in the runs of {name_folds(sorted(folds))}."
    return text


def list_calibrations(variant: Variant, scored: Sequence[Scored]) -> list[JsonObject]:
    """What was fitted for each seed, fold and source, for ``report.json``."""
    return [
        {
            "seeds": seed[0].seeds,
            "fold": fold,
            **({"source": source, "fitted_on": list(known.fitted_on)} if lends(variant, one) else {}),
            "temperature": known.temperature,
            "thresholds": dict(known.thresholds),
            "quantiles": list(known.quantiles),
        }
        for seed, one in zip(variant.seeds, scored, strict=True)
        for (fold, source), known in one.fitted.items()
    ]


def lends(variant: Variant, scored: Scored) -> bool:
    """Whether a source may be calibrated on images of another one."""
    return bool(variant.held_out) or len(rows_by_source(scored.columns)) > 1


def calibration_table(variant: Variant, scored: Sequence[Scored]) -> Table:
    """Temperature, thresholds and conformal quantiles of each validation fold and source."""
    sources = lends(variant, scored[0])
    rows = [
        [
            *(", ".join(map(str, folds[0].seeds)), fold),
            *((source, " and ".join(known.fitted_on)) if sources else ()),
            known.temperature,
            *known.thresholds.values(),
            *known.quantiles,
        ]
        for folds, one in zip(variant.seeds, scored, strict=True)
        for (fold, source), known in one.fitted.items()
    ]
    header = ["seed", "fold", *(["source", "set on"] if sources else []), "temperature"]
    header += [f"threshold, {title}" for title in POINTS.values()]
    return Table(
        [*header, *(f"quantile, {name}" for name in CLASSES)],
        rows,
        f"Set on the validation {'images of the model' if is_evaluation(variant) else 'folds'}; a conformal "
        "set has the classes whose 1 - p is at most the quantile",
    )


def conformal_blocks(parts: Mapping[str, Sequence[Scored]], found: Estimates) -> list[Block]:
    """How many classes the conformal sets have, and how often they contain the true one.

    Args:
        parts: The seeds of each source.
        found: Means over sources.
    """
    by_size = [
        np.mean([np.bincount(one.sets.sum(axis=1), minlength=4) / len(one.sets) for one in part], axis=0)
        for part in parts.values()
    ]
    sizes, labels = np.mean(by_size, axis=0), np.concatenate([part[0].labels for part in parts.values()])
    text = (
        "A conformal set should contain the true class for 90 % of the images of each class. They were set "
        "on few images of a class, so the coverage is measured here and not guaranteed. A set has "
        f"{found['set_size'].value:.2f} classes on average: "
        + ", ".join(f"{share:.0%} of the sets have {number}" for number, share in enumerate(sizes))
        + "."
    )
    rows: list[list[Cell]] = [
        [name, int((labels == k).sum()), cell(f"coverage_{name}", found)] for k, name in enumerate(CLASSES)
    ]
    return [text, Table(["class", "images", "measured coverage"], rows, "Conformal sets at 90 %")]
