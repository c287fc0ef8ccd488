"""The cohort: which pictures are used, which belong together, and which fold each one is in."""

import csv
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import numpy as np
from jaxtyping import Int
from rich.progress import track

from busi.core import CLASSES, InputError, Record, read_kept, write_json
from busi.data import duplicates
from busi.data.contents import Content, Pictures, read_contents
from busi.data.records import Problem, Reading, raise_problems
from busi.data.splits import SPLITS, assign_folds, fingerprint, name_splits

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Cohort:
    """Every readable picture of a data set and its part in one run, position by position.

    Attributes:
        records: The pictures as files.
        contents: Their fingerprints and sizes.
        groups: Group of each picture: what lies in one group never crosses a fold.
        folds: Fold of each picture; -1 if it was dropped.
        splits: ``train``, ``val``, ``test``, ``left_out`` or ``dropped``.
        reasons: Why a picture was dropped, else the empty string.
        unusable: Pictures left out by ``on_bad=skip``.
        split_fingerprint: Of the assignment of pictures to groups and folds; equal in both stages.
    """

    records: list[Record]
    contents: list[Content]
    groups: Int[np.ndarray, " n"]
    folds: Int[np.ndarray, " n"]
    splits: list[str]
    reasons: list[str]
    unusable: list[Problem]
    split_fingerprint: str

    @cached_property
    def data_fingerprint(self) -> str:
        """Of ids, labels, pixels and masks of all pictures."""
        pairs = zip(self.records, self.contents, strict=True)
        return fingerprint([[r.id, r.label, c.pixel_hash, c.mask_hash] for r, c in pairs])

    def indices(self, *splits: str) -> Int[np.ndarray, " m"]:
        """Positions of the pictures in these splits."""
        return np.flatnonzero(np.isin(self.splits, splits))

    def labels(self) -> Int[np.ndarray, " n"]:
        """Label of each picture."""
        return np.array([record.label for record in self.records], np.int64)

    def rows(self) -> list[dict[str, object]]:
        """The table ``split.csv``: one row a picture, dropped and unusable ones included."""
        rows: list[dict[str, object]] = [
            {
                "id": record.id,
                "label": CLASSES[record.label],
                "group": int(group),
                "fold": int(fold) if fold >= 0 else "",
                "split": split,
                "reason": reason,
            }
            for record, group, fold, split, reason in zip(
                self.records, self.groups, self.folds, self.splits, self.reasons, strict=True
            )
        ]
        bad = {"label": "", "group": "", "fold": "", "split": "dropped"}
        return rows + [{"id": problem.id, **bad, "reason": problem.kind} for problem in self.unusable]


def build_cohort(
    reading: Reading,
    *,
    cache_dir: Path,
    fold: int,
    leave_out: int | None,
    num_folds: int,
    split_seed: int,
    conflicts: str,
    exclude: Path | None,
    on_bad: str,
    need_masks: bool,
    subset: int | None,
) -> Cohort:
    """Check, group and split a data set. The arguments are those of `busi.data.datamodule`.

    Raises:
        InputError: If files are bad (unless skipped), a label conflict is an error, nothing is
            left, or a class is too small for the number of folds.
    """
    records, contents, problems = read_contents(reading, cache_dir)
    if on_bad == "error":
        raise_problems(problems)
    if not records:
        raise InputError("no usable picture is left: mend the files, or give another data.root")
    if problems:
        log.warning("Going on without %d unusable pictures (data.on_bad=skip)", len(problems))
    labels = np.array([record.label for record in records], np.int64)
    copies = find_groups(records, contents, cache_dir)
    reasons = drop_reasons(records, labels, copies, conflicts, exclude)
    groups = join_patients(copies, records)

    kept = np.array([not reason for reason in reasons])
    folds = np.full(len(records), -1, np.int64)
    ids = [record.id for record, keep in zip(records, kept, strict=True) if keep]
    folds[kept] = assign_folds(ids, labels[kept], groups[kept], num_folds, split_seed)
    split_fingerprint = fingerprint(
        [
            [r.id, c.pixel_hash, int(g), int(f)]
            for r, c, g, f in zip(records, contents, groups, folds, strict=True)
        ]
    )
    splits = name_splits(folds, fold, num_folds, leave_out)
    if need_masks:
        _drop(splits, reasons, [not record.annotated for record in records], "no mask")
    if subset:
        _drop(splits, reasons, _beyond_subset(splits, labels, subset), "subset")
    for split in SPLITS:
        if split not in splits:
            raise InputError(f"no picture is left in the {split} split: give more annotated pictures")
    return Cohort(
        records=records,
        contents=contents,
        groups=groups,
        folds=folds,
        splits=splits,
        reasons=reasons,
        unusable=problems,
        split_fingerprint=split_fingerprint,
    )


