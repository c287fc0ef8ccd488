"""The calibrated predictions of the runs of one seed, put together.

Each source of a run is calibrated on validation images of the same run: on those of the source itself where
it has enough of them.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped
from scipy.special import softmax

from busi.core import CLASSES, MALIGNANT
from busi.metrics import (
    COVERAGE,
    OPERATING_POINTS,
    Calibration,
    calibrate,
    conformal_quantiles,
    source_rows,
)
from busi.runs import Predictions, learned_classes, take

Columns = Mapping[str, Shaped[np.ndarray, " n"]]
"""Columns of ``predictions.csv``."""


Fit = Callable[[Predictions, str], Calibration]
"""From a run and a source to the calibration of the test images of that source."""


@dataclass(frozen=True)
class Scored:
    """The calibrated predictions of one seed on the test images of all folds, row by row.

    Attributes:
        columns: Those of ``predictions.csv``.
        raw: Probabilities before the temperature.
        probs: Probabilities after the temperature.
        predicted_positive: For each of `OPERATING_POINTS`, whether the image is predicted malignant.
        sets: Which classes are in the conformal set of the image.
        fitted: The calibration of each fold and source.
    """

    columns: Columns
    raw: Float[np.ndarray, "n 3"]
    probs: Float[np.ndarray, "n 3"]
    predicted_positive: Mapping[str, Bool[np.ndarray, " n"]]
    sets: Bool[np.ndarray, "n 3"]
    fitted: Mapping[tuple[int, str], Calibration]

    @property
    def labels(self) -> Int[np.ndarray, " n"]:
        """True classes."""
        return self.columns["label"]

    @property
    def folds(self) -> Int[np.ndarray, " n"]:
        """The fold whose model scored the image."""
        return self.columns["fold"]

    @property
    def calibrated(self) -> bool:
        """Whether anything was fitted: without it there are neither operating points nor conformal sets."""
        return all(known.fitted_on for known in self.fitted.values())

    @property
    def correct(self) -> Bool[np.ndarray, " n"]:
        """Whether the most probable class is the true one."""
        return np.asarray(self.probs.argmax(axis=1) == self.labels)

    def only(self, kept: Shaped[np.ndarray, " m"]) -> "Scored":
        """The same with these images alone, which are given as positions or as yes and no."""
        return Scored(
            take(self.columns, kept),
            self.raw[kept],
            self.probs[kept],
            take(self.predicted_positive, kept),
            self.sets[kept],
            self.fitted,
        )


def score(found: Sequence[Predictions], fit: Fit | None = None) -> Scored:
    """Calibrate the test images of each run, source by source.

    Args:
        found: The folds of one seed, each with validation and test rows.
        fit: Gives the calibration; None for `fit_validation`.
    """
    columns, logits = join(found), np.concatenate([one.logits("test") for one in found])
    probs, sets = np.empty_like(logits), np.empty(logits.shape, np.bool_)
    predicted_positive = {name: np.empty(len(logits), np.bool_) for name in OPERATING_POINTS}
    fitted: dict[tuple[int, str], Calibration] = {}
    for one in found:
        for source, of_source in rows_by_source(columns).items():
            here = of_source & (columns["fold"] == one.fold)
            if not here.any():
                continue
            fitted[one.fold, source] = known = (fit or fit_validation)(one, source)
            probs[here] = known.probs(logits[here])
            sets[here] = known.sets(logits[here])
            for name, x in known.thresholds.items():
                # Without a threshold (a class is missing in validation) no image is predicted malignant.
                predicted_positive[name][here] = probs[here, MALIGNANT] >= (np.inf if x is None else x)
    return Scored(columns, softmax(logits, axis=1), probs, predicted_positive, sets, fitted)


def fit_nothing(one: Predictions, source: str) -> Calibration:
    """The calibration of a model without predictions of validation images."""
    del one, source
    return Calibration(1.0, (1.0,) * len(CLASSES), COVERAGE, dict.fromkeys(OPERATING_POINTS))


def fit_validation(one: Predictions, source: str) -> Calibration:
    """Calibrate a source on the validation images of a run.

    `busi.metrics.thresholds.source_rows` says whether those of the source are enough. Where it has too few
    images of a class to leave it out of any conformal set, the images of all sources say when it is left
    out.

    Args:
        one: The run.
        source: The source that is judged.
    """
    logits, labels, sources = one.logits("val"), one.labels("val"), one.part("val")["source"]
    kept = source_rows(labels, sources, source)
    learned = learned_classes(one.run)
    known = calibrate(logits[kept], labels[kept], COVERAGE, learned)
    of_all = conformal_quantiles(known.probs(logits), labels, COVERAGE, learned)
    quantiles = tuple(x if 0 < x < 1 else y for x, y in zip(known.quantiles, of_all, strict=True))
    return replace(known, quantiles=quantiles, fitted_on=tuple(dict.fromkeys(sources[kept].tolist())))


def join(found: Sequence[Predictions]) -> Columns:
    """Stack the test rows of several folds; ``fold`` is the fold whose model scored them."""
    parts = [{**one.part("test"), "fold": np.full(len(one.labels("test")), one.fold)} for one in found]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def rows_by_source(columns: Columns) -> dict[str, Bool[np.ndarray, " n"]]:
    """Source -> which images are of it, sources in the order in which they first appear."""
    sources = columns["source"]
    return {name: sources == name for name in dict.fromkeys(sources.tolist())}
