"""Test-time augmentation: what the models of both stages, and prediction, may be told to do."""

from busi.core import InputError

TTA = ("none", "flip")
"""Nothing, or the average over an image and its mirror image."""


def check_tta(tta: str, option: str) -> str:
    """Return a value of `TTA`.

    Args:
        tta: As it was given.
        option: What the user calls it.

    Raises:
        InputError: If there is no such value.
    """
    if tta not in TTA:
        raise InputError(f"{option}={tta}: give {' or '.join(TTA)}")
    return tta