def find_groups(records: list[Record], contents: list[Content], cache_dir: Path) -> Int[np.ndarray, " n"]:
    """Number the clusters of near-duplicates, by first appearance.

    The published BUSI files have a frozen answer; any other data set is searched once and the pairs
    are kept by content. In both cases pictures with the same pixels are together.
    """
    hashes = [content.pixel_hash for content in contents]
    published = duplicates.published_groups()
    if all(name in published for name in hashes):
        _, groups = np.unique([published[name] for name in hashes], return_inverse=True)
        return renumber(groups)
    key = fingerprint([[name] for name in hashes])
    path = cache_dir / "duplicates" / f"{key}-v{duplicates.VERSION}.json"
    if (kept := read_kept(path)) is None:
        log.info("Searching %d pictures for near-duplicates, kept in %s", len(records), path)
        pairs = duplicates.find_duplicates(
            Pictures(records), partial(track, description="near-duplicates", transient=True)
        )
        kept = [[hashes[i], hashes[j]] for i, j in pairs]
        write_json(path, kept)
    first = {name: i for i, name in reversed(list(enumerate(hashes)))}
    same = [(first[name], i) for i, name in enumerate(hashes)]
    found = [(first[a], first[b]) for a, b in kept]
    return renumber(duplicates.cluster(len(hashes), same + found))


def join_patients(groups: Int[np.ndarray, " n"], records: Sequence[Record]) -> Int[np.ndarray, " n"]:
    """Merge the groups that share a patient."""
    first: dict[tuple[str, str], int] = {}
    pairs = []
    for i, record in enumerate(records):
        pairs.append((first.setdefault(("group", str(groups[i])), i), i))
        if record.patient is not None:
            pairs.append((first.setdefault(("patient", record.patient), i), i))
    return renumber(duplicates.cluster(len(records), pairs))


def renumber(groups: Int[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    """Number groups 0, 1, ... in the order in which they first appear."""
    _, first, inverse = np.unique(groups, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[inverse].astype(np.int64)


def drop_reasons(
    records: list[Record],
    labels: Int[np.ndarray, " n"],
    copies: Int[np.ndarray, " n"],
    conflicts: str,
    exclude: Path | None,
) -> list[str]:
    """Why each picture is left out of the folds: ``excluded``, ``conflict``, or nothing.

    Raises:
        InputError: If copies of one picture have different labels and `conflicts` is ``error``, or
            the list of exclusions is missing, has no column ``id``, or names an unknown picture.
    """
    excluded = read_exclusions(exclude, {record.id for record in records}) if exclude else set()
    left = np.array([record.id not in excluded for record in records])
    held, num_labels = np.unique(
        np.unique(np.column_stack([copies, labels])[left], axis=0)[:, 0], return_counts=True
    )
    mixed = set(held[num_labels > 1].tolist())
    clash = [record.id for record, group in zip(records, copies, strict=True) if group in mixed]
    if clash and conflicts == "error":
        raise InputError(
            f"{len(clash)} pictures in {len(mixed)} clusters show the same frame under different labels: "
            f"{', '.join(clash[:10])}. Leave them out with data.conflicts=drop or data.exclude=list.csv"
        )
    if conflicts == "keep":
        mixed = set()
    return [
        "excluded" if record.id in excluded else "conflict" if group in mixed else ""
        for record, group in zip(records, copies, strict=True)
    ]


def read_exclusions(path: Path, known: set[str]) -> set[str]:
    """Read the ids to leave out from the column ``id`` of a CSV file."""
    if not path.is_file():
        raise InputError(f"data.exclude={path} does not exist: give a CSV file with the column id")
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        if "id" not in (reader.fieldnames or ()):
            raise InputError(f"data.exclude={path} has no column id, only {reader.fieldnames}")
        ids = {row["id"] for row in reader}
    if unknown := sorted(ids - known):
        raise InputError(
            f"data.exclude={path} names {len(unknown)} unknown pictures: {', '.join(unknown[:10])}"
        )
    return ids


def _drop(splits: list[str], reasons: list[str], which: Sequence[bool], reason: str) -> None:
    for i, drop in enumerate(which):
        if drop and splits[i] != "dropped":
            splits[i], reasons[i] = "dropped", reason


def _beyond_subset(splits: list[str], labels: Int[np.ndarray, " n"], subset: int) -> list[bool]:
    """Whether a picture comes after the first `subset` of its class in its split."""
    count: dict[tuple[str, int], int] = {}
    beyond = []
    for split, label in zip(splits, labels.tolist(), strict=True):
        count[split, label] = count.get((split, label), 0) + 1
        beyond.append(count[split, label] > subset)
    return beyond
