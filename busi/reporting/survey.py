"""What a data set is like, and how much a careless experiment on it would flatter itself."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from PIL import Image
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
from busi.data import align, describe_image, is_marked, read_gray, read_mask
from busi.metrics import dice


@dataclass(frozen=True)
class Portrait:
    """What one picture is like.

    Attributes:
        height: In pixels.
        width: In pixels.
        mode: Pixel format of the file, in pillow's words.
        mask_modes: Of its mask files.
        lesion_share: Share of the picture that the annotation covers.
        marked: Whether it seems to carry callipers or text.
        histogram: Share of pixels in 16 steps of gray.
    """

    height: int
    width: int
    mode: str
    mask_modes: tuple[str, ...]
    lesion_share: float
    marked: bool
    histogram: Float[np.ndarray, " 16"]


def portray(record: Record) -> Portrait:
    """Look at one picture and its annotation."""
    gray = read_gray(record.image)
    counts = np.bincount(gray.ravel() // 16, minlength=16)
    return Portrait(
        *gray.shape,
        mode=_mode(record.image),
        mask_modes=tuple(_mode(path) for path in record.masks),
        lesion_share=float(read_mask(record, *gray.shape).mean()),
        marked=is_marked(gray),
        histogram=counts / gray.size,
    )


def random_split_leak(
    labels: Int[np.ndarray, " n"], groups: Int[np.ndarray, " n"], num_splits: int = 200
) -> tuple[float, float]:
    """Share of test pictures that have a near-duplicate in training, in stratified random 80/20 splits.

    Returns:
        Mean and standard deviation over splits.
    """
    splitter = StratifiedShuffleSplit(num_splits, test_size=0.2, random_state=0)
    leaks = [np.isin(groups[test], groups[train]).mean() for train, test in splitter.split(labels, labels)]
    return float(np.mean(leaks)), float(np.std(leaks))


def metadata_baseline(
    portraits: Sequence[Portrait], labels: Int[np.ndarray, " n"], groups: Int[np.ndarray, " n"]
) -> dict[str, dict[str, float]]:
    """How well size, gray histogram and marks alone tell the class: what a network gets for nothing.

    Returns:
        ``random`` and ``grouped`` five-fold cross-validation: `accuracy` and `balanced_accuracy` of a
        random forest over the classes that are present. Empty if a class has fewer than five groups.
    """
    smallest = min(len(np.unique(groups[labels == label])) for label in np.unique(labels))
    if smallest < 5 or len(np.unique(labels)) < 2:
        return {}
    rows = [[p.height, p.width, p.height / p.width, p.marked, *p.histogram] for p in portraits]
    features = np.array(rows, np.float64)
    ways: dict[str, BaseCrossValidator] = {
        "random": StratifiedKFold(5, shuffle=True, random_state=0),
        "grouped": StratifiedGroupKFold(5, shuffle=True, random_state=0),
    }
    results = {}
    for name, folds in ways.items():
        forest = RandomForestClassifier(300, min_samples_leaf=2, random_state=0, n_jobs=-1)
        splits = list(folds.split(features, labels, groups if name == "grouped" else None))
        preds = cross_val_predict(forest, features, labels, cv=splits)
        results[name] = {
            "accuracy": float(accuracy_score(labels, preds)),
            "balanced_accuracy": float(balanced_accuracy_score(labels, preds)),
        }
    return results


def repeated_masks(records: Sequence[Record], groups: Int[np.ndarray, " n"]) -> list[tuple[int, int, float]]:
    """Agreement of annotations that were drawn twice on the same frame.

    Args:
        records: Of the data set.
        groups: Near-duplicate group of each.

    Returns:
        Positions of two copies and the Dice of their annotations where the copies overlap, after one was
        laid on the other by its features; pairs that cannot be laid on each other, or lack an annotated
        lesion in the overlap, are left out.
    """
    found = []
    for members in clusters(groups):
        lesions = [i for i in members if records[i].masks]
        pictures = {i: read_gray(records[i].image) for i in lesions}
        described = {i: describe_image(picture) for i, picture in pictures.items()}
        for i, j in combinations(lesions, 2):
            transform = align(described[i], described[j])
            if transform is None:
                continue
            one, other = (
                _small_mask(records[k], pictures[k].shape, described[k].small.shape) for k in (i, j)
            )
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


def _mode(path: Path) -> str:
    with Image.open(path) as image:
        return str(image.mode)
