"""The numbers of ``metrics.json`` from the rows of ``predictions.csv``; nothing here needs PyTorch."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
from jaxtyping import Float, Int, Shaped

from busi.core import CLASSES
from busi.metrics import (
    Estimates,
    Values,
    Weights,
    average_sources,
    bootstrap_sources,
    classification_metrics,
    defined,
    find_cases,
    operating_points,
    segmentation_metrics,
    source_rows,
)
from busi.runs import Row, take

Columns = Mapping[str, Shaped[np.ndarray, " n"]]
Metrics = dict[str, float | None]


def summarize_rows(rows: Sequence[Row]) -> Metrics:
    """The metrics of all that rows tell of: masks of the annotated images, and classes."""
    metrics: Metrics = {}
    if annotated := [row for row in rows if np.isfinite(float(row.get("dice", np.nan)))]:  # type: ignore[arg-type]
        metrics |= summarize(annotated, segmentation_metrics)
    if rows and "pred" in rows[0]:
        metrics |= summarize(rows, measure_classes)
    return metrics


def summarize(rows: Sequence[Row], measure: Callable[[Columns, Weights], Values]) -> Metrics:
    """Measure the rows of each split, and bootstrap its groups.

    Args:
        rows: Of ``predictions.csv``.
        measure: Metrics of columns, for each resample.

    Returns:
        ``val/<name>``, ``test/<name>``, each with ``_low`` and ``_high``, the 95 % interval (see
        `busi.metrics.bootstrap.Estimates.at`), which leaves out the variance of training again. None where
        undefined, and for limits with too few cases. In a split with images of several
        sources these are means over the sources where the metric is defined, and each source has its own:
        ``val/<source>/<name>``, ``test/<source>/<name>``.
    """
    metrics: Metrics = {}
    for split, num_resamples in (("val", 1000), ("test", 2000)):
        if not (table := [row for row in rows if row["split"] == split]):
            continue
        columns = columns_of(table)
        sources = bootstrap_sources(
            columns["source"],
            columns["group"],
            partial(_measure, measure, columns),
            num_resamples,
            over=find_cases(columns),
        )
        metrics |= _numbers(split, average_sources(list(sources.values())))
        if len(sources) > 1:
            for source, estimates in sources.items():
                metrics |= _numbers(f"{split}/{source}", estimates)
    return metrics


def source_operating_points(columns: Columns) -> Metrics:
    """Thresholds for malignant from validation images, and what they achieve on test images.

    Args:
        columns: Of ``predictions.csv``, with validation and test images.

    Returns:
        ``test/<name>`` as `operating_points` gives it. For several sources it is the mean over those where it
        is defined, and each has its own, ``test/<source>/<name>``, from the images that `source_rows` gives.
    """
    labels, probs, is_val = columns["label"], class_probs(columns), columns["split"] == "val"
    val_labels, val_probs, found = labels[is_val], probs[is_val], {}
    for source in dict.fromkeys(columns["source"][~is_val].tolist()):
        chosen = source_rows(val_labels, columns["source"][is_val], source)
        judged = ~is_val & (columns["source"] == source)
        found[source] = operating_points(val_labels[chosen], val_probs[chosen], labels[judged], probs[judged])
    metrics: Metrics = {}
    for name in next(iter(found.values())):
        known = [x for points in found.values() if (x := points[name]) is not None]
        metrics[f"test/{name}"] = float(np.mean(known)) if known else None
    if len(found) > 1:
        for source, points in found.items():
            metrics |= {f"test/{source}/{name}": x for name, x in points.items()}
    return metrics


def columns_of(table: Sequence[Row]) -> Columns:
    """Rows as columns; the label as position in `CLASSES`."""
    columns = {name: np.array([row[name] for row in table]) for name in table[0]}
    labels = np.array([CLASSES.index(name) for name in columns["label"]])
    return {**columns, "label": labels}


def class_probs(columns: Columns) -> Float[np.ndarray, "n 3"]:
    """Probabilities of the classes."""
    return np.stack([columns[f"prob_{name}"] for name in CLASSES], axis=1)


def measure_classes(columns: Columns, weights: Weights) -> Values:
    """Metrics of the classes, before any temperature."""
    return classification_metrics(columns["label"], class_probs(columns), weights)


def _measure(
    measure: Callable[[Columns, Weights], Values],
    columns: Columns,
    places: Int[np.ndarray, " m"],
    weights: Int[np.ndarray, "d m"],
) -> Values:
    return measure(take(columns, places), weights)


def _numbers(prefix: str, estimates: Estimates) -> Metrics:
    metrics: Metrics = {}
    for name in estimates.columns:
        value, low, high = map(defined, estimates[name])
        limits = {f"{prefix}/{name}_low": low, f"{prefix}/{name}_high": high}
        metrics |= {f"{prefix}/{name}": value, **limits}
    return metrics
