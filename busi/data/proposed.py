"""Pairs of images that may show the same frame: those of which features or thumbnails are neighbors."""

from collections.abc import Sequence
from concurrent.futures import Executor
from functools import partial

import cv2
import numpy as np
from jaxtyping import Float32, Int64
from scipy.spatial.distance import cdist

from busi.data.described import SIDE, Description, root_features

INDEXED = 120
"""Features of an image that propose pairs, strongest first."""
NEIGHBORS = 8
"""Per feature: what bounds the number of pairs, however many images share a logo."""
ASKED = 2048
"""Vectors whose neighbors one thread looks up at once."""
VOTES = 3
"""Features in agreement that propose a pair."""
MIN_ALIKE = 0.4
"""Correlation of the thumbnails of two images without features in agreement."""


def propose(descriptions: Sequence[Description], pool: Executor) -> set[tuple[int, int]]:
    """Pairs (i, j), i < j, to be checked.

    Args:
        descriptions: In an order that depends on the images alone: an approximate index answers differently
            for another one.
        pool: Of threads, which look up neighbors.
    """
    return _by_features(descriptions, pool) | _by_thumbnails(descriptions, pool)


def _neighbors(
    vectors: Float32[np.ndarray, "n d"], k: int, checks: int, pool: Executor
) -> tuple[Int64[np.ndarray, " m"], Int64[np.ndarray, " m"], Float32[np.ndarray, " m"]]:
    """Approximate nearest neighbors as pairs (row, neighbor) with their squared distances."""
    k = min(k, len(vectors))
    if (
        len(vectors) <= checks
    ):  # the trees would be searched whole, and OpenCV fails in some that are so small
        distances = cdist(vectors, vectors, "sqeuclidean")
        found = np.argsort(distances, axis=1, kind="stable")[:, :k]
        distances = np.take_along_axis(distances, found, axis=1)
    else:
        cv2.setRNGSeed(0)  # the trees split at random
        index = cv2.flann.Index(vectors, {"algorithm": 1, "trees": 4})
        ask = partial(index.knnSearch, knn=k, params={"checks": checks})
        parts = [vectors[start : start + ASKED] for start in range(0, len(vectors), ASKED)]
        # The first one here: each thread keeps a heap of its own, and that of a larger search is no limit.
        answers = [ask(parts[0]), *pool.map(ask, parts[1:])]
        found, distances = (np.concatenate(arrays) for arrays in zip(*answers, strict=True))
    hit = found.ravel() >= 0  # the search may give up before it has k
    rows = np.repeat(np.arange(len(vectors)), k)
    return rows[hit], found.ravel()[hit].astype(np.int64), distances.ravel()[hit].astype(np.float32)


def _by_features(descriptions: Sequence[Description], pool: Executor) -> set[tuple[int, int]]:
    """Pairs of which `VOTES` neighboring features agree roughly on one scale and shift."""
    counts = [min(INDEXED, len(description.features)) for description in descriptions]
    if not any(counts):
        return set()
    owner = np.repeat(np.arange(len(descriptions)), counts)
    points = np.concatenate([description.points[:INDEXED] for description in descriptions])
    sizes = np.log2(np.concatenate([description.sizes[:INDEXED] for description in descriptions]))
    features = root_features(np.concatenate([description.features[:INDEXED] for description in descriptions]))
    a, b, distance = _neighbors(features, NEIGHBORS, 32, pool)
    use = (owner[a] != owner[b]) & (distance < 0.5)
    low, high = np.sort([a[use], b[use]], axis=0)  # rows are in the order of their owners
    a, b = np.divmod(np.unique(low * len(owner) + high), len(owner))
    pairs, pair = np.unique(owner[a] * len(descriptions) + owner[b], return_inverse=True)
    found: set[tuple[int, int]] = set()
    for offset in (0.0, 0.5):  # two grids, so that an edge of one lies within a cell of the other
        octave = np.floor((sizes[b] - sizes[a]) / 0.7 + offset)
        scale = 2 ** ((octave - offset + 0.5) * 0.7)
        shift = np.floor((points[b] - points[a] * scale[:, None]) / (0.15 * SIDE) + offset)
        cells = np.column_stack([pair, octave, shift]).astype(np.int64)
        cells -= cells.min(axis=0, initial=0)
        sizes_of_axes = 1 + cells.max(axis=0, initial=0)
        cells, votes = np.unique(
            np.ravel_multi_index(tuple(cells.T), tuple(sizes_of_axes)), return_counts=True
        )
        agreed = pairs[np.unravel_index(cells[votes >= VOTES], tuple(sizes_of_axes))[0]]
        found.update(zip(*(x.tolist() for x in np.divmod(agreed, len(descriptions))), strict=True))
    return found


def _by_thumbnails(descriptions: Sequence[Description], pool: Executor) -> set[tuple[int, int]]:
    """Pairs alike in the thumbnails of their detail: for images too smooth for features."""
    used = [i for i, description in enumerate(descriptions) if description.thumbnail.any()]
    if len(used) < 2:
        return set()
    a, b, distance = _neighbors(np.stack([descriptions[i].thumbnail for i in used]), NEIGHBORS, 64, pool)
    near = (a != b) & (distance < 2 - 2 * MIN_ALIKE)
    return {(used[min(i, j)], used[max(i, j)]) for i, j in zip(a[near], b[near], strict=True)}
