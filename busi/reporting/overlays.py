"""The images that a report shows: read again from the data, with annotation and predicted mask."""

from collections.abc import Mapping

import numpy as np

from busi.core import InputError, Record
from busi.data import read_gray, read_mask
from busi.figures import Overlay
from busi.runs import Predictions, map_path


def read_overlay(one: Predictions, name: str, records: Mapping[str, Record]) -> Overlay:
    """An image with its annotation and the mask of its map; no title yet.

    Without an annotation its mask is empty, and so is the other of a classifier that has no map.

    Args:
        one: Of the run that predicted it.
        name: Of the image.
        records: The data of the run, see `busi.runs.find_records`.

    Raises:
        InputError: If the image or the map of a segmentation run is no longer there, or has another size.
    """
    record = records.get(name)
    if record is None:
        raise InputError(f"{name} is no longer in the data of {one.run.folder}")
    gray = read_gray(record.image)
    mask = pred = np.zeros(gray.shape, np.bool_)
    if record.annotated:
        mask = read_mask(record, *gray.shape).astype(bool)
    path = map_path(one.run.folder, name)
    if path.is_file() or one.run.config.stage == "seg":
        probs = read_gray(path)
        if probs.shape != gray.shape:
            raise InputError(f"{name} has another size than when {one.run.folder} predicted it")
        pred = one.run.postprocess(probs / 255)
    return Overlay("", gray, mask, pred)
