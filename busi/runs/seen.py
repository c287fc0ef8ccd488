"""The images that a model has seen, as far as their files are still where they were."""

from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig

from busi.core import InputError, Record
from busi.data import read_contents
from busi.runs.checkpoints import Checkpoint, Metadata, ancestry
from busi.runs.predictions import list_records
from busi.runs.seen_images import SeenImages
from busi.runs.stored import parse_config

SEEN = ("train", "val")
"""Splits of which a model has seen the images: they trained or chose it."""


def read_seen(checkpoint: Checkpoint, cache_dir: Path) -> SeenImages:
    """Find the images that a model has seen; see `seen_hashes` and `read_models`."""
    return read_models(ancestry(checkpoint.metadata), checkpoint.path, cache_dir)


def read_models(models: Sequence[Metadata], path: Path, cache_dir: Path) -> SeenImages:
    """Find the images that trained or validated any of some models.

    Args:
        models: What is known of them.
        path: Where that stands, for errors.
        cache_dir: Where decoded data is kept.
    """
    by_data = {one["data"]: one for one in reversed(models)}
    records: list[Record] = []
    for metadata in by_data.values():
        try:
            records += list_records(parse_config(metadata["config"], path).data)
        except InputError:  # it is not there any more, or read by a package that is not trusted
            continue
    records, contents, _ = read_contents((records, []), cache_dir)
    return SeenImages(_hashes(models), records, contents)


def seen_hashes(checkpoint: Checkpoint) -> set[str]:
    """Pixel hashes of the images that trained or validated a model, or one that its weights come from."""
    return _hashes(ancestry(checkpoint.metadata))


def name_earlier_data(checkpoint: Checkpoint) -> list[str]:
    """Names of the data sets that the models behind a model have seen, without those of its own run."""
    own = _name_data(checkpoint.config)
    behind = (parse_config(one["config"], checkpoint.path) for one in ancestry(checkpoint.metadata)[1:])
    names = dict.fromkeys(name for config in behind for name in _name_data(config))
    return [name for name in names if name not in own]


def describe_unknown(checkpoint: Checkpoint) -> str:
    """What cannot be known of the images that a model has seen, as a sentence; empty if all is known."""
    files = sum(len(one.get("encoder_files", [])) for one in ancestry(checkpoint.metadata))
    if not files:
        return ""
    return (
        "Its encoder started from weights of others (encoder_weights=FILE). Nobody knows which images these "
        "have seen, so some may be among these images."
    )


def _hashes(models: Sequence[Metadata]) -> set[str]:
    return {name for one in models for split in SEEN for name in one[split]}


def _name_data(config: DictConfig) -> list[str]:
    return list(map(str, config.data.sources or [config.data.name]))
