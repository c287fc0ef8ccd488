"""From a trained network to the predictions, metrics and pictures of its run folder."""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np
import torch
from hydra.utils import instantiate
from jaxtyping import Bool, Float, Shaped
from omegaconf import DictConfig
from PIL import Image
from rich.progress import track
from scipy.special import softmax
from sklearn.metrics import confusion_matrix
from torch import nn

from busi.core import CLASSES, write_json, write_table, write_whole
from busi.data import BUSIDataModule, Cohort, file_name, is_marked, quantize, read_gray, read_mask
from busi.figures import Overlay, draw_confusion, draw_overlays, save_figure
from busi.inference import predict_maps
from busi.metrics import (
    Counts,
    Values,
    bootstrap_groups,
    classification_metrics,
    defined,
    dice,
    hd95,
    iou,
    operating_points,
    segmentation_metrics,
)
from busi.models import Map, Mask, MaskRule
from busi.runs import UPPER_BOUND, write_mask_rule

log = logging.getLogger(__name__)

Row = dict[str, object]
Columns = Mapping[str, Shaped[np.ndarray, " n"]]
Metrics = dict[str, float | None]
NOT_MAPPED = ("subset", "seen")
"""Pictures that were dropped for these reasons get no map."""
Case = tuple[Row, int, Bool[np.ndarray, "_ _"]]
"""A row of predictions, the position of its picture in the cohort, and its predicted mask."""


def score_segmentation(cfg: DictConfig, network: nn.Module, data: BUSIDataModule, folder: Path) -> Metrics:
    """Predict the pictures that were not trained on, at their original size, and measure.

    Test pictures are mapped, for they may need a guide, but measured only if ``test`` is set. Writes
    ``maps/<id>.png`` (probabilities, 8-bit), ``mask_rule.json``, ``predictions.csv`` and
    ``pictures/test_overlays.png`` (``val_overlays.png`` without a test).

    Args:
        cfg: Of the run.
        network: Picture -> logits.
        data: The pictures.
        folder: The run folder, with its checkpoint.

    Returns:
        ``val/...`` and ``test/...`` numbers, each of the test fold with ``_low`` and ``_high``, its
        95 % interval.
    """
    judged = judged_splits(cfg)
    network.eval()
    # A run that guides others chooses nothing by the pictures that it guides.
    rule = make_rule(cfg, annotated_maps(network, data) if cfg.data.leave_out is None else [])
    write_mask_rule(folder / "checkpoints" / "best.ckpt", rule)
    write_json(folder / "mask_rule.json", asdict(rule))
    cases = predict_masks(network, rule, data, judged, folder)
    rows = [row for row, _, _ in cases]
    write_table(folder / "predictions.csv", rows)
    figure = draw_overlays(
        [
            _overlay(data.cohort, *case)
            for case in spread([case for case in cases if case[0]["split"] == judged[-1]])
        ],
        f"{title(cfg, judged[-1])}: of each class from the best Dice to the worst",
    )
    save_figure(figure, folder / "pictures" / f"{judged[-1]}_overlays.png")
    return summarize(rows, segmentation_metrics)


def make_rule(cfg: DictConfig, pairs: Iterable[tuple[Map, Mask]]) -> MaskRule:
    """The rule of masks that a config asks for.

    Args:
        cfg: Of a segmentation run.
        pairs: Maps and annotations to choose it by; without any it is the simplest.
    """
    if "mask_rule" not in cfg:  # of a run that was started before there were rules, and goes on
        return MaskRule(cfg.module.threshold)
    rule: MaskRule = instantiate(cfg.mask_rule)(pairs)
    return rule


def annotated_maps(network: nn.Module, data: BUSIDataModule) -> Iterator[tuple[Map, Mask]]:
    """Map and annotation of each validation picture, predicted when it is taken."""
    records = [data.cohort.records[i] for i in data.cohort.indices("val").tolist()]
    maps = predict_maps(network, (read_gray(r.image) for r in records), data.image_size, data.batch_size)
    for record, probs in zip(
        records, track(maps, "choosing masks", len(records), transient=True), strict=True
    ):
        yield probs, read_mask(record, *probs.shape).astype(bool)


def predict_masks(
    network: nn.Module, rule: MaskRule, data: BUSIDataModule, judged: Sequence[str], folder: Path
) -> list[Case]:
    """Write the map of every picture that was not trained on, and measure the masks of some.

    Args:
        network: Picture -> logits, in evaluation mode.
        rule: What makes masks of the maps.
        data: The pictures.
        judged: Splits that are measured.
        folder: Where ``maps/`` goes.
    """
    cohort = data.cohort
    held_out = [
        i
        for i in cohort.indices("val", "test", "left_out", "dropped").tolist()
        if cohort.reasons[i] not in NOT_MAPPED
    ]
    records = [cohort.records[i] for i in held_out]
    pictures = (read_gray(record.image) for record in records)
    maps = predict_maps(network, pictures, data.image_size, data.batch_size)
    cases: list[Case] = []
    for i, probs in zip(held_out, track(maps, "predicting masks", len(records), transient=True), strict=True):
        record, pred = cohort.records[i], rule(probs)
        name = f"{file_name(record.id)}.png"
        write_whole(folder / "maps" / name, partial(Image.fromarray(quantize(probs)).save, format="PNG"))
        if cohort.splits[i] not in judged:
            continue
        mask = read_mask(record, *pred.shape).astype(bool)
        row = describe(cohort, i) | {
            "dice": dice(pred, mask),
            "iou": iou(pred, mask),
            "hd95": hd95(pred, mask),
            "area": int(mask.sum()),
            "pred_area": int(pred.sum()),
        }
        cases.append((row, i, pred))
    return cases


