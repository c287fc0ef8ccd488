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

import cv2
import numpy as np
from jaxtyping import Float, Float32
from threadpoolctl import threadpool_limits

from busi.data.described import Description, GrayImage, describe_image, root_features
from busi.data.detail import details_agree
from busi.data.images import pixel_hash
from busi.data.kept_searches import KeptSearches
from busi.data.proposed import MIN_ALIKE, propose

INLIERS = 8  # features in agreement that keep it
MAX_SCALE = 3.0  # between two images after both were brought to SIDE * SIDE
MAX_TURN = 4.0  # degrees; turned or mirrored images are no exports of one frame: see `busi.data.altered`


def find_duplicates(
    images: Sequence[GrayImage],
    progress: Callable[[Iterable[int]], Iterable[int]] | None = None,
    kept: KeptSearches | None = None,
) -> list[tuple[int, int]]:
    """Find the pairs of images that show the same frame.

    Time and memory grow in proportion to the number of images (times its logarithm in the index).
    The answer depends on the images only, not on their order, nor on what was kept.

    Args:
        images: 8-bit gray images of any sizes. Each is asked for once, in some thread, and then forgotten,
            so the sequence may read files lazily.
        progress: Wraps the ``range`` over the images, as ``tqdm`` does.
        kept: What earlier searches kept: of images that are known, nothing is decoded.

    Returns:
        Pairs of indices ``(i, j)`` with ``i < j``, sorted. A constant image shows nothing: it has no
        pair. Of many exports of one frame some pairs may be missing; `busi.data.groups.cluster` joins them.
    """

    def describe(i: int) -> tuple[str, int, Description]:
        if kept is None:
            gray = images[i]
            return pixel_hash(gray), i, describe_image(gray)
        return kept.names[i], i, kept.describe(i, images)

    # The products of a pair are small: threads within each would wait for each other most of the time.
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        results = pool.map(describe, range(len(images)))
        described = [next(results) for _ in (progress or iter)(range(len(images)))]
        # Sorted by content: an approximate index answers differently for another order.
        described.sort(key=itemgetter(0, 1))
        names, order, descriptions = zip(*described, strict=True) if described else ((), (), ())
        proposed = propose(descriptions, pool)
        of_names = {f"{names[a]} {names[b]}": (a, b) for a, b in proposed}
        verdicts = {} if kept is None else kept.read_verdicts()
        new = sorted(of_names.keys() - verdicts.keys())
        same = pool.map(lambda name: same_frame(*(descriptions[k] for k in of_names[name])), new)
        found = dict(zip(new, same, strict=True))
        if kept is not None:
            kept.keep_verdicts(found)
        verdicts |= found
    pairs = [(order[a], order[b]) for a, b in proposed if verdicts[f"{names[a]} {names[b]}"]]
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
