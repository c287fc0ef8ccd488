"""The images that a model has seen, as far as their files are still where they were."""

from pathlib import Path

from busi.core import InputError, Record
from busi.data import read_contents
from busi.runs.checkpoints import Checkpoint
from busi.runs.predictions import list_records
from busi.runs.seen_images import SeenImages
from busi.runs.stored import parse_config

SEEN = ("train", "val")
"""Splits of which a model has seen the images: they trained or chose it."""


def read_seen(checkpoint: Checkpoint, cache_dir: Path) -> SeenImages:
    """Find the images that trained or validated a model, or the segmentation model inside it.

    Args:
        checkpoint: Of the model.
        cache_dir: Where decoded data is kept.
    """
    models = {one["data"]: one for one in (checkpoint.metadata["upstream"], checkpoint.metadata) if one}
    records: list[Record] = []
    for metadata in models.values():
        try:
            records += list_records(parse_config(metadata["config"], checkpoint.path).data)
        except InputError:  # it is not there any more, or read by a package that is not trusted
            continue
    records, contents, _ = read_contents((records, []), cache_dir)
    return SeenImages(seen_hashes(checkpoint), records, contents)


def seen_hashes(checkpoint: Checkpoint) -> set[str]:
    """Pixel hashes of the images that trained or validated a model, or the segmentation model inside it."""
    models = [one for one in (checkpoint.metadata, checkpoint.metadata["upstream"]) if one]
    return {name for one in models for split in SEEN for name in one[split]}