def score_classification(cfg: DictConfig, network: nn.Module, data: BUSIDataModule, folder: Path) -> Metrics:
    """Classify validation pictures, and test pictures if ``test`` is set, and measure.

    Writes ``predictions.csv`` and ``pictures/test_confusion.png`` (``val_confusion.png`` without a test).

    Args:
        cfg: Of the run.
        network: Picture and guide -> logits under the data's own prior.
        data: The pictures, with their guides.
        folder: The run folder.

    Returns:
        As `score_segmentation`, and the operating points: thresholds from the validation fold,
        achieved values on the test fold.
    """
    splits = judged_splits(cfg)
    rows = predict_classes(network.eval(), data, splits)
    write_table(folder / "predictions.csv", rows)
    columns = _columns(rows)
    labels, split, probs = columns["label"], columns["split"], _probs(columns)
    shown = split == splits[-1]
    figure = draw_confusion(
        confusion_matrix(labels[shown], probs[shown].argmax(axis=1), labels=range(len(CLASSES))),
        f"{title(cfg, splits[-1])}, guide={cfg.guide}{UPPER_BOUND.get(cfg.guide, '')}",
    )
    save_figure(figure, folder / "pictures" / f"{splits[-1]}_confusion.png")
    metrics = summarize(rows, _classification_metrics)
    if cfg.test:
        val, test = split == "val", split == "test"
        points = operating_points(labels[val], probs[val], labels[test], probs[test])
        metrics |= {f"test/{name}": x for name, x in points.items()}
    return metrics


@torch.inference_mode()
def predict_classes(network: nn.Module, data: BUSIDataModule, judged: Sequence[str]) -> list[Row]:
    """Classify clean pictures, in double precision so that probabilities sum to one.

    Args:
        network: Picture and guide -> logits, in evaluation mode.
        data: The pictures, with their guides.
        judged: Splits that are classified.
    """
    cohort, device = data.cohort, next(network.parameters()).device
    indices = cohort.indices(*judged)
    batches = []
    for batch in track(data.clean_dataloader(indices), "classifying", transient=True):
        image, guide = batch["image"].to(device), batch["guide"].to(device)
        batches.append(network(image, guide).double().cpu().numpy())
    logits = np.concatenate(batches)
    return [
        describe(cohort, i)
        | {"pred": CLASSES[z.argmax()]}
        | {f"logit_{name}": float(x) for name, x in zip(CLASSES, z, strict=True)}
        | {f"prob_{name}": float(x) for name, x in zip(CLASSES, p, strict=True)}
        for i, z, p in zip(indices.tolist(), logits, softmax(logits, axis=1), strict=True)
    ]


def judged_splits(cfg: DictConfig) -> tuple[str, ...]:
    """The splits that are predicted and measured, the test fold last."""
    return ("val", "test") if cfg.test else ("val",)


def title(cfg: DictConfig, split: str) -> str:
    """Which pictures a drawing shows."""
    fold = cfg.data.fold if split == "test" else (cfg.data.fold + 1) % cfg.data.num_folds
    return f"{'Test' if split == 'test' else 'Validation'} pictures of fold {fold}"


def describe(cohort: Cohort, i: int) -> Row:
    """The columns that every table of predictions begins with.

    ``lesion_share`` is the share of the picture that the annotation covers, NaN where a lesion has none;
    ``marked`` is 1 where the picture seems to carry callipers or text.
    """
    record = cohort.records[i]
    gray = read_gray(record.image)
    return {
        "id": record.id,
        "label": CLASSES[record.label],
        "group": int(cohort.groups[i]),
        "fold": int(cohort.folds[i]),
        "split": cohort.splits[i],
        "lesion_share": float(read_mask(record, *gray.shape).mean()) if record.annotated else float("nan"),
        "marked": int(is_marked(gray)),
    }


def summarize(rows: Sequence[Row], measure: Callable[[Columns, Counts], Values]) -> Metrics:
    """Measure the rows of each split, and bootstrap the groups of the test fold.

    Args:
        rows: Of ``predictions.csv``.
        measure: Metrics of columns, for each draw.

    Returns:
        ``val/<name>``, ``test/<name>``, and ``test/<name>_low`` and ``_high``, the 95 % interval, which
        leaves out the variance of training again. None where undefined.
    """
    metrics: Metrics = {}
    for split, num_draws in (("val", 0), ("test", 2000)):
        if not (table := [row for row in rows if row["split"] == split]):
            continue
        columns = _columns(table)
        estimates = bootstrap_groups(columns["group"], partial(measure, columns), num_draws=num_draws)
        for name in estimates.columns:
            value, low, high = map(defined, estimates[name])
            metrics[f"{split}/{name}"] = value
            if num_draws:
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
    picture = read_gray(cohort.records[i].image)
    mask = read_mask(cohort.records[i], *picture.shape).astype(bool)
    return Overlay(f"{row['id']}   Dice {row['dice']:.2f}", picture, mask, pred)


def _classification_metrics(columns: Columns, counts: Counts) -> Values:
    return classification_metrics(columns["label"], _probs(columns), counts)


def _probs(columns: Columns) -> Float[np.ndarray, "n 3"]:
    return np.stack([columns[f"prob_{name}"] for name in CLASSES], axis=1)
