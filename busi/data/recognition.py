"""Recognition: which images a model has seen, as they were, as near-duplicates, or as altered versions."""

import logging
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from busi.core import Record, read_kept, write_json, writing_cache
from busi.data import altered
from busi.data.contents import Content, GrayImages
from busi.data.groups import find_groups
from busi.data.kept_searches import KeptSearches
from busi.data.splits import fingerprint

log = logging.getLogger(__name__)

Images = tuple[Sequence[Record], Sequence[Content]]
"""Records, and what their files contain."""


class Recognized(NamedTuple):
    """What images have in common with those that a model has seen.

    Attributes:
        groups: Groups of near-duplicates among the images, by first appearance.
        seen: For each image the pixel hashes of the seen images that it shows: identical, a
            near-duplicate, or altered (`busi.data.altered`); or that one of its near-duplicates is.
        missing: Number of seen images that are not at hand, so that only identical ones are recognized.
    """

    groups: Int[np.ndarray, " n"]
    seen: list[set[str]]
    missing: int


def recognize(images: Images, known: Images, seen: Collection[str], cache_dir: Path) -> Recognized:
    """Find which images a model has seen.

    Args:
        images: The images.
        known: The data sets that it has seen, as far as they are at hand.
        seen: Pixel hashes of the images that it has seen.
        cache_dir: Where what was found is kept.
    """
    names, at_hand = set(seen), {content.pixel_hash for content in known[1]}
    # Where the data was moved, the images themselves may be what others are versions of.
    also = [i for i, content in enumerate(images[1]) if content.pixel_hash in names - at_hand]
    records, contents = [*images[0], *known[0]], [*images[1], *known[1]]
    known = [*known[0], *(images[0][i] for i in also)], [*known[1], *(images[1][i] for i in also)]
    groups = find_groups(records, contents, cache_dir).tolist()
    members: dict[int, set[str]] = {}
    group_of: dict[str, int] = {}
    for content, group in zip(contents, groups, strict=True):
        members.setdefault(group, set()).add(content.pixel_hash)
        group_of[content.pixel_hash] = group
    found = {group: set(inside) for group, inside in members.items()}
    for name, source in _find_altered(images, known, cache_dir):
        found[group_of[name]] |= members[group_of[source]]
    own = groups[: len(images[0])]
    missing = names - {content.pixel_hash for content in known[1]}
    return Recognized(np.array(own, np.int64), [found[group] & names for group in own], len(missing))


def _find_altered(images: Images, known: Images, cache_dir: Path) -> list[list[str]]:
    """Pairs of pixel hashes, of an image and of the known one that it is an altered version of."""
    if not known[0]:
        return []
    names, sources = ([content.pixel_hash for content in contents] for _, contents in (images, known))
    key = fingerprint([["images", *names], ["known", *sources]])
    path = cache_dir / "duplicates" / f"{key}-altered-v{altered.VERSION}.json"
    pairs: list[list[str]] | None = read_kept(path)
    if pairs is None:
        log.info("Comparing %d images with %d known ones, kept in %s", len(names), len(sources), path)
        with writing_cache(cache_dir):
            kept = (
                KeptSearches(cache_dir, names, upright=False),
                KeptSearches(cache_dir, sources, upright=False),
            )
            found = altered.find_altered(GrayImages(images[0]), GrayImages(known[0]), kept)
            pairs = [[names[i], sources[j]] for i, j in found]
            write_json(path, pairs)
    return pairs
