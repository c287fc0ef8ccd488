"""Altered versions: images that show a frame of other images flipped, inverted, turned, sheared or regraded.

`busi.data.duplicates` finds the exports of one frame, which are upright. Here features turn with the tissue,
and are compared as they are, mirrored, inverted, and both, by reordering what was measured once. A candidate
is accepted if its features agree on one affine map, and if detail agrees under it.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Int64

from busi.data.contents import map_threads
from busi.data.described import Description, GrayImage, describe_image, root_features
from busi.data.detail import agreement
from busi.data.duplicates import INLIERS, MAX_SCALE, match_points
from busi.data.kept_searches import KeptSearches

VERSION = 1  # part of the key of cached answers: raised whenever `find_altered` may answer differently

INDEXED = 200  # features per image that propose pairs, strongest first
NEIGHBORS = 4  # per feature
CANDIDATES = 5  # known images that are checked for each image: those with most features alike
VOTES = 3  # features alike that make a candidate
MAX_STRETCH = 2.0  # of one direction against the other
DETAIL = 0.4  # correlation of detail in the overlap: altered versions exceed it, other pairs stay below 0.3
MEDIAN_DETAIL = 0.12  # median over small windows of the same

# A descriptor has 4 rows and 4 columns of 8 directions, in the frame of its own main direction. Mirroring
# reverses the rows and the sense of the directions; inversion turns the main direction by half a circle.
_BINS = np.arange(128).reshape(4, 4, 8)
MIRRORED = _BINS[::-1][..., -np.arange(8)].ravel()
INVERTED = _BINS[::-1, ::-1].ravel()


class Known(NamedTuple):
    """Images that others may be versions of, ready to be compared."""

    descriptions: list[Description]
    owner: Int64[np.ndarray, " m"]  # image of each indexed feature
    tree: cv2.flann.Index


def find_altered(
    images: Sequence[GrayImage],
    known: Sequence[GrayImage],
    kept: tuple[KeptSearches, KeptSearches] | None = None,
) -> list[tuple[int, int]]:
    """Find the images that are altered versions of known ones; unaltered ones are found, too.

    Time and memory grow in proportion to the number of images (times the logarithm of those known).

    Args:
        images: 8-bit gray images of any sizes. Each is asked for once and then forgotten.
        known: The same.
        kept: What earlier searches kept of both, not upright: of images that were described, nothing is
            decoded.

    Returns:
        Pairs ``(i, j)`` of positions in `images` and in `known`, sorted. A constant image has no pair, nor
        has one so smooth that it has too few features. Of many exports of one known frame some may be
        missing.

    Source: Ma, Chen and Su, MI-SIFT, CIVR 2010, for features of mirrored and inverted images.
    """

    def describe(which: int, index: int) -> Description:
        both = images, known
        if kept is None:
            return describe_image(both[which][index], upright=False)
        return kept[which].describe(index, both[which])

    described = map_threads(partial(describe, 1), range(len(known)), "known images")
    counts = [min(INDEXED, len(description.features)) for description in described]
    if not any(counts):
        return []
    features = np.concatenate([description.features[:INDEXED] for description in described])
    cv2.setRNGSeed(0)  # the trees split at random
    tree = cv2.flann.Index(root_features(features), {"algorithm": 1, "trees": 4})
    trained = Known(described, np.repeat(np.arange(len(described)), counts), tree)
    found = map_threads(lambda i: _find(describe(0, i), trained), range(len(images)), "altered versions")
    return [(i, j) for i, matches in enumerate(found) for j in matches]


def _find(image: Description, known: Known) -> list[int]:
    """Positions of the known images that an image is a version of."""
    versions = list(_versions(image))
    votes = np.stack([_vote(version, known) for version in versions])
    best = np.argsort(-votes.ravel(), kind="stable")[:CANDIDATES]
    pairs = [divmod(int(place), votes.shape[1]) for place in best if votes.flat[place] >= VOTES]
    return sorted({j for v, j in pairs if same_tissue(known.descriptions[j], versions[v])})


def _versions(image: Description) -> Iterator[Description]:
    """What describes an image as it is, mirrored, inverted, and both."""
    flip = np.array([-1, 1], np.float32)
    for small, features in (
        (image.small, image.features),
        (255 - image.small, image.features[:, INVERTED]),
    ):
        yield image._replace(small=small, features=features)
        mirrored = image.points * flip + np.array([small.shape[1] - 1, 0], np.float32)
        yield image._replace(small=small[:, ::-1].copy(), features=features[:, MIRRORED], points=mirrored)


def _vote(image: Description, known: Known) -> Int64[np.ndarray, " n"]:
    """How many features of an image are like one of each known image."""
    features = root_features(image.features[:INDEXED])
    if not len(features):
        return np.zeros(len(known.descriptions), np.int64)
    near = min(NEIGHBORS, len(known.owner))
    found, distance = known.tree.knnSearch(features, near, params={"checks": 32})
    hit = (found >= 0) & (distance < 0.5)  # the search may give up before it has all
    rows = np.broadcast_to(np.arange(len(features))[:, None], found.shape)
    voters = np.unique(np.stack([rows[hit], known.owner[found[hit]]]), axis=1)  # a feature votes once
    return np.bincount(voters[1], minlength=len(known.descriptions))


def same_tissue(one: Description, other: Description) -> bool:
    """Whether features of two images agree on an affine map, and detail agrees under it."""
    there, here = match_points(one, other)
    if len(here) < INLIERS:
        return False
    transform, inliers = cv2.estimateAffine2D(there, here, method=cv2.RANSAC, ransacReprojThreshold=3.0)
    if transform is None or inliers.sum() < INLIERS:
        return False
    large, small = np.linalg.svd(transform[:, :2], compute_uv=False)
    if not 1 / MAX_SCALE < small <= large < min(MAX_SCALE, MAX_STRETCH * small):
        return False
    overall, median = agreement(one.small, other.small, transform)
    return overall >= DETAIL and median >= MEDIAN_DETAIL
