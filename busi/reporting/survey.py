"""Measurements of a data set, and of how much a random split of it overstates a score."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations

import cv2
import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import accuracy_score, balanced_accuracy_score
from sklearn.model_selection import (
    BaseCrossValidator,
    StratifiedGroupKFold,
    StratifiedKFold,
    StratifiedShuffleSplit,
    cross_val_predict,
)

from busi.core import Record
from busi.data import align, describe_image, has_burned_in, pixel_format, read_gray, read_mask
from busi.metrics import dice


@dataclass(frozen=True)
class ImageSummary:
    """Measurements of one image.

    Attributes:
        height: In pixels.
        width: In pixels.
        mode: Pixel format of the file, see `busi.data.pixel_format`.
        mask_modes: Pixel formats of its mask files.
        lesion_share: Share of the image that the annotation covers; 0 without one.
        burned_in: Whether it seems to have burned-in annotations (calipers, text).
        histogram: Share of pixels in 16 steps of gray.
    """

    height: int
    width: int
    mode: str
    mask_modes: tuple[str, ...]
    lesion_share: float
    burned_in: bool
    histogram: Float[np.ndarray, " 16"]


def summarize_image(record: Record) -> ImageSummary:
    """Measure one image and its annotation."""
    gray = read_gray(record.image)
    counts = np.bincount(gray.ravel() // 16, minlength=16)
    return ImageSummary(
        *gray.shape,
        mode=pixel_format(record.image),
        mask_modes=tuple(pixel_format(path) for path in record.masks),
        lesion_share=float(read_mask(record, *gray.shape).mean()),
        burned_in=has_burned_in(gray),
        histogram=counts / gray.size,
    )


def random_split_leak(
    labels: Int[np.ndarray, " n"], groups: Int[np.ndarray, " n"], num_splits: int = 200
) -> dict[str, float] | None:
    """Share of test images that have another image of their group in training, in random 80/20 splits.

    Returns:
        ``mean`` and ``sd`` over stratified splits; None if there are too few images for one of each class in
        both parts.
    """
    counts = np.unique(labels, return_counts=True)[1]
    num_test = int(np.ceil(0.2 * len(labels)))
    if counts.min() < 2 or not len(counts) <= num_test <= len(labels) - len(counts):
        return None
    splitter = StratifiedShuffleSplit(num_splits, test_size=0.2, random_state=0)
    leaks = [np.isin(groups[test], groups[train]).mean() for train, test in splitter.split(labels, labels)]
    return {"mean": float(np.mean(leaks)), "sd": float(np.std(leaks))}


def metadata_baseline(
    summaries: Sequence[ImageSummary], labels: Int[np.ndarray, " n"], groups: Int[np.ndarray, " n"]
) -> dict[str, dict[str, float]]:
    """Predict the class from image size, gray histogram and burned-in annotations alone.

    Returns:
        ``random`` and ``grouped`` five-fold cross-validation: `accuracy` and `balanced_accuracy` of a
        random forest over the classes that are present. Empty if a class has fewer than five groups.
    """
    smallest = min(len(np.unique(groups[labels == label])) for label in np.unique(labels))
    if smallest < 5 or len(np.unique(labels)) < 2:
        return {}
    rows = [[s.height, s.width, s.height / s.width, s.burned_in, *s.histogram] for s in summaries]
    features = np.array(rows, np.float64)
    splitters: dict[str, BaseCrossValidator] = {
        "random": StratifiedKFold(5, shuffle=True, random_state=0),
        "grouped": StratifiedGroupKFold(5, shuffle=True, random_state=0),
    }
    results = {}
    for name, folds in splitters.items():
        forest = RandomForestClassifier(300, min_samples_leaf=2, random_state=0, n_jobs=-1)
        splits = list(folds.split(features, labels, groups if name == "grouped" else None))
        preds = cross_val_predict(forest, features, labels, cv=splits)
        results[name] = {
            "accuracy": float(accuracy_score(labels, preds)),
            "balanced_accuracy": float(balanced_accuracy_score(labels, preds)),
        }
    return results


def repeated_masks(records: Sequence[Record], groups: Int[np.ndarray, " n"]) -> list[tuple[int, int, float]]:
    """Agreement of two annotations of the same frame.

    One near-duplicate is laid on the other by its features, and the annotations are compared where the two
    overlap. Left out are pairs that cannot be aligned, and those without a lesion in the overlap.

    Args:
        records: The images of the data set.
        groups: Near-duplicate group of each image.

    Returns:
        Positions of two near-duplicates, and the Dice of their annotations.
    """
    found = []
    for members in clusters(groups):
        lesions = [i for i in members if records[i].masks]
        images = {i: read_gray(records[i].image) for i in lesions}
        described = {i: describe_image(image) for i, image in images.items()}
        for i, j in combinations(lesions, 2):
            transform = align(described[i], described[j])
            if transform is None:
                continue
            one, other = (_small_mask(records[k], images[k].shape, described[k].small.shape) for k in (i, j))
            size = one.shape[::-1]
            moved = cv2.warpAffine(other, transform, size, flags=cv2.INTER_NEAREST) > 0
            inside = cv2.warpAffine(np.ones_like(other), transform, size, flags=cv2.INTER_NEAREST) > 0
            first: Bool[np.ndarray, "h w"] = (one > 0) & inside
            if first.any() and moved.any():
                found.append((i, j, dice(first, moved)))
    return found


def clusters(groups: Int[np.ndarray, " n"]) -> Iterable[list[int]]:
    """Positions of the members of every group of two or more, in order of first appearance."""
    for group in np.flatnonzero(np.bincount(groups) > 1):
        yield np.flatnonzero(groups == group).tolist()


def _small_mask(record: Record, shape: tuple[int, ...], small: tuple[int, ...]) -> UInt8[np.ndarray, "h w"]:
    mask = read_mask(record, shape[0], shape[1])
    return cv2.resize(mask, small[::-1], interpolation=cv2.INTER_NEAREST)
