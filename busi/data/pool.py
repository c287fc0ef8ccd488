"""Several data sets as one: their images side by side, each with the name of its source."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from busi.core import InputError, Record, expand, real
from busi.data.catalog import read_with
from busi.data.records import Problem, Reading, check_ids, file_name

Sources = Mapping[str, Mapping[str, Any]]
"""Name of a data set -> ``root`` and ``read``, as `busi.data.catalog.name_sources` gives them."""


def read_records(root: Path | None, read: Callable[[Path], Reading], sources: Sources | None) -> Reading:
    """Read the images of a data set, or those of a pool; see `busi.data.class_folders.read_busi`.

    Raises:
        InputError: If nobody said where they are, or they cannot be read.
    """
    if sources is not None:
        return read_sources(sources)
    if root is None:
        raise InputError("data.root is not given: say where the data is, e.g. data.root=manifest.csv")
    return read(root)


def read_sources(sources: Sources) -> Reading:
    """Read several data sets, one after the other.

    The images of a data set carry its name as ``source``, unless it has several of its own (a manifest with
    the column ``source``). If two data sets have an id in common, the name goes in front of all ids of both:
    ``busbra/case1``.

    Args:
        sources: The data sets.

    Raises:
        InputError: If a data set cannot be read, or two have images of one source or one file in common.
    """
    readings = {name: _read(name, one, len(sources) == 1) for name, one in sources.items()}
    owners: dict[str, str] = {}
    for name, (records, _) in readings.items():
        for source in sorted({record.source for record in records}):
            if owners.setdefault(source, name) != name:
                raise InputError(f"{owners[source]} and {name} both have images of the source {source!r}")
    _check_apart(readings)
    files = {
        name: {file_name(one.id).lower() for part in reading for one in part}
        for name, reading in readings.items()
    }
    counts = Counter(file for own in files.values() for file in own)
    all_records: list[Record] = []
    all_problems: list[Problem] = []
    for name, (records, problems) in readings.items():
        # In front of all ids, because the folds depend on their order.
        first = f"{name}/" if any(counts[file] > 1 for file in files[name]) else ""
        all_records += [replace(one, id=first + one.id) for one in records]
        all_problems += [replace(one, id=first + one.id) for one in problems]
    check_ids(record.id for record in all_records)
    return all_records, all_problems


def _check_apart(readings: Mapping[str, Reading]) -> None:
    """Raise `InputError` if two data sets have a file in common: its image would count twice."""
    owners: dict[Path, str] = {}
    for name, (records, _) in readings.items():
        for path in (real(one.image) for one in records):
            if owners.setdefault(path, name) != name:
                raise InputError(
                    f"{owners[path]} and {name} both have the image {path}: give each image once"
                )


def _read(name: str, one: Mapping[str, Any], alone: bool) -> Reading:
    read, root = one["read"], expand(str(one["root"]))
    try:
        records, problems = read(root) if callable(read) else read_with(read, root)
    except InputError as error:
        raise error if alone else InputError(f"data.sources, {name}: {error}") from error
    several = len({record.source for record in records}) > 1
    records = [replace(one, source=(one.source if several else "") or name) for one in records]
    return records, problems
