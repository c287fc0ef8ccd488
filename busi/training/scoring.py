"""From a trained network to the predictions, metrics and figures of its run folder."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Int
from sklearn.metrics import confusion_matrix
from torch import nn

from busi.core import CLASSES, write_json, write_table
from busi.data import BUSIDataModule, Cohort, read_gray, read_mask
from busi.figures import Overlay, draw_confusions, draw_overlays, save_figure, title_mask
from busi.metrics import fit_logit_scale, segmentation_metrics
from busi.models import Classifier, Postprocess, Segmenter
from busi.modules import ClsModule
from busi.runs import (
    BEST,
    Row,
    describe_classes,
    describe_image,
    name_guide,
    write_logit_scale,
    write_postprocess,
)
from busi.training.features import watch_features
from busi.training.predicting import Case, annotated_maps, predict_logits, predict_masks
from busi.training.probe import write_shortcut
from busi.training.summary import (
    Columns,
    Metrics,
    class_probs,
    columns_of,
    measure_classes,
    source_operating_points,
    summarize,
)

MakePostprocess = Callable[..., Postprocess]
"""Makes a post-processing of maps and annotations of the validation fold, and the ``sources`` of these."""


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
    tunes = data.leave_out is None
    val_sources = data.cohort.sources_of(data.cohort.indices("val")) if tunes else []
    step = postprocess(annotated_maps(segmenter, data) if tunes else [], sources=val_sources)
    write_postprocess(folder / BEST, step)
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
    network: ClsModule | Classifier, data: BUSIDataModule, folder: Path, *, guide: str, test: bool
) -> Metrics:
    """Classify validation images, and test images if `test` is set, and measure.

    Writes ``predictions.csv`` and ``figures/test_confusion.png`` (``val_confusion.png`` without a test), and
    ``shortcut.json`` if images of several sources are scored, the test fold too. Fits ``logit_scale`` of the
    network and its checkpoint on the validation fold, see `busi.metrics.fit_logit_scale`.

    Args:
        network: Image and guide -> logits under the data's own prior.
        data: The images, with their guides.
        folder: The run folder, with its checkpoint.
        guide: Its name, for the figure.
        test: Score the test fold too.

    Returns:
        As `score_segmentation`; ``val/logit_scale``; the operating points: thresholds from the validation
        fold, achieved values on the test fold; and of several sources how well the features tell them, see
        `write_shortcut`.
    """
    splits = scored_splits(test)
    indices = data.cohort.indices(*splits)
    with watch_features(network.eval().network) as features:
        logits = predict_logits(network.network, data, indices)
    prior = network.logit_correction.numpy(force=True) + data.logit_shift(indices)
    val = np.isin(indices, data.cohort.indices("val"))
    scale = fit_logit_scale(logits[val], data.cohort.labels()[indices][val], prior[val])
    network.logit_scale.fill_(scale)
    write_logit_scale(folder / BEST, network.logit_scale)
    answers = zip(indices.tolist(), logits * scale + prior, strict=True)
    rows = [describe_image(data.cohort, i) | describe_classes(z) for i, z in answers]
    write_table(folder / "predictions.csv", rows)
    columns = columns_of(rows)
    shown = f"{title(data, splits[-1])}, guide={name_guide(guide)}"
    figure = draw_confusions(count_confusions(columns, splits[-1], shown))
    save_figure(figure, folder / "figures" / f"{splits[-1]}_confusion.png")
    metrics = summarize(rows, measure_classes) | {"val/logit_scale": scale}
    if test:
        metrics |= source_operating_points(columns)
        if len(set(columns["source"].tolist())) > 1:
            metrics |= write_shortcut(folder, columns, data, features.stack())
    return metrics


def count_confusions(columns: Columns, split: str, title: str) -> dict[str, Int[np.ndarray, "3 3"]]:
    """Confusion matrix of each source by its title, which names the source if there are several."""
    shown, preds = columns["split"] == split, class_probs(columns).argmax(axis=1)
    sources = dict.fromkeys(columns["source"][shown].tolist())
    matrices = {}
    for source in sources:
        here = shown & (columns["source"] == source)
        counts = confusion_matrix(columns["label"][here], preds[here], labels=range(len(CLASSES)))
        matrices[f"{title}\n{source}" if len(sources) > 1 else title] = counts
    return matrices


def scored_splits(test: bool) -> tuple[str, ...]:
    """The splits that are predicted and measured, the test fold last."""
    return ("val", "test") if test else ("val",)


def title(data: BUSIDataModule, split: str) -> str:
    """Which images a figure shows."""
    if split == "test" and data.hold_out is not None:
        return f"Test images of {data.hold_out}"
    fold = data.fold if split == "test" else (data.fold + 1) % data.num_folds
    return f"{'Test' if split == 'test' else 'Validation'} images of fold {fold}"


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
    name = row["id"] if len(cohort.sources) == 1 else f"{row['source']}: {row['id']}"
    return Overlay(
        title_mask(str(name), str(row["label"]), _dice_of((row, i, pred)), mask, pred), image, mask, pred
    )
