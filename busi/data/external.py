"""Another data set that a finished run is tried on: every image that the run has not seen."""

from collections.abc import Collection
from pathlib import Path

import numpy as np

from busi.core import InputError
from busi.data.cohort import Cohort
from busi.data.contents import read_contents
from busi.data.exclusions import EXCLUDED, apply_exclusions, drop_reasons
from busi.data.groups import join_patients
from busi.data.recognition import Images, recognize
from busi.data.records import Reading, raise_problems
from busi.data.splits import fingerprint

SEEN, PATIENT_SEEN = "seen", "patient seen"
"""Why an image cannot test a run: it is one that the run has seen, or is of a patient of one."""


def build_external_cohort(
    reading: Reading,
    *,
    known: Images,
    seen: Collection[str],
    fold: int,
    need_masks: bool,
    on_bad: str,
    cache_dir: Path,
    exclude: Path | None,
) -> tuple[Cohort, int]:
    """A cohort of test images: all but those that the run has seen, or a version, or another of a patient.

    Args:
        reading: The data set.
        known: The data that the run was trained on, as far as it is at hand: what is compared with.
        seen: Pixel hashes of the images that trained or chose the run.
        fold: The test fold of the run.
        need_masks: Leave out lesions that nobody annotated.
        on_bad: ``error``, or ``skip`` to go on without unusable files.
        cache_dir: Where what was found is kept.
        exclude: CSV file with the column ``id``: more images to leave out.

    Returns:
        The cohort, and the number of images that the run has seen and that are not at hand: of these only
        identical ones are recognized.

    Raises:
        InputError: If files are bad (unless skipped), `exclude` is missing or wrong, or no image is left.
    """
    records, contents, problems = read_contents(reading, cache_dir)
    excluded, problems = apply_exclusions(exclude, records, problems)
    if on_bad == "error":
        raise_problems([one for one in problems if one.kind != EXCLUDED])
    near_duplicates, recognized, missing = recognize((records, contents), known, seen, cache_dir)
    reasons = drop_reasons(records, near_duplicates, "drop", excluded)
    groups = join_patients(near_duplicates, records)
    beside = np.isin(groups, groups[[bool(found) for found in recognized]])
    for i, record in enumerate(records):
        if recognized[i]:
            reasons[i] = SEEN
        elif beside[i] and not reasons[i]:
            reasons[i] = PATIENT_SEEN
        elif need_masks and not record.annotated and not reasons[i]:
            reasons[i] = "no mask"
    splits = ["dropped" if reason else "test" for reason in reasons]
    if "test" not in splits:
        reasons += [problem.kind for problem in problems]
        counts = ", ".join(f"{reasons.count(why)} dropped: {why}" for why in sorted(set(reasons)))
        raise InputError(f"none of {len(reasons)} images is left ({counts or 'no image'}): give other data")
    folds = np.where([split == "test" for split in splits], fold, -1)
    rows = [[c.pixel_hash, int(g), s] for c, g, s in zip(contents, groups, splits, strict=True)]
    cohort = Cohort(records, contents, groups, folds, splits, reasons, problems, fingerprint(rows))
    return cohort, missing
