"""The leak guard: a classifier is not guided by a model that has seen the pictures that judge it."""

from busi.core import InputError
from busi.data import Cohort
from busi.runs import Card, Checkpoint


def check_same_data(checkpoint: Checkpoint, cohort: Cohort, allow_other_data: bool) -> None:
    """Raise `InputError` if a segmentation checkpoint was made on another data set."""
    if checkpoint.card["stage"] != "seg":
        raise InputError(
            f"{checkpoint.path} is of stage {checkpoint.card['stage']}: seg_ckpt needs one of stage=seg"
        )
    if checkpoint.card["data"] != cohort.data_fingerprint and not allow_other_data:
        raise InputError(
            f"{checkpoint.path} was made on another data set (fingerprint {checkpoint.card['data']}, this "
            f"one has {cohort.data_fingerprint}): train stage=seg on this data, or, if you mean it, add "
            "allow_other_data=true"
        )


def check_leaks(checkpoint: Checkpoint, cohort: Cohort, command: str) -> None:
    """Raise `InputError` if the checkpoint has seen a picture that chooses or judges the classifier.

    Validation and test pictures must not have trained it, test pictures must not have validated it;
    neither may a near-duplicate of one. A shared validation fold is fine. Pictures are compared by
    their pixels, near-duplicates by the groups of this cohort, whatever the checkpoint called them.

    Args:
        checkpoint: Of the segmentation model.
        cohort: Of the classifier.
        command: Makes the right checkpoint; part of the message.
    """
    leaks = {
        "in its training": find_seen(checkpoint.card, "train", cohort, ("val", "test")),
        "in its validation": find_seen(checkpoint.card, "val", cohort, ("test",)),
    }
    parts = [
        f"{len(ids)} pictures that choose or judge the classifier, or near-duplicates of them, were {where} "
        f"(e.g. {', '.join(ids[:3])})"
        for where, ids in leaks.items()
        if ids
    ]
    if parts:
        raise InputError(
            f"leak: {checkpoint.path} has seen too much. {'; '.join(parts)}. Make one with: {command}"
        )


def find_seen(card: Card, seen_in: str, cohort: Cohort, splits: tuple[str, ...]) -> list[str]:
    """Ids of the pictures of `splits` of which a checkpoint saw the picture itself or a near-duplicate.

    Args:
        card: Of the checkpoint.
        seen_in: ``train`` or ``val``.
        cohort: Whose pictures are asked about.
        splits: Which of them.
    """
    groups = find_seen_groups(card, seen_in, cohort)
    return [cohort.records[i].id for i in cohort.indices(*splits) if int(cohort.groups[i]) in groups]


def find_seen_groups(card: Card, seen_in: str, cohort: Cohort) -> set[int]:
    """Groups of near-duplicates of which a checkpoint saw a picture, in ``train`` or ``val``."""
    seen = set(card[seen_in])
    return {
        int(group)
        for content, group in zip(cohort.contents, cohort.groups, strict=True)
        if content.pixel_hash in seen
    }
