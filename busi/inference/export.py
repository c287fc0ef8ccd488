"""A run written as a bundle, which predicts without PyTorch."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.progress import track

from busi.core import NORMAL, InputError, Record, check_new, whole_folder, writing_to
from busi.data import read_gray, read_mask, unletterbox
from busi.inference.bundle import is_bundle
from busi.inference.graph import open_graph
from busi.inference.loading import as_network, find_run, load_networks
from busi.inference.model_card import write_texts
from busi.inference.model_info import GRAPH_FILE, ModelInfo, write_model_info
from busi.inference.onnx import BATCH_SIZE, letterbox_batches, write_f16, write_graph, write_int8
from busi.inference.renewal import renew_bundle
from busi.metrics import class_metrics, dice
from busi.models import OneStage, TwoStage
from busi.runs import Run, find_records, read_split

log = logging.getLogger(__name__)

TOLERANCE = 1e-3
"""Largest difference of a probability between the graph and PyTorch."""
MAX_LOSS = {"dice": 0.01, "macro_f1": 0.02}
"""What a lower precision may cost on the validation fold."""
NUM_CHECKED = 64
"""Images on which graph and PyTorch are compared."""


@dataclass(frozen=True)
class Quality:
    """What a network reaches on annotated images.

    Attributes:
        num_images: How many there were.
        dice: Mean Dice of the lesions, at the images' own sizes.
        macro_f1: Of the most probable classes, over the classes that have images; None of masks alone.
    """

    num_images: int
    dice: float
    macro_f1: float | None


def write_bundle(source: Path, output: Path, precision: str = "f32", root: Path | None = None) -> ModelInfo:
    """Write a run as a bundle, and check it on the images of the run's own data.

    Writes ``model.onnx``, ``model.json``, ``README.md`` (the model card), ``example.py`` and ``LICENSE``.

    Args:
        source: Run folder; or a bundle of an older busi, see `renew_bundle`.
        output: Folder of the bundle; appears once the bundle is whole.
        precision: ``f32``; ``f16`` for a file of half the size, whose weights are 16-bit floats and computed
            with in float32; or ``int8`` for a graph that computes in 8-bit integers.
        root: Where the data lies, if it was moved.

    Raises:
        InputError: If the run, its data or the packages are missing, the bundle fails its checks, or `output`
            is not empty or cannot be written.
    """
    if precision not in ("f32", "f16", "int8"):
        raise InputError(f"precision {precision}: give f32, f16 or int8")
    check_new(output)
    if is_bundle(source):
        if precision != "f32":
            raise InputError(
                f"{source} is a bundle already: its precision stays. Give the run that it was made of"
            )
        return renew_bundle(source, output)
    networks, info = load_networks(source)
    run = find_run(source)
    if run is None:
        raise InputError(
            f"{source} is a checkpoint: export needs its run folder, to calibrate and to check on images"
        )
    splits = split_records(run, root)
    with writing_to(output), whole_folder(output) as folder:
        about = write_checked_graph(networks, info, folder, splits, precision)
        write_model_info(folder, info, about)
        write_texts(folder, info, about)
    log.info("%s, %.1f MB: %s", about["precision"], (output / GRAPH_FILE).stat().st_size / 1e6, output)
    return info


def write_checked_graph(
    networks: TwoStage | OneStage,
    info: ModelInfo,
    folder: Path,
    splits: dict[str, list[Record]],
    precision: str,
) -> dict[str, Any]:
    """Write the graph into a folder, and return its precision and how it was checked.

    Raises:
        InputError: See `check_graph` and `lower_precision`.
    """
    write_graph(networks, info.image_size, folder / GRAPH_FILE)
    about = {"precision": "float32", **check_graph(networks, info, folder, splits["val"])}
    return about if precision == "f32" else about | lower_precision(precision, info, folder, splits)


def check_graph(
    networks: TwoStage | OneStage, info: ModelInfo, folder: Path, records: Sequence[Record]
) -> dict[str, Any]:
    """Compare the graph with PyTorch on real images.

    Raises:
        InputError: If a probability differs by more than `TOLERANCE` or is none, or there are no images.
    """
    if not records:
        raise InputError("the run has no validation images: there is nothing to check a bundle on")
    graph = open_graph(folder / GRAPH_FILE, info.image_size, classes=info.has_classes)
    network = as_network(networks, torch.device("cpu"))  # GPUs round products of convolutions to fewer bits
    checked = records[:: max(1, len(records) // NUM_CHECKED)][:NUM_CHECKED]
    largest = 0.0
    for letterboxed in track(
        letterbox_batches(checked, info.image_size), "checking", -(-len(checked) // BATCH_SIZE)
    ):
        pairs = zip(graph(letterboxed), network(letterboxed), strict=True)
        largest = max(largest, *(float(np.abs(one - other).max(initial=0)) for one, other in pairs))
    if not largest <= TOLERANCE:
        raise InputError(
            f"the graph differs from PyTorch by {largest:.2g}, over {TOLERANCE}: it cannot be exported"
        )
    log.info("Graph and PyTorch differ by at most %.1e on %d images", largest, len(checked))
    return {"num_checked": len(checked), "largest_difference": largest}


def lower_precision(
    precision: str, info: ModelInfo, folder: Path, splits: dict[str, list[Record]]
) -> dict[str, Any]:
    """Lower the precision of the graph to ``f16`` or ``int8``; the latter needs training images.

    Raises:
        InputError: If it loses more on the validation fold than `MAX_LOSS`, or no lesion there is annotated.
    """
    before = measure_quality(folder, info, splits["val"])
    if precision == "f16":
        write_f16(folder / GRAPH_FILE)
    else:
        write_int8(folder / GRAPH_FILE, splits["train"], info.image_size)
    after = measure_quality(folder, info, splits["val"])
    for name, most in MAX_LOSS.items():
        was, now = getattr(before, name), getattr(after, name)
        if was is None:
            continue
        log.info("%s: validation %s %.3f instead of %.3f", precision, name, now, was)
        if not was - now <= most:
            raise InputError(
                f"{precision} brings the validation {name} from {was:.3f} to {now:.3f}, a loss of more than "
                f"{most}: export with --precision f32"
            )
    return {"precision": precision, "float32": vars(before), "reduced": vars(after)}


def measure_quality(folder: Path, info: ModelInfo, records: Sequence[Record]) -> Quality:
    """Measure masks and classes of a graph on annotated images.

    Raises:
        InputError: If none of them shows an annotated lesion.
    """
    network = open_graph(folder / GRAPH_FILE, info.image_size, classes=info.has_classes)
    dices, preds = [], []
    batches = letterbox_batches(records, info.image_size)
    for start in track(range(0, len(records), BATCH_SIZE), "measuring", transient=True):
        mask_probs, class_probs = network(next(batches))
        preds.append(class_probs.argmax(axis=1) if info.has_classes else [])
        for record, probs in zip(records[start : start + BATCH_SIZE], mask_probs, strict=True):
            if record.label != NORMAL and record.annotated:
                height, width = read_gray(record.image).shape
                mask = read_mask(record, height, width).astype(bool)
                dices.append(dice(info.postprocess(unletterbox(probs, height, width)), mask))
    if not dices:
        raise InputError(
            "a lower precision cannot be measured: no validation image has an annotated lesion. Export f32"
        )
    macro_f1 = None
    if info.has_classes:
        labels, once = np.array([record.label for record in records]), np.ones((1, len(records)), np.int64)
        macro_f1 = float(class_metrics(labels, np.concatenate(preds), once)["macro_f1"][0])
    return Quality(len(records), float(np.mean(dices)), macro_f1)


def split_records(run: Run, root: Path | None) -> dict[str, list[Record]]:
    """Training and validation images of a run, as ``train`` and ``val``.

    Raises:
        InputError: If they are not where they were.
    """
    records = find_records(run, root)
    rows = read_split(run)
    splits = {name: [row["id"] for row in rows if row["split"] == name] for name in ("train", "val")}
    if missing := [name for names in splits.values() for name in names if name not in records]:
        raise InputError(f"{len(missing)} images of {run.folder} are gone, e.g. {missing[0]}: give --data")
    return {split: [records[name] for name in names] for split, names in splits.items()}
