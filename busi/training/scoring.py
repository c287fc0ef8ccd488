"""From a trained network to the predictions, metrics and figures of its run folder."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Shaped
from sklearn.metrics import confusion_matrix
from torch import nn

from busi.core import CLASSES, write_json, write_table
from busi.data import BUSIDataModule, Cohort, read_gray, read_mask
from busi.figures import Overlay, draw_confusion, draw_overlays, save_figure
from busi.metrics import (
    Values,
    Weights,
    bootstrap_groups,
    classification_metrics,
    defined,
    operating_points,
    segmentation_metrics,
)
from busi.models import Map, Mask, Postprocess, Segmenter
from busi.runs import name_guide, write_postprocess
from busi.training.predicting import Case, Row, annotated_maps, predict_classes, predict_masks

Columns = Mapping[str, Shaped[np.ndarray, " n"]]
Metrics = dict[str, float | None]
MakePostprocess = Callable[[Iterable[tuple[Map, Mask]]], Postprocess]
"""From maps and annotations of the validation fold to what makes a mask of a map."""


def score_segmentation(
    network: nn.Module, data: BUSIDataModule, folder: Path, *, postprocess: MakePostprocess, test: bool
) -> Metrics:
    """Predict validation images, and test images if `test` is set, at their original size, and measure.

    Writes ``maps/<id>.png`` (probabilities, 8-bit), ``postprocess.json``, ``predictions.csv`` and
    ``figures/test_overlays.png`` (``val_overlays.png`` without a test).

    Args:
        network: Image -> logits.
        data: The images.
        folder: The run folder, with its checkpoint.
        postprocess: The validation fold may tune it; a run that guides others tunes nothing by images that it
            guides.
        test: Score the test fold too.

    Returns:
        ``val/...`` and ``test/...`` numbers, each of the test fold with ``_low`` and ``_high``, its
        95 % interval.
    """
    splits = scored_splits(test)
    segmenter = Segmenter(network, data.image_size).eval()
    step = postprocess(annotated_maps(segmenter, data) if data.leave_out is None else [])
    write_postprocess(folder / "checkpoints" / "best.ckpt", step)
    write_json(folder / "postprocess.json", asdict(step))
    cases = predict_masks(segmenter, step, data, splits, folder)
    rows = [row for row, _, _ in cases]
    write_table(folder / "predictions.csv", rows)
    shown = spread([case for case in cases if case[0]["split"] == splits[-1]])
    figure = draw_overlays(
        [_overlay(data.cohort, *case) for case in shown],
        f"{title(data, splits[-1])}: of each class from the best Dice to the worst",
    )
    save_figure(figure, folder / "figures" / f"{splits[-1]}_overlays.png")
    return summarize(rows, segmentation_metrics)


def score_classification(
    network: nn.Module, data: BUSIDataModule, folder: Path, *, guide: str, test: bool
) -> Metrics:
    """Classify validation images, and test images if `test` is set, and measure.

    Writes ``predictions.csv`` and ``figures/test_confusion.png`` (``val_confusion.png`` without a test).

    Args:
        network: Image and guide -> logits under the data's own prior.
        data: The images, with their guides.
        folder: The run folder.
        guide: Its name, for the figure.
        test: Score the test fold too.

    Returns:
        As `score_segmentation`, and the operating points: thresholds from the validation fold,
        achieved values on the test fold.
    """
    splits = scored_splits(test)
    rows = predict_classes(network.eval(), data, splits)
    write_table(folder / "predictions.csv", rows)
    columns = _columns(rows)
    labels, split, probs = columns["label"], columns["split"], _probs(columns)
    shown = split == splits[-1]
    figure = draw_confusion(
        confusion_matrix(labels[shown], probs[shown].argmax(axis=1), labels=range(len(CLASSES))),
        f"{title(data, splits[-1])}, guide={name_guide(guide)}",
    )
    save_figure(figure, folder / "figures" / f"{splits[-1]}_confusion.png")
    metrics = summarize(rows, _classification_metrics)
    if test:
        is_val, is_test = split == "val", split == "test"
        points = operating_points(labels[is_val], probs[is_val], labels[is_test], probs[is_test])
        metrics |= {f"test/{name}": x for name, x in points.items()}
    return metrics


def scored_splits(test: bool) -> tuple[str, ...]:
    """The splits that are predicted and measured, the test fold last."""
    return ("val", "test") if test else ("val",)


def title(data: BUSIDataModule, split: str) -> str:
    """Which images a figure shows."""
    fold = data.fold if split == "test" else (data.fold + 1) % data.num_folds
    return f"{'Test' if split == 'test' else 'Validation'} images of fold {fold}"


def summarize(rows: Sequence[Row], measure: Callable[[Columns, Weights], Values]) -> Metrics:
    """Measure the rows of each split, and bootstrap the groups of the test fold.

    Args:
        rows: Of ``predictions.csv``.
        measure: Metrics of columns, for each resample.

    Returns:
        ``val/<name>``, ``test/<name>``, and ``test/<name>_low`` and ``_high``, the 95 % interval, which
        leaves out the variance of training again. None where undefined.
    """
    metrics: Metrics = {}
    for split, num_resamples in (("val", 0), ("test", 2000)):
        if not (table := [row for row in rows if row["split"] == split]):
            continue
        columns = _columns(table)
        estimates = bootstrap_groups(columns["group"], partial(measure, columns), num_resamples=num_resamples)
        for name in estimates.columns:
            value, low, high = map(defined, estimates[name])
            metrics[f"{split}/{name}"] = value
            if num_resamples:
                metrics |= {f"{split}/{name}_low": low, f"{split}/{name}_high": high}
    return metrics


def _columns(table: Sequence[Row]) -> Columns:
    columns = {name: np.array([row[name] for row in table]) for name in table[0]}
    labels = np.array([CLASSES.index(name) for name in columns["label"]])
    return {**columns, "label": labels}


def spread(cases: Sequence[Case], num_cases: int = 4) -> list[Case]:
    """Of each class, `num_cases` cases evenly spaced from the best Dice to the worst."""
    chosen: list[Case] = []
    for name in CLASSES[::-1]:
        ranked = sorted((case for case in cases if case[0]["label"] == name), key=_dice_of, reverse=True)
        places = np.linspace(0, len(ranked) - 1, min(num_cases, len(ranked))).round().astype(int)
        chosen += [ranked[place] for place in places]
    return chosen


def _dice_of(case: Case) -> float:
    return float(case[0]["dice"])  # type: ignore[arg-type]


def _overlay(cohort: Cohort, row: Row, i: int, pred: Bool[np.ndarray, "_ _"]) -> Overlay:
    image = read_gray(cohort.records[i].image)
    mask = read_mask(cohort.records[i], *image.shape).astype(bool)
    return Overlay(f"{row['id']}   Dice {row['dice']:.2f}", image, mask, pred)


def _classification_metrics(columns: Columns, weights: Weights) -> Values:
    return classification_metrics(columns["label"], _probs(columns), weights)


def _probs(columns: Columns) -> Float[np.ndarray, "n 3"]:
    return np.stack([columns[f"prob_{name}"] for name in CLASSES], axis=1)
