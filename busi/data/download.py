"""BUSI from Kaggle, checked against the published pixels."""

import logging
from pathlib import Path

from busi.core import InputError
from busi.data.records import how_to_get_data

log = logging.getLogger(__name__)

HANDLE = "aryashah2k/breast-ultrasound-images-dataset/versions/1"
"""The release that busi was built on; a fixed version, so that everyone has the same images."""
FINGERPRINT = "2a3beed671f08fca"
"""Data fingerprint of its 780 images: ids, labels, pixels and masks."""


def download_busi() -> Path:
    """Download BUSI, unless kagglehub has it already, and return its folder.

    Raises:
        InputError: If kagglehub is not installed, or Kaggle cannot be reached.
    """
    try:
        import kagglehub
    except ImportError:
        raise InputError(
            "data.download=true needs kagglehub: pip install 'kagglehub>=1'. Or, by hand: "
            f"{how_to_get_data()}"
        ) from None
    log.info("Getting BUSI from Kaggle: %s", HANDLE)
    try:
        folder = Path(kagglehub.dataset_download(HANDLE))
    except (OSError, ValueError) as error:
        raise InputError(
            f"Kaggle cannot be reached ({type(error).__name__}). Where it can, this command stores BUSI in "
            f"kagglehub's cache; or, by hand: {how_to_get_data()}"
        ) from error
    inner = [path.parent for path in sorted(folder.rglob("benign")) if path.is_dir()]
    if not inner:
        raise InputError(f"{folder} has no folder 'benign': delete it, so that it is downloaded again")
    log.info("BUSI, Kaggle version %s, is in %s", HANDLE.rsplit("/", 1)[1], inner[0])
    return inner[0]


def check_published(fingerprint: str, root: Path) -> None:
    """Raise `InputError` unless the images are those that were published."""
    if fingerprint != FINGERPRINT:
        raise InputError(
            f"{root} is not BUSI as it was published (fingerprint {fingerprint}, not {FINGERPRINT}): delete "
            "it and download again, or go on with it as it is by data.root= and without data.download"
        )
    log.info("The pixels are those of BUSI as it was published")
