"""The leak guard: what guides a classifier must not have seen its validation or test images."""

import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from busi.core import InputError, Record
from busi.data import Cohort, recognize
from busi.runs import SEEN, Checkpoint, describe_missing, read_seen

log = logging.getLogger(__name__)


def check_same_data(checkpoint: Checkpoint, cohort: Cohort, allow_other_data: bool) -> None:
    """Raise `InputError` if a segmentation checkpoint was made on another data set."""
    if checkpoint.metadata["stage"] != "seg":
        raise InputError(
            f"{checkpoint.path} is of stage {checkpoint.metadata['stage']}: seg_ckpt needs one of stage=seg"
        )
    if checkpoint.metadata["data"] != cohort.data_fingerprint and not allow_other_data:
        raise InputError(
            f"{checkpoint.path} was made on another data set (fingerprint {checkpoint.metadata['data']}, "
            f"this one has {cohort.data_fingerprint}): train stage=seg on this data, or, if you mean it, add "
            "allow_other_data=true"
        )


def check_leaks(checkpoint: Checkpoint, cohort: Cohort, command: str, cache_dir: Path) -> None:
    """Raise `InputError` if the checkpoint has seen a validation or test image of the classifier.

    Validation and test images must not have trained it, test images must not have validated it;
    neither may a near-duplicate of one. A shared validation fold is fine. Images are compared by
    their pixels, near-duplicates by the groups of this cohort, whatever their names there. Images
    of a checkpoint of other data are recognized by `busi.data.recognition`, as far as they are at hand.

    Args:
        checkpoint: Of the segmentation model.
        cohort: Of the classifier.
        command: Makes the right checkpoint; part of the message.
        cache_dir: Where what was found is kept.
    """
    groups, missing = find_seen(checkpoint, cohort, cache_dir)
    if missing:
        log.warning("%s: %s", checkpoint.path, missing)
    leaks = {
        "in its training": list_seen(groups["train"], cohort, ("val", "test")),
        "in its validation": list_seen(groups["val"], cohort, ("test",)),
    }
    parts = [
        f"{_count(found)} that validate or test the classifier, or versions of them, were {where} "
        f"(e.g. {', '.join(record.id for record in found[:3])})"
        for where, found in leaks.items()
        if found
    ]
    if parts:
        raise InputError(
            f"leak: {checkpoint.path} has seen too much. {'; '.join(parts)}. Make one with: {command}"
        )


def list_seen(groups: set[int], cohort: Cohort, splits: tuple[str, ...]) -> list[Record]:
    """The images of these splits that are in one of these groups."""
    return [cohort.records[i] for i in cohort.indices(*splits) if int(cohort.groups[i]) in groups]


def _count(found: Sequence[Record]) -> str:
    """How many images there are, and of which sources."""
    counts = Counter(record.source for record in found)
    by_source = ", ".join(f"{number} of {name}" for name, number in counts.items())
    return f"{len(found)} images" + (f" ({by_source})" if any(counts) else "")


def find_seen(checkpoint: Checkpoint, cohort: Cohort, cache_dir: Path) -> tuple[dict[str, set[int]], str]:
    """Find the groups of a cohort of which a checkpoint saw an image, or a version of one.

    Args:
        checkpoint: Of a segmentation model.
        cohort: Whose images are asked about.
        cache_dir: Where what was found is kept.

    Returns:
        Groups of which it saw something in ``train`` and in ``val``; and what cannot be known, as a sentence,
        empty if all is known.
    """
    seen = {split: set(checkpoint.metadata[split]) for split in SEEN}
    of_images, missing = [{content.pixel_hash} for content in cohort.contents], ""
    if checkpoint.metadata["data"] != cohort.data_fingerprint:  # else the groups say it
        known, images = read_seen(checkpoint, cache_dir), (cohort.records, cohort.contents)
        there = recognize(images, (known.records, known.contents), known.hashes, cache_dir)
        of_images, missing = there.seen, describe_missing(there.missing, len(known.hashes))
    pairs = list(zip(of_images, cohort.groups.tolist(), strict=True))
    return {split: {group for of, group in pairs if of & names} for split, names in seen.items()}, missing
