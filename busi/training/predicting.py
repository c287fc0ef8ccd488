"""What a trained network says of images: maps and their rows of ``predictions.csv``, and logits."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from rich.progress import track
from torch import nn

from busi.data import BUSIDataModule, quantize, read_gray, read_mask
from busi.figures import write_png
from busi.inference import predict_maps
from busi.metrics import measure_mask
from busi.models import Map, Mask, Postprocess, Segmenter
from busi.runs import Row, describe_image, map_path

Case = tuple[Row, int, Bool[np.ndarray, "_ _"]]
"""A row of predictions, the position of its image in the cohort, and its predicted mask."""


def annotated_maps(segmenter: Segmenter, data: BUSIDataModule) -> Iterator[tuple[Map, Mask]]:
    """Map and annotation of each validation image, predicted when it is taken."""
    cohort, indices = data.cohort, data.cohort.indices("val").tolist()
    maps = _maps(segmenter, data, indices, "tuning masks")
    for i, probs in zip(indices, maps, strict=True):
        yield probs, read_mask(cohort.records[i], *probs.shape).astype(bool)


def predict_masks(
    segmenter: Segmenter, postprocess: Postprocess, data: BUSIDataModule, splits: Sequence[str], folder: Path
) -> list[Case]:
    """Write the map of every image of some splits as ``maps/<id>.png``, and measure its mask.

    Args:
        segmenter: In evaluation mode.
        postprocess: What makes masks of the maps.
        data: The images.
        splits: Whose images are predicted.
        folder: Where ``maps/`` goes.
    """
    cohort, indices = data.cohort, data.cohort.indices(*splits).tolist()
    maps = _maps(segmenter, data, indices, "predicting masks")
    cases: list[Case] = []
    for i, probs in zip(indices, maps, strict=True):
        record, pred = cohort.records[i], postprocess(probs)
        write_png(map_path(folder, record.id), quantize(probs))
        mask = read_mask(record, *pred.shape).astype(bool)
        row = describe_image(cohort, i) | measure_mask(pred, mask)
        cases.append((row, i, pred))
    return cases


@torch.inference_mode()
def predict_logits(
    network: nn.Module, data: BUSIDataModule, indices: Int[np.ndarray, " n"]
) -> Float[np.ndarray, "n 3"]:
    """What a classifier says of clean images, in double precision so that probabilities sum to one.

    Args:
        network: Image and guide -> logits, in evaluation mode.
        data: The images, with their guides.
        indices: Of the images that are classified.
    """
    device = next(network.parameters()).device
    batches = []
    for batch in track(data.clean_dataloader(indices), "classifying", transient=True):
        image, guide = batch["image"].to(device), batch["guide"].to(device)
        batches.append(network(image, guide).cpu().double().numpy())
    return np.concatenate(batches)


def _maps(segmenter: Segmenter, data: BUSIDataModule, indices: Sequence[int], title: str) -> Iterator[Map]:
    images = (read_gray(data.cohort.records[i].image) for i in indices)
    maps = predict_maps(segmenter, images, data.batch_size)
    yield from track(maps, title, len(indices), transient=True)
