"""Near-duplicates: the same frame exported twice, cropped, rescaled, or with burned-in annotations.

Approximate nearest neighbors of upright SIFT features and of a thumbnail propose pairs. A pair is
accepted if its features agree on one scale and shift, and if detail agrees under that alignment. The
second condition is needed because burned-in text and rulers give many features in agreement; detail,
because the depth shading that all scans share correlates plainly at 0.9.
"""

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from operator import itemgetter
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Float, Float32, Int64, UInt8
from threadpoolctl import threadpool_limits

from busi.data.detail import detail, details_agree
from busi.data.images import pixel_hash

VERSION = 2  # part of the key of cached answers: raised whenever `find_duplicates` may answer differently

SIDE = 208  # images are compared at SIDE * SIDE pixels, so that near-duplicates of another size look alike
FEATURES = 300  # per image, strongest first; all serve the check of a pair
INDEXED = 120  # of them, those that propose pairs
NEIGHBORS = 8  # per feature: what bounds the number of pairs, however many images share a logo
VOTES = 3  # features in agreement that propose a pair
INLIERS = 8  # features in agreement that keep it
MAX_SCALE = 3.0  # between two images after both were brought to SIDE * SIDE
MAX_TURN = 4.0  # degrees; turned or mirrored images are no exports of one frame: see `busi.data.altered`
MIN_ALIKE = 0.4  # correlation of the thumbnails of two images without features in agreement

GrayImage = UInt8[np.ndarray, "_ _"]


class Description(NamedTuple):
    """What is kept of an image: about 100 kB, so that images need not stay in memory."""

    small: UInt8[np.ndarray, "h w"]
    points: Float32[np.ndarray, "n 2"]  # x, y in pixels of `small`
    sizes: Float32[np.ndarray, " n"]  # diameters in pixels of `small`
    features: UInt8[np.ndarray, "n 128"]
    thumbnail: Float32[np.ndarray, " 256"]  # of unit length, or zero if the image is constant


def find_duplicates(
    images: Sequence[GrayImage], progress: Callable[[Iterable[int]], Iterable[int]] | None = None
) -> list[tuple[int, int]]:
    """Find the pairs of images that show the same frame.

    Time and memory grow in proportion to the number of images (times its logarithm in the index).
    The answer depends on the images only, not on their order.

    Args:
        images: 8-bit gray images of any sizes. Each is asked for once, in some thread, and then forgotten,
            so the sequence may read files lazily.
        progress: Wraps the ``range`` over the images, as ``tqdm`` does.

    Returns:
        Pairs of indices ``(i, j)`` with ``i < j``, sorted. A constant image shows nothing: it has no
        pair. Of many exports of one frame some pairs may be missing; `busi.data.groups.cluster` joins them.

    Source: features of Lowe, IJCV 60 (2004), rooted as by Arandjelović and Zisserman, CVPR 2012.
    """

    def describe(i: int) -> tuple[str, int, Description]:
        gray = images[i]
        return pixel_hash(gray), i, describe_image(gray)

    # The products of a pair are small: threads within each would wait for each other most of the time.
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        results = pool.map(describe, range(len(images)))
        described = [next(results) for _ in (progress or iter)(range(len(images)))]
        # Sorted by content: an approximate index answers differently for another order.
        described.sort(key=itemgetter(0, 1))
        order = [i for _, i, _ in described]
        descriptions = [description for _, _, description in described]
        proposed = sorted(_propose_by_features(descriptions) | _propose_by_thumbnails(descriptions))
        same = pool.map(lambda pair: same_frame(*(descriptions[k] for k in pair)), proposed)
        pairs = [(order[a], order[b]) for (a, b), agree in zip(proposed, same, strict=True) if agree]
    return sorted((min(pair), max(pair)) for pair in pairs)


def same_frame(one: Description, other: Description) -> bool:
    """Whether two images show one frame: features agree on an alignment, detail agrees under it."""
    transform = align(one, other)
    if transform is None:
        return False
    return details_agree(one.small, other.small, transform)


def align(one: Description, other: Description) -> Float[np.ndarray, "2 3"] | None:
    """The transform that lays `other` on `one`, in pixels of `small`; None if there is none."""
    transform = _fit(one, other)
    # Smooth images have too few features, yet may be alike as they are.
    if transform is None and float(one.thumbnail @ other.thumbnail) >= MIN_ALIKE:
        transform = _stretch(one, other)
    return transform


