"""Groups and folds of images of several sources: each source keeps those that it has alone."""

from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Int

from busi.core import InputError, Record
from busi.data.contents import Content
from busi.data.groups import find_groups, join_across, join_patients
from busi.data.options import train_folds
from busi.data.splits import assign_folds, check_class_sizes, name_splits

Positions = Int[np.ndarray, " _"]


def places_by_source(records: Sequence[Record]) -> dict[str, Positions]:
    """Source -> positions of its images, sources in the order in which they first appear."""
    names = np.array([record.source for record in records])
    return {name: np.flatnonzero(names == name) for name in dict.fromkeys(names.tolist())}


def group_sources(
    records: list[Record], contents: list[Content], cache_dir: Path
) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, " n"]]:
    """Group near-duplicates within each source as if it were alone, and across sources.

    Returns:
        Group of each image within its source, and across; both numbered by first appearance, equal for one
        source.
    """
    own = np.zeros(len(records), np.int64)
    used = 0
    for places in places_by_source(records).values():
        found = find_groups([records[i] for i in places], [contents[i] for i in places], cache_dir)
        own[places] = found + used
        used += int(found.max()) + 1
    if len(places_by_source(records)) == 1:
        return own, own
    return own, join_across(own, records, contents, cache_dir)


def assign_sources(
    records: list[Record],
    own: Int[np.ndarray, " n"],
    kept: Sequence[bool],
    *,
    num_folds: int,
    seed: int,
    published: bool,
    unfolded: Collection[str],
) -> Int[np.ndarray, " n"]:
    """Fold of each image by the rules of its source alone; -1 for those that are not kept.

    Args:
        records: The images.
        own: Group of near-duplicates of each image within its source.
        kept: Whether an image is used.
        num_folds: Number of folds.
        seed: Of the assignment.
        published: Take the folds that the sources have published.
        unfolded: Sources that are in one split whole, whatever their folds: these are always our own.

    Raises:
        InputError: If a class has too few groups in all other sources together; or one of these has
            published no such folds.
    """
    folds = np.full(len(records), -1, np.int64)
    groups, labels = join_patients(own, records), np.array([record.label for record in records])
    folded = np.array(kept) & [record.source not in unfolded for record in records]
    if not published:
        check_class_sizes(labels[folded], groups[folded], num_folds)
    for name, places in places_by_source(records).items():
        used = places[np.asarray(kept)[places]]
        if published and name not in unfolded:
            folds[used] = [_published_fold(records[i], num_folds) for i in used.tolist()]
        elif len(used):
            ids = [records[i].id for i in used.tolist()]
            folds[used] = assign_folds(ids, labels[used], groups[used], num_folds, seed)
    return folds


def join_folds(
    folds: Int[np.ndarray, " n"], groups: Int[np.ndarray, " n"], records: Sequence[Record]
) -> Int[np.ndarray, " n"]:
    """Move every group with images of several sources into one fold: that of its first source.

    Args:
        folds: Of each image by the rules of its source; -1 for those that are not used.
        groups: Across sources.
        records: The images. The order of their sources counts; of several folds of one source, the lowest.
    """
    joined, rank = folds.copy(), list(places_by_source(records))
    for group in np.unique(groups):
        members = np.flatnonzero((groups == group) & (folds >= 0)).tolist()
        if len({records[i].source for i in members}) > 1:
            joined[members] = min((rank.index(records[i].source), folds[i]) for i in members)[1]
    return joined


def name_source_splits(
    folds: Int[np.ndarray, " n"],
    sources: Sequence[str],
    fold: int,
    num_folds: int,
    leave_out: int | None,
    train_only: Collection[str],
    hold_out: str | None,
) -> tuple[Int[np.ndarray, " n"], list[str]]:
    """Name each image's part in a run, as `busi.data.splits.name_splits` does for one source.

    Images of a source that only trains lie in the folds that train. Those of the source that is held out
    test; then the test fold of the others is ``left_out``, so that they train what they train without it.

    Returns:
        Fold of each image in this run, and its split.
    """
    can_train = np.array(train_folds(fold, num_folds))
    names, folds = np.array(sources), folds.copy()
    moved = np.isin(names, list(train_only)) & (folds >= 0) & ~np.isin(folds, can_train)
    folds[moved] = can_train[folds[moved] % len(can_train)]
    held_out = (names == hold_out) & (folds >= 0)
    splits = np.array(name_splits(folds, fold, num_folds, leave_out), object)
    if hold_out is not None:
        splits[splits == "test"] = "left_out"
        splits[held_out], folds[held_out] = "test", fold
    return folds, splits.tolist()


def check_sources(records: Sequence[Record], train_only: Collection[str], hold_out: str | None) -> None:
    """Raise `InputError` if a source that only trains or is held out is not there, or nothing else is."""
    there = list(places_by_source(records))
    listed = f"the sources are {', '.join(there)}"
    for name in (*train_only, *([hold_out] if hold_out else [])):
        if name not in there:
            raise InputError(f"no image is of the source {name}: {listed}")
    if hold_out in train_only:
        raise InputError(f"data.hold_out={hold_out}: it is in data.train_only too, leave it out there")
    if hold_out is not None and not set(there) - {hold_out, *train_only}:
        raise InputError(f"data.hold_out={hold_out}: no other source is left to train on ({listed})")
    if not set(there) - set(train_only):
        raise InputError(f"data.train_only: no other source is left to validate and test on ({listed})")


def _published_fold(record: Record, num_folds: int) -> int:
    if num_folds not in record.published_folds:
        known = ", ".join(map(str, sorted(record.published_folds)))
        has = f"it has published {known} folds: data.num_folds={known.split(', ')[0]}" if known else "none"
        raise InputError(
            f"data.folds=published: {record.id} is in no published split of {num_folds} folds ({has}). "
            "Leave data.folds out for folds of our own; a manifest gives folds in its column fold"
        )
    return record.published_folds[num_folds]
