"""An image as it was predicted, and its predicted mask; what is gone or has changed since is refused."""

import contextlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, UInt8

from busi.core import InputError, file_hash, printable
from busi.data import Spacing, read_nth, read_one, to_lesion
from busi.review.queue import Prediction

AGAIN = "predict again into a new folder, and review that"


class Original(NamedTuple):
    """An image, and what was predicted.

    Attributes:
        gray: The image, as the model saw it.
        spacing: Of its pixels; None where the file does not say.
        mask: The predicted mask.
    """

    gray: UInt8[np.ndarray, "h w"]
    spacing: Spacing | None
    mask: Bool[np.ndarray, "h w"]


def read_original(folder: Path, row: Prediction) -> Original:
    """Read an image and its predicted mask.

    Args:
        folder: Of the prediction.
        row: Of the image.

    Raises:
        InputError: If one of them is gone, cannot be read, or has changed since the prediction.
    """
    path = find_file(row.file)
    check_unchanged(path, row.sha256, "image")
    frame = read_nth(path, row.number or 1)
    if frame is None:
        raise InputError(f"{path} has no image {row.number}: {AGAIN}")
    mask_path = folder / "masks" / f"{row.id}.png"
    check_unchanged(mask_path, row.written.masks, "predicted mask")
    mask = read_one(mask_path, to_lesion)
    if mask.shape != frame.gray.shape:
        raise InputError(f"the predicted mask {mask_path} has another size than its image: {AGAIN}")
    return Original(frame.gray, frame.spacing, mask)


def check_unchanged(path: Path, digest: str, what: str) -> None:
    """Raise `InputError` unless a file is there and has this fingerprint, of 16 digits."""
    try:
        found = file_hash(path)
    except OSError as error:
        gone = isinstance(error, FileNotFoundError)
        reason = "is gone: put it back" if gone else f"cannot be read ({error.strerror}): mend that"
        raise InputError(f"the {what} {path} {reason}, or {AGAIN}") from error
    if found[:16] != digest:
        raise InputError(f"the {what} {path} has changed since it was predicted: {AGAIN}")


def find_file(text: str) -> Path:
    """The file that a table names, also where its name cannot be printed as it is."""
    path = Path(text)
    with contextlib.suppress(OSError):  # said by whoever opens it
        if not path.exists():
            below = find_file(str(path.parent)).iterdir()
            return next((one for one in below if printable(str(one)) == text), path)
    return path
