"""The cohort: which images are used, which belong together, and which fold each one is in."""

import logging
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Int

from busi.core import CLASSES, NORMAL, InputError, Record
from busi.data.assignment import (
    assign_sources,
    check_sources,
    group_sources,
    join_folds,
    name_source_splits,
    places_by_source,
)
from busi.data.contents import Content, read_contents
from busi.data.exclusions import EXCLUDED, apply_exclusions, drop_reasons
from busi.data.groups import join_patients
from busi.data.records import Problem, Reading, list_problems, raise_problems
from busi.data.splits import SPLITS, fingerprint, separate

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Cohort:
    """Every readable image of a data set and its split in one run, position by position.

    Attributes:
        records: The images as files.
        contents: Their fingerprints and sizes.
        groups: Group of each image: what lies in one group never crosses a fold.
        folds: Fold of each image; -1 if it was dropped.
        splits: ``train``, ``val``, ``test``, ``left_out`` (held out, and not scored) or ``dropped``.
        reasons: Why an image was dropped, else the empty string.
        unusable: Images left out by ``on_bad=skip``, and unusable ones that are excluded.
        split_fingerprint: Of the assignment of images to groups and folds; equal in both stages.
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
        """Of ids, labels, pixels, masks and sources of all images."""
        return fingerprint_data(self.records, self.contents)

    def indices(self, *splits: str) -> Int[np.ndarray, " m"]:
        """Positions of the images in these splits."""
        return np.flatnonzero(np.isin(self.splits, splits))

    def labels(self) -> Int[np.ndarray, " n"]:
        """Label of each image."""
        return np.array([record.label for record in self.records], np.int64)

    @cached_property
    def sources(self) -> list[str]:
        """The sources of the images, in the order in which they first appear."""
        return list(places_by_source(self.records))

    def sources_of(self, indices: Int[np.ndarray, " m"]) -> list[str]:
        """Source of each of these images."""
        return [self.records[i].source for i in indices.tolist()]

    @property
    def num_lesions(self) -> int:
        """How many training images have a lesion that somebody annotated."""
        records = [self.records[i] for i in self.indices("train")]
        return sum(record.annotated and record.label != NORMAL for record in records)

    @property
    def unannotated(self) -> list[str]:
        """Ids of the images that train, validate or test with a lesion that nobody annotated."""
        records = [self.records[i] for i in self.indices(*SPLITS)]
        return [record.id for record in records if not record.annotated]

    def rows(self) -> list[dict[str, object]]:
        """The table ``split.csv``: one row an image, dropped and unusable ones included."""
        rows: list[dict[str, object]] = [
            {
                "id": record.id,
                "source": record.source,
                "label": CLASSES[record.label],
                "group": int(group),
                "fold": int(fold) if fold >= 0 else "",
                "split": split,
                "reason": reason,
                "has_patient": int(record.patient is not None),
            }
            for record, group, fold, split, reason in zip(
                self.records, self.groups, self.folds, self.splits, self.reasons, strict=True
            )
        ]
        bad = {"source": "", "label": "", "group": "", "fold": "", "split": "dropped"}
        return rows + [
            {"id": problem.id, **bad, "reason": problem.kind, "has_patient": ""} for problem in self.unusable
        ]


def fingerprint_data(records: Sequence[Record], contents: Sequence[Content]) -> str:
    """Fingerprint of the ids, labels, pixels and masks of images, and of their sources if these are several.

    Images of one source are the same data under any name of it. Of several, the source of an image says how
    often it is drawn, and whether it is held out.
    """
    several = len(places_by_source(records)) > 1
    rows = [[r.id, r.label, c.pixel_hash, c.mask_hash] for r, c in zip(records, contents, strict=True)]
    named = [[*row, r.source] for row, r in zip(rows, records, strict=True)]
    return fingerprint(named if several else rows)


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
    published: bool = False,
    train_only: Collection[str] = (),
    hold_out: str | None = None,
) -> Cohort:
    """Check, group and split a data set. The arguments are those of `busi.data.datamodule`.

    Raises:
        InputError: If files are bad (unless skipped), a label conflict is an error, nothing is
            left, or a class is too small for the number of folds.
    """
    records, contents, problems = read_contents(reading, cache_dir)
    excluded, problems = apply_exclusions(exclude, records, problems)
    _check_files(records, problems, on_bad)
    check_sources(records, train_only, hold_out)
    if not published and (known := sorted({number for one in records for number in one.published_folds})):
        log.info("Making folds anew: data.folds=published takes those of the data (%s)", known)
    own, near_duplicates = group_sources(records, contents, cache_dir)
    kept = [not reason for reason in drop_reasons(records, own, conflicts, excluded)]
    folds = assign_sources(
        records,
        own,
        kept,
        num_folds=num_folds,
        seed=split_seed,
        published=published,
        unfolded=[*train_only, *([hold_out] if hold_out else [])],
    )
    reasons = drop_reasons(records, near_duplicates, conflicts, excluded)
    folds[[bool(reason) for reason in reasons]] = -1
    groups = join_patients(near_duplicates, records)
    folds = join_folds(folds, groups, records)
    rows = zip(records, contents, groups, folds, strict=True)
    shape = [["train only", name] for name in train_only] + ([["hold out", hold_out]] if hold_out else [])
    split_fingerprint = fingerprint([*[[r.id, c.pixel_hash, int(g), int(f)] for r, c, g, f in rows], *shape])
    sources = [record.source for record in records]
    folds, splits = name_source_splits(folds, sources, fold, num_folds, leave_out, train_only, hold_out)
    _drop(splits, reasons, separate(splits, groups), "near-duplicate of a held-out image")
    if need_masks:
        _drop(splits, reasons, [not record.annotated for record in records], "no mask")
    if subset:
        _drop(splits, reasons, _beyond_subset(splits, records, subset), "subset")
    _check_splits(splits, reasons)
    return Cohort(records, contents, groups, folds, splits, reasons, problems, split_fingerprint)


def _check_files(records: Sequence[Record], every: Sequence[Problem], on_bad: str) -> None:
    problems = [one for one in every if one.kind != EXCLUDED]
    if on_bad == "error":
        raise_problems(problems)
    if not records:
        why = f" ({list_problems(problems)})" if problems else ""
        raise InputError(f"no usable image is left{why}: mend the files, or give another data.root")
    if problems:
        log.warning("Going on without %d unusable images (data.on_bad=skip)", len(problems))


def _check_splits(splits: Sequence[str], reasons: Sequence[str]) -> None:
    for split in SPLITS:
        if split not in splits:
            counts = Counter(reason for reason in reasons if reason)
            dropped = "".join(f", {number} dropped ({reason})" for reason, number in counts.items())
            raise InputError(f"no image is left in the {split} split{dropped}: give more annotated images")


def describe_cohort(cohort: Cohort) -> str:
    """One line that says how many images there are and where they went."""
    parts = [f"{len(cohort.indices(split))} {split}" for split in ("train", "val", "test")]
    reasons = [problem.kind for problem in cohort.unusable] + [reason for reason in cohort.reasons if reason]
    parts += [f"{reasons.count(reason)} dropped ({reason})" for reason in sorted(set(reasons))]
    return f"{len(cohort.records)} images in {cohort.groups.max() + 1} groups: {', '.join(parts)}"


def _drop(splits: list[str], reasons: list[str], which: Sequence[bool], reason: str) -> None:
    for i, drop in enumerate(which):
        if drop and splits[i] != "dropped":
            splits[i], reasons[i] = "dropped", reason


def _beyond_subset(splits: list[str], records: list[Record], subset: int) -> list[bool]:
    """Whether an image comes after the first `subset` of its source and class in its split."""
    count: Counter[tuple[str, str, int]] = Counter()
    beyond = []
    for split, record in zip(splits, records, strict=True):
        key = (split, record.source, record.label)
        count[key] += 1
        beyond.append(count[key] > subset)
    return beyond