def describe_image(gray: GrayImage, upright: bool = True) -> Description:
    """Describe an image for comparison. A constant one has no features and a zero thumbnail.

    Args:
        gray: Of any size.
        upright: Whether features are described as they lie. Else they turn with what they show: once for
            each main direction.
    """
    scale = SIDE / np.sqrt(gray.size)
    size = [max(8, round(length * scale)) for length in gray.shape[::-1]]  # width, height
    small = cv2.resize(gray, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    thumbnail = cv2.resize(detail(small), (16, 16), interpolation=cv2.INTER_AREA).ravel()
    thumbnail -= thumbnail.mean()
    # A low threshold, as shadows hold the faint structure that tells frames apart.
    sift = cv2.SIFT.create(2 * FEATURES, 3, 0.01, 10, 1.6, cv2.CV_8U)
    found = sift.detect(small, None)
    if upright:
        # These match better, and no near-duplicate is turned. Detection repeats a point per direction.
        found = list({(point.pt, point.size): point for point in found}.values())
        for point in found:
            point.angle = 0.0
    found = sorted(found, key=lambda point: (-point.response, point.pt, point.size, point.angle))
    strongest = found[:FEATURES]
    points, features = sift.compute(small, strongest) if strongest else ([], None)
    return Description(
        small,
        np.array([point.pt for point in points], np.float32).reshape(-1, 2),
        np.array([point.size for point in points], np.float32),
        np.zeros((0, 128), np.uint8) if features is None else features.astype(np.uint8),
        np.asarray(thumbnail / max(float(np.linalg.norm(thumbnail)), 1e-6), np.float32),
    )


def root_features(features: UInt8[np.ndarray, "n 128"]) -> Float32[np.ndarray, "n 128"]:
    """Unit vectors whose distance is the Hellinger distance of the histograms."""
    wide = features.astype(np.float32)
    return np.asarray(np.sqrt(wide / np.maximum(wide.sum(axis=1, keepdims=True), 1e-6)), np.float32)


def _neighbors(
    vectors: Float32[np.ndarray, "n d"], k: int, checks: int
) -> tuple[Int64[np.ndarray, " m"], Int64[np.ndarray, " m"], Float32[np.ndarray, " m"]]:
    """Approximate nearest neighbors as pairs (row, neighbor) with their squared distances."""
    k = min(k, len(vectors))
    cv2.setRNGSeed(0)  # the trees split at random
    index = cv2.flann.Index(vectors, {"algorithm": 1, "trees": 4})
    found, distances = index.knnSearch(vectors, k, params={"checks": checks})
    hit = found.ravel() >= 0  # the search may give up before it has k
    rows = np.repeat(np.arange(len(vectors)), k)
    return rows[hit], found.ravel()[hit].astype(np.int64), distances.ravel()[hit]


def _propose_by_features(descriptions: Sequence[Description]) -> set[tuple[int, int]]:
    """Pairs of which `VOTES` neighboring features agree roughly on one scale and shift."""
    counts = [min(INDEXED, len(description.features)) for description in descriptions]
    if not any(counts):
        return set()
    owner = np.repeat(np.arange(len(descriptions)), counts)
    points = np.concatenate([description.points[:INDEXED] for description in descriptions])
    sizes = np.log2(np.concatenate([description.sizes[:INDEXED] for description in descriptions]))
    features = root_features(np.concatenate([description.features[:INDEXED] for description in descriptions]))
    a, b, distance = _neighbors(features, NEIGHBORS, checks=32)
    use = (owner[a] != owner[b]) & (distance < 0.5)
    a, b = np.unique(np.sort([a[use], b[use]], axis=0), axis=1)  # rows are in the order of their owners
    found: set[tuple[int, int]] = set()
    for offset in (0.0, 0.5):  # two grids, so that an edge of one lies within a cell of the other
        octave = np.floor((sizes[b] - sizes[a]) / 0.7 + offset)
        scale = 2 ** ((octave - offset + 0.5) * 0.7)
        shift = np.floor((points[b] - points[a] * scale[:, None]) / (0.15 * SIDE) + offset)
        cells = np.column_stack([owner[a], owner[b], octave, shift]).astype(np.int64)
        cells, votes = np.unique(cells, axis=0, return_counts=True)
        found.update((int(i), int(j)) for i, j in cells[votes >= VOTES, :2])
    return found


def _propose_by_thumbnails(descriptions: Sequence[Description]) -> set[tuple[int, int]]:
    """Pairs alike in the thumbnails of their detail: for images too smooth for features."""
    used = [i for i, description in enumerate(descriptions) if description.thumbnail.any()]
    if len(used) < 2:
        return set()
    a, b, distance = _neighbors(np.stack([descriptions[i].thumbnail for i in used]), NEIGHBORS, checks=64)
    near = (a != b) & (distance < 2 - 2 * MIN_ALIKE)
    return {(used[min(i, j)], used[max(i, j)]) for i, j in zip(a[near], b[near], strict=True)}


def _fit(one: Description, other: Description) -> Float[np.ndarray, "2 3"] | None:
    """The scale and shift that takes `other` to `one`, or None if features do not agree on one."""
    there, here = match_points(one, other)
    if len(here) < INLIERS:
        return None
    transform, inliers = cv2.estimateAffinePartial2D(
        there, here, method=cv2.RANSAC, ransacReprojThreshold=3.0
    )
    if transform is None or inliers.sum() < INLIERS:
        return None
    scale = float(np.hypot(transform[0, 0], transform[1, 0]))
    turn = abs(float(np.degrees(np.arctan2(transform[1, 0], transform[0, 0]))))
    plausible = 1 / MAX_SCALE < scale < MAX_SCALE and turn < MAX_TURN
    return transform if plausible else None


def match_points(
    one: Description, other: Description
) -> tuple[Float32[np.ndarray, "m 2"], Float32[np.ndarray, "m 2"]]:
    """Points of `other` and of `one` whose features are each other's nearest."""
    if min(len(one.features), len(other.features)) == 0:
        return np.zeros((0, 2), np.float32), np.zeros((0, 2), np.float32)
    similarity = root_features(one.features) @ root_features(other.features).T
    forth, back = similarity.argmax(axis=1), similarity.argmax(axis=0)
    mutual = np.flatnonzero(back[forth] == np.arange(len(forth)))
    return other.points[forth[mutual]], one.points[mutual]


def _stretch(one: Description, other: Description) -> Float[np.ndarray, "2 3"]:
    """The transform that lays the whole of `other` on the whole of `one`."""
    (height, width), (rows, columns) = one.small.shape, other.small.shape
    return np.array([[width / columns, 0.0, 0.0], [0.0, height / rows, 0.0]])
