"""What a model says of the images of a cohort, as rows of ``predictions.csv`` and as maps."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.progress import track

from busi.data import Cohort, quantize, read_gray, read_mask
from busi.evaluation.opening import OpenedModel
from busi.figures import write_png
from busi.inference import Answer
from busi.metrics import measure_mask
from busi.models import Mask, Postprocess
from busi.runs import Row, describe_classes, describe_image, map_path

BATCH_SIZE = 8


def predict_rows(model: OpenedModel, cohort: Cohort, indices: Sequence[int], output: Path) -> list[Row]:
    """Predict images, write the map of each as ``maps/<id>.png``, and measure its mask.

    Args:
        model: Any.
        cohort: The images.
        indices: Positions of those that are predicted.
        output: Where ``maps/`` goes.

    Returns:
        A row an image. Of a lesion without an annotation, the row says nothing about the mask but its area.
    """
    rows: list[Row] = []
    starts = range(0, len(indices), BATCH_SIZE)
    for start in track(starts, "predicting", transient=True):
        chunk = indices[start : start + BATCH_SIZE]
        records = [cohort.records[i] for i in chunk]
        images = [read_gray(record.image) for record in records]
        masks = [
            read_mask(record, *image.shape).astype(bool) if record.annotated else None
            for record, image in zip(records, images, strict=True)
        ]
        answers = model.answer(images, masks)
        for i, mask, answer in zip(chunk, masks, answers, strict=True):
            own = model.own_sources.get(cohort.records[i].source)
            if own is not None and answer.logits is not None:
                answer = answer._replace(logits=answer.logits + own.logit_shift)
            if answer.mask_probs is not None:
                write_png(map_path(output, cohort.records[i].id), quantize(answer.mask_probs))
            rows.append(describe_image(cohort, i) | describe_answer(answer, model.info.postprocess, mask))
    return rows


def describe_answer(answer: Answer, postprocess: Postprocess, mask: Mask | None) -> Row:
    """The columns of an answer.

    Args:
        answer: Of an image.
        postprocess: What makes a mask of its map.
        mask: Its annotation, if there is one.
    """
    row = Row()
    if answer.mask_probs is not None:
        row |= measure_mask(postprocess(answer.mask_probs), mask)
    if answer.logits is not None:
        row |= describe_classes(answer.logits)
    return row


def read_map(output: Path, name: str) -> np.ndarray:
    """The map of an image, as it was written: in steps of 1/255."""
    return np.asarray(read_gray(map_path(output, name)) / np.float32(255), np.float32)
