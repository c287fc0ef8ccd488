"""The leak guard: what guides a classifier must not have seen its validation or test images."""

from busi.core import InputError
from busi.data import Cohort
from busi.runs import Checkpoint, Metadata


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


def check_leaks(checkpoint: Checkpoint, cohort: Cohort, command: str) -> None:
    """Raise `InputError` if the checkpoint has seen a validation or test image of the classifier.

    Validation and test images must not have trained it, test images must not have validated it;
    neither may a near-duplicate of one. A shared validation fold is fine. Images are compared by
    their pixels, near-duplicates by the groups of this cohort, whatever their names there.

    Args:
        checkpoint: Of the segmentation model.
        cohort: Of the classifier.
        command: Makes the right checkpoint; part of the message.
    """
    leaks = {
        "in its training": find_seen(checkpoint.metadata, "train", cohort, ("val", "test")),
        "in its validation": find_seen(checkpoint.metadata, "val", cohort, ("test",)),
    }
    parts = [
        f"{len(ids)} images that validate or test the classifier, or near-duplicates of them, were {where} "
        f"(e.g. {', '.join(ids[:3])})"
        for where, ids in leaks.items()
        if ids
    ]
    if parts:
        raise InputError(
            f"leak: {checkpoint.path} has seen too much. {'; '.join(parts)}. Make one with: {command}"
        )


def find_seen(metadata: Metadata, seen_in: str, cohort: Cohort, splits: tuple[str, ...]) -> list[str]:
    """Ids of the images of `splits` of which a checkpoint saw the image itself or a near-duplicate.

    Args:
        metadata: Of the checkpoint.
        seen_in: ``train`` or ``val``.
        cohort: Whose images are asked about.
        splits: Which of them.
    """
    groups = find_seen_groups(metadata, seen_in, cohort)
    return [cohort.records[i].id for i in cohort.indices(*splits) if int(cohort.groups[i]) in groups]


def find_seen_groups(metadata: Metadata, seen_in: str, cohort: Cohort) -> set[int]:
    """Groups of near-duplicates of which a checkpoint saw an image, in ``train`` or ``val``."""
    seen = set(metadata[seen_in])
    return {
        int(group)
        for content, group in zip(cohort.contents, cohort.groups, strict=True)
        if content.pixel_hash in seen
    }
