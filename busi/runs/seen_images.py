"""What is known of the images that a model has seen."""

from typing import NamedTuple

from busi.core import Record
from busi.data import Content


class SeenImages(NamedTuple):
    """What is known of the images that a model, or the segmentation model inside it, has seen.

    Attributes:
        hashes: Their pixel hashes.
        records: The data sets that they are from, as far as these are at hand.
        contents: The contents of these.
    """

    hashes: set[str]
    records: list[Record]
    contents: list[Content]


def describe_missing(missing: int, total: int) -> str:
    """What it means that the files of some images that a model has seen are gone; empty if none is."""
    if not missing:
        return ""
    return (
        f"{missing} of the {total} images that it has seen were not found (they are looked for where they "
        "were, or by the environment variable of their data set, e.g. BUSI_ROOT): of these only identical "
        "ones are recognized, so near-duplicates and altered versions of them may be among these images."
    )
