"""What a few images of another hospital change: probabilities, thresholds, conformal sets, postprocessing."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from busi.core import CLASSES, MALIGNANT
from busi.data import Cohort, read_mask
from busi.evaluation.local_part import NEEDED
from busi.evaluation.predicting import read_map
from busi.inference import ModelInfo
from busi.metrics import (
    OPERATING_POINTS,
    Calibration,
    conformal_quantiles,
    fit_temperature_and_biases,
    malignant_thresholds,
    measure_mask,
)
from busi.models import Postprocess, tune_postprocess
from busi.runs import Row


@dataclass(frozen=True)
class DecisionRule:
    """All that turns what a model says into decisions.

    Attributes:
        calibration: Temperature, biases, conformal quantiles and thresholds of malignant.
        postprocess: Of the mask.
        kept: What too few images tell, and what follows, in words.
    """

    calibration: Calibration
    postprocess: Postprocess
    kept: tuple[str, ...] = field(default=())


def rule_of(info: ModelInfo) -> DecisionRule:
    """Those that a model came with; without a calibration, each class is in each set."""
    thresholds = {name: info.malignant_thresholds.get(name) for name in OPERATING_POINTS}
    quantiles = info.quantiles or (1.0,) * len(CLASSES)
    fitted = Calibration(info.temperature, quantiles, info.level, thresholds, biases=info.added_biases)
    return DecisionRule(fitted, info.postprocess)


def refit(own: DecisionRule, logits: Float[np.ndarray, "n 3"], labels: Int[np.ndarray, " n"]) -> DecisionRule:
    """Fit temperature, biases, thresholds and conformal quantiles on a few images.

    Temperature, biases (`busi.metrics.fit_temperature_and_biases`) and thresholds need malignant images and
    others, and are fitted together: a threshold means nothing under another temperature.
    A class of which there are images gets its own quantile (split conformal prediction within each class:
    Vovk, "Conditional validity of inductive conformal predictors", ACML 2012). It is 1 below `NEEDED` images:
    then the class is in every set. What no image tells stays as it was.

    Args:
        own: Those that the model came with.
        logits: Before any temperature.
        labels: True classes.
    """
    counts = np.bincount(labels, minlength=len(CLASSES))
    kept, fitted = [], own.calibration
    malignant, others = int(counts[MALIGNANT]), int(counts.sum() - counts[MALIGNANT])
    if malignant and others:
        temperature, biases = fit_temperature_and_biases(logits, labels)
        fitted = replace(fitted, temperature=temperature, biases=biases)
        fitted = replace(fitted, thresholds=malignant_thresholds(labels, fitted.probs(logits)))
    else:
        kept.append(
            f"temperature, biases and thresholds stay ({malignant} malignant images, {others} others)"
        )
    found = conformal_quantiles(fitted.probs(logits), labels, fitted.level)
    quantiles = np.where(counts == 0, own.calibration.quantiles, found)
    for name, count in zip(CLASSES, counts.tolist(), strict=True):
        if not count:
            kept.append(f"the conformal quantile of {name} stays (no such images)")
        elif count < NEEDED:
            kept.append(f"{name} is in every conformal set ({count} images, fewer than {NEEDED})")
    fitted = replace(fitted, quantiles=tuple(map(float, quantiles)))
    return replace(own, calibration=fitted, kept=(*own.kept, *kept))


def refit_postprocess(own: DecisionRule, cohort: Cohort, places: Sequence[int], output: Path) -> DecisionRule:
    """Tune what makes a mask of a map on annotated images, from the maps that were written.

    Both kinds of mistake must be seen: without images that show no lesion, a false mask would cost nothing.

    Args:
        own: Those that the model came with.
        cohort: The images.
        places: Positions of those that calibrate.
        output: Where their maps lie.
    """
    records = [cohort.records[i] for i in places if cohort.records[i].annotated]
    lesions = sum(bool(record.masks) for record in records)
    empty = len(records) - lesions
    if min(lesions, empty) < NEEDED:
        kept = f"masks are made as before ({lesions} annotated lesions, {empty} images without a lesion)"
        return replace(own, kept=(*own.kept, kept))
    maps = ((record, read_map(output, record.id)) for record in records)
    pairs = ((probs, read_mask(record, *probs.shape).astype(bool)) for record, probs in maps)
    return replace(own, postprocess=tune_postprocess(pairs))


def remeasure(rows: Sequence[Row], cohort: Cohort, postprocess: Postprocess, output: Path) -> list[Row]:
    """The rows with the masks of another postprocess, made from the maps that were written."""
    records = {record.id: record for record in cohort.records}
    made = []
    for row in rows:
        record, probs = records[str(row["id"])], read_map(output, str(row["id"]))
        mask = read_mask(record, *probs.shape).astype(bool) if record.annotated else None
        made.append(row | measure_mask(postprocess(probs), mask))
    return made
