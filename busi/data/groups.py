"""Groups: which images belong together, as near-duplicates or as images of one patient."""

import logging
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Int, Int64
from rich.progress import track
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from busi.core import Record, read_kept, read_table, write_json, writing_cache
from busi.data.contents import Content, GrayImages
from busi.data.described import VERSION
from busi.data.duplicates import find_duplicates
from busi.data.kept_searches import KeptSearches
from busi.data.splits import fingerprint, renumber

log = logging.getLogger(__name__)


def find_groups(records: list[Record], contents: list[Content], cache_dir: Path) -> Int[np.ndarray, " n"]:
    """Number the groups of near-duplicates, by first appearance.

    The groups of the published BUSI files are frozen. Any other data set is searched once, and the pairs
    are kept by content. In both cases images with the same pixels are in one group.
    """
    hashes = [content.pixel_hash for content in contents]
    published = published_groups()
    if all(name in published for name in hashes):
        return renumber(np.array([published[name] for name in hashes], np.int64))
    return cluster(len(hashes), same_pixels(hashes) + find_pairs(records, hashes, cache_dir))


def join_across(
    own: Int[np.ndarray, " n"], records: list[Record], contents: list[Content], cache_dir: Path
) -> Int[np.ndarray, " n"]:
    """Join the groups of which two images of different sources are near-duplicates.

    Args:
        own: Group of each image within its source.
        records: Of all sources.
        contents: Of these images.
        cache_dir: Where the pairs are kept.
    """
    hashes = [content.pixel_hash for content in contents]
    first: dict[int, int] = {}
    together = [(first.setdefault(group, i), i) for i, group in enumerate(own.tolist())]
    found = [
        (i, j)
        for i, j in same_pixels(hashes) + find_pairs(records, hashes, cache_dir)
        if records[i].source != records[j].source
    ]
    if found:
        names = ", ".join(f"{records[i].id} and {records[j].id}" for i, j in found[:5])
        log.warning("%d near-duplicates across sources (e.g. %s)", len(found), names)
    return cluster(len(records), together + found)


def find_pairs(records: list[Record], hashes: Sequence[str], cache_dir: Path) -> list[tuple[int, int]]:
    """Search for near-duplicates once; what was found is kept by content.

    What was learned of single images and pairs is kept, too, for searches among others: see
    `busi.data.kept_searches`.
    """
    key = fingerprint([[name] for name in hashes])
    path = cache_dir / "duplicates" / f"{key}-v{VERSION}.json"
    if (kept := read_kept(path)) is None:
        log.info("Searching %d images for near-duplicates, kept in %s", len(records), path)
        with writing_cache(cache_dir):
            pairs = find_duplicates(
                GrayImages(records),
                partial(track, description="near-duplicates", transient=True),
                KeptSearches(cache_dir, hashes),
            )
            kept = [[hashes[i], hashes[j]] for i, j in pairs]
            write_json(path, kept)
    first = {name: i for i, name in reversed(list(enumerate(hashes)))}
    return [(first[a], first[b]) for a, b in kept]


def same_pixels(hashes: Sequence[str]) -> list[tuple[int, int]]:
    """Each image, and the first with the same pixels."""
    first: dict[str, int] = {}
    return [(first.setdefault(name, i), i) for i, name in enumerate(hashes)]


def published_groups() -> dict[str, int]:
    """Groups of the 780 images of BUSI, by pixel fingerprint (`busi.data.images.pixel_hash`).

    Frozen from `cluster(780, find_duplicates(...))`, so that splits outlive changes of the method
    and of the libraries below it.
    """
    rows = read_table(Path(__file__).with_name("busi_groups.csv"))
    return {row["pixel_hash"]: int(row["group"]) for row in rows}


def join_patients(groups: Int[np.ndarray, " n"], records: Sequence[Record]) -> Int[np.ndarray, " n"]:
    """Merge the groups that share a patient of one source."""
    first: dict[tuple[str, ...], int] = {}
    pairs = []
    for i, record in enumerate(records):
        pairs.append((first.setdefault(("group", str(groups[i])), i), i))
        if record.patient is not None:
            pairs.append((first.setdefault(("patient", record.source, record.patient), i), i))
    return cluster(len(records), pairs)


def cluster(num_images: int, pairs: Iterable[tuple[int, int]]) -> Int64[np.ndarray, " n"]:
    """Join pairs to groups: the connected components of the graph that they form.

    Args:
        num_images: Number of images.
        pairs: Index pairs below `num_images`, in any order; may be empty.

    Returns:
        Group number of each image, counted from 0 in the order of first appearance.

    Raises:
        ValueError: If an index is negative or not below `num_images`.
    """
    edges = np.array(list(pairs), np.int64).reshape(-1, 2)
    if edges.size and not (edges.min() >= 0 and edges.max() < num_images):
        raise ValueError(f"pairs name images outside 0..{num_images - 1}")
    if num_images == 0:
        return np.zeros(0, np.int64)
    graph = coo_array((np.ones(len(edges)), (edges[:, 0], edges[:, 1])), shape=(num_images, num_images))
    return renumber(connected_components(graph, directed=False)[1])
