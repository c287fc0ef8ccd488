"""The leak guard: what a run builds on must not have seen its validation or test images."""

import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from busi.core import InputError, Record
from busi.data import Cohort, recognize
from busi.runs import SEEN, Checkpoint, ancestry, describe_missing, describe_unknown, read_models

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
    groups = _find_seen(checkpoint, cohort, cache_dir)
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
            f"leak: {checkpoint.path}{name_ancestors(checkpoint)} has seen too much. {'; '.join(parts)}. "
            f"Make one with: {command}"
        )


def check_start(start: Checkpoint, cohort: Cohort, leave_out: int | None, cache_dir: Path) -> None:
    """Raise `InputError` if what a run starts from has seen an image that must be new to the run.

    Test images must neither have trained nor validated it, and validation images must not have trained it.
    Images that the run leaves out, so that it can guide them, must have done neither. A near-duplicate or an
    altered version of an image counts as that image. What the start was made from counts like the start.

    Args:
        start: Of any stage.
        cohort: Of the run.
        leave_out: The fold that the run leaves out, if there is one.
        cache_dir: Where what was found is kept.
    """
    groups = _find_seen(start, cohort, cache_dir)
    either = groups["train"] | groups["val"]
    # With data.hold_out other images are left out too, which nobody looks at.
    guided = [i for i in cohort.indices("left_out").tolist() if cohort.folds[i] == leave_out]
    leaks = {
        "test this run": ("trained or validated", list_seen(either, cohort, ("test",))),
        "validate this run": ("trained", list_seen(groups["train"], cohort, ("val",))),
        f"this run leaves out (data.leave_out={leave_out})": (
            "trained or validated",
            [cohort.records[i] for i in guided if cohort.groups[i] in either],
        ),
    }
    parts = [
        f"{_count(found)} that {where}, or versions of them, {had} it (e.g. "
        f"{', '.join(record.id for record in found[:3])})"
        for where, (had, found) in leaks.items()
        if found
    ]
    if parts:
        raise InputError(
            f"leak: start_from={start.path}{name_ancestors(start)} has seen too much. {'; '.join(parts)}. "
            "Start from a run that left these images out: one of other data, of the same data.fold "
            "(num_folds, split_seed, leave_out), or with data.hold_out"
        )


def _find_seen(checkpoint: Checkpoint, cohort: Cohort, cache_dir: Path) -> dict[str, set[int]]:
    groups, missing = find_seen(checkpoint, cohort, cache_dir)
    if missing:
        log.warning("%s: %s", checkpoint.path, missing)
    if unknown := describe_unknown(checkpoint):
        log.warning("%s: %s", checkpoint.path, unknown)
    return groups


def name_ancestors(checkpoint: Checkpoint) -> str:
    """Said after the name of a checkpoint that others are behind."""
    return " (or what it was made from)" if len(ancestry(checkpoint.metadata)) > 1 else ""


def list_seen(groups: set[int], cohort: Cohort, splits: tuple[str, ...]) -> list[Record]:
    """The images of these splits that are in one of these groups."""
    return [cohort.records[i] for i in cohort.indices(*splits) if int(cohort.groups[i]) in groups]


def _count(found: Sequence[Record]) -> str:
    """How many images there are, and of which sources."""
    counts = Counter(record.source for record in found)
    listed = ", ".join(f"{number} of {name}" for name, number in counts.items())
    return f"{len(found)} images" + (f" ({listed})" if any(counts) else "")


def find_seen(checkpoint: Checkpoint, cohort: Cohort, cache_dir: Path) -> tuple[dict[str, set[int]], str]:
    """Find the groups of a cohort of which a checkpoint saw an image, or a version of one.

    What it was made from counts too: see `busi.runs.ancestry`.

    Args:
        checkpoint: Of a model.
        cohort: Whose images are asked about.
        cache_dir: Where what was found is kept.

    Returns:
        Groups of which it saw something in ``train`` and in ``val``; and what cannot be known, as a sentence,
        empty if all is known.
    """
    models = ancestry(checkpoint.metadata)
    seen = {split: {name for one in models for name in one[split]} for split in SEEN}
    of_images, missing = [{content.pixel_hash} for content in cohort.contents], ""
    # Of those that were made on the same data, the groups say it.
    if others := [one for one in models if one["data"] != cohort.data_fingerprint]:
        known, images = read_models(others, checkpoint.path, cache_dir), (cohort.records, cohort.contents)
        there = recognize(images, (known.records, known.contents), known.hashes, cache_dir)
        of_images = [own | more for own, more in zip(of_images, there.seen, strict=True)]
        missing = describe_missing(there.missing, len(known.hashes))
    pairs = list(zip(of_images, cohort.groups.tolist(), strict=True))
    return {split: {group for of, group in pairs if of & names} for split, names in seen.items()}, missing
