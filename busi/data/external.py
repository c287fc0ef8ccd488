"""Another data set that a finished run is tried on: every picture that the run has not seen."""

import logging
from collections.abc import Collection
from pathlib import Path

import numpy as np

from busi.core import InputError
from busi.data.cohort import Cohort, drop_reasons, find_groups, join_patients
from busi.data.contents import read_contents
from busi.data.records import Reading, raise_problems
from busi.data.splits import fingerprint

log = logging.getLogger(__name__)


def build_external_cohort(
    reading: Reading,
    *,
    known: Reading,
    seen: Collection[str],
    fold: int,
    need_masks: bool,
    on_bad: str,
    cache_dir: Path,
) -> Cohort:
    """A cohort whose pictures are all test pictures, those aside that the run has seen, or copies of them.

    Args:
        reading: The data set.
        known: The data that the run was trained on, as far as it is still there, to find copies of it.
        seen: Pixel hashes of the pictures that trained or chose the run.
        fold: The test fold of the run.
        need_masks: Leave out lesions that nobody annotated.
        on_bad: ``error``, or ``skip`` to go on without unusable files.
        cache_dir: Where what was found is kept.

    Raises:
        InputError: If files are bad (unless skipped), or no picture is left.
    """
    records, contents, problems = read_contents(reading, cache_dir)
    if on_bad == "error":
        raise_problems(problems, "--on-bad skip")
    trained, trained_contents, _ = read_contents(known, cache_dir)
    copies = find_groups([*records, *trained], [*contents, *trained_contents], cache_dir)
    hashes = [content.pixel_hash for content in (*contents, *trained_contents)]
    met = {int(group) for name, group in zip(hashes, copies, strict=True) if name in seen}
    copies, labels = copies[: len(records)], np.array([record.label for record in records], np.int64)
    reasons = drop_reasons(records, labels, copies, "drop", None) if records else []
    for i, record in enumerate(records):
        if int(copies[i]) in met:
            reasons[i] = "seen"
        elif need_masks and not record.annotated and not reasons[i]:
            reasons[i] = "no mask"
    splits = ["dropped" if reason else "test" for reason in reasons]
    if "test" not in splits:
        counts = ", ".join(f"{reasons.count(why)} dropped: {why}" for why in sorted(set(reasons)))
        raise InputError(
            f"none of {len(records)} pictures is left ({counts or 'no picture'}): give other data"
        )
    groups = join_patients(copies, records)
    rows = [[c.pixel_hash, int(g), s] for c, g, s in zip(contents, groups, splits, strict=True)]
    return Cohort(
        records=records,
        contents=contents,
        groups=groups,
        folds=np.where([split == "test" for split in splits], fold, -1),
        splits=splits,
        reasons=reasons,
        unusable=problems,
        split_fingerprint=fingerprint(rows),
    )
