"""Checkpoints: the metadata that says what one was made of, and networks rebuilt from it."""

import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.fabric.utilities.types import _PATH
from lightning.pytorch.plugins.io import TorchCheckpointIO
from omegaconf import DictConfig, OmegaConf
from pydantic import ConfigDict
from torch import Tensor

from busi.core import CLASSES, InputError, keep_freed_memory, to_plain, write_whole
from busi.data import Cohort
from busi.models import Classifier, Normalized, Postprocess, Segmenter, build_network, forget_weights
from busi.runs.packed import holds_folder
from busi.runs.run import BEST, Run
from busi.runs.stored import MetadataSettings, Stored, check_stored, parse_config

OF_RUN = ("stage", "data", "split", "fold")
"""What a checkpoint and the provenance of its run both say."""

Metadata = dict[str, Any]
"""Plain values only, so that a checkpoint loads as data.

``stage``, ``config`` (YAML), ``data`` and ``split`` (fingerprints), ``fold``, ``train`` and ``val``
(pixel hashes of the images that were trained and validated on), ``upstream`` (metadata of the
segmentation checkpoint that a classifier carries, or None), ``start`` (metadata of what the run started
from: one checkpoint, or those of all members of an ensemble), ``encoder_files`` (files of others that its
encoder started from), ``postprocess`` (of a segmentation model).
"""


class CheckpointContent(Stored):
    """A checkpoint file."""

    model_config = ConfigDict(strict=True, extra="allow", arbitrary_types_allowed=True)

    busi: MetadataSettings
    state_dict: dict[str, Tensor]
    epoch: int
    global_step: int


def make_metadata(
    cfg: DictConfig,
    cohort: Cohort,
    upstream: Metadata | None,
    postprocess: Postprocess | None,
    start: Sequence[Metadata] = (),
    encoder_files: Sequence[str] = (),
) -> Metadata:
    """Say what a run's checkpoint is made of; see `Metadata`."""
    hashes = {
        split: [cohort.contents[i].pixel_hash for i in cohort.indices(split)] for split in ("train", "val")
    }
    return {
        "stage": cfg.stage,
        "config": OmegaConf.to_yaml(cfg, resolve=True),
        "data": cohort.data_fingerprint,
        "split": cohort.split_fingerprint,
        "fold": cfg.data.fold,
        **hashes,
        "upstream": upstream,
        "start": list(start),
        "encoder_files": list(encoder_files),
        "postprocess": postprocess and asdict(postprocess),
    }


def ancestry(metadata: Metadata) -> list[Metadata]:
    """A model and all that its weights come from.

    These are the segmentation model whose masks guided it, the run that it started from, and theirs.
    """
    behind = [metadata.get("upstream"), *metadata.get("start", [])]
    return [metadata, *(one for near in behind if near for one in ancestry(near))]


def postprocess_of(metadata: Metadata) -> Postprocess:
    """What makes a mask of a segmentation model's map.

    Raises:
        InputError: If that is missing.
    """
    if not metadata["postprocess"]:
        raise InputError("the checkpoint does not say what makes a mask (postprocess): give another")
    return Postprocess(**metadata["postprocess"])


def write_postprocess(path: Path, postprocess: Postprocess) -> None:
    """Store in a checkpoint what makes a mask of its maps."""
    _change(path, "busi", "postprocess", asdict(postprocess))


def write_logit_scale(path: Path, scale: Tensor) -> None:
    """Store in the checkpoint of a classifier what its logits are multiplied by, a number."""
    _change(path, "state_dict", "logit_scale", scale.cpu())


def _change(path: Path, part: str, name: str, value: object) -> None:
    content = torch.load(path, map_location="cpu", weights_only=True)
    if content[part].get(name) != value:
        content[part][name] = value
        WholeCheckpointIO().save_checkpoint(content, path)


class MetadataCallback(lightning.Callback):
    """Writes the metadata into every checkpoint."""

    def __init__(self, metadata: Metadata) -> None:
        self.metadata = metadata

    def on_save_checkpoint(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Add the metadata."""
        del trainer, pl_module
        checkpoint["busi"] = self.metadata


class WholeCheckpointIO(TorchCheckpointIO):
    """Writes checkpoints whole or not at all.

    Lightning writes them to the system's temporary folder, and copies from there if that is another disk:
    a full disk or a kill then leaves half a checkpoint.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: _PATH, storage_options: Any = None) -> None:
        """Save a checkpoint."""
        del storage_options
        buffer = io.BytesIO()  # straight to a file, torch would hide what the operating system says
        torch.save(checkpoint, buffer)
        write_whole(Path(path), lambda part: part.write_bytes(buffer.getbuffer()))


def remove_parts(folder: Path) -> None:
    """Delete what a killed process left of checkpoints in a folder that nobody writes to."""
    for part in folder.glob(".*.ckpt"):
        part.unlink()


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint file as data.

    Attributes:
        path: The file.
        metadata: What it was made of.
        weights: State of the whole Lightning module.
        epoch: After which it was written, counted from 0.
        step: Optimizer steps until then.
    """

    path: Path
    metadata: Metadata
    weights: dict[str, Tensor]
    epoch: int
    step: int

    @property
    def config(self) -> DictConfig:
        """The composed config of the run that wrote it."""
        return parse_config(self.metadata["config"], self.path)

    def part(self, prefix: str) -> dict[str, Tensor]:
        """State of one part of the module, e.g. ``network.``."""
        return {name[len(prefix) :]: x for name, x in self.weights.items() if name.startswith(prefix)}


def read_checkpoint(path: Path) -> Checkpoint:
    """Load a checkpoint as data: nothing in it is executed.

    Raises:
        InputError: If the file is missing, damaged, or was not written by this project, or a value in it is
            of another type or out of range.
    """
    if not path.is_file():
        raise InputError(f"no checkpoint at {path}")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever the unpickler finds in a damaged file
        if holds_folder(path):
            raise InputError(f"{path} is a packed folder: unpack it, and give the folder") from error
        raise InputError(
            f"{path} is damaged or no checkpoint ({type(error).__name__}): give another"
        ) from error
    if not isinstance(content, dict) or "busi" not in content:
        raise InputError(f"{path} is not a checkpoint of busi: give one that `python -m busi.train` wrote")
    check_stored(CheckpointContent, content, path)
    checkpoint = Checkpoint(
        path, content["busi"], content["state_dict"], content["epoch"], content["global_step"]
    )
    for metadata in ancestry(checkpoint.metadata):
        if parse_config(metadata["config"], path).stage != metadata["stage"]:
            raise InputError(f"{path} is damaged (its config is of another stage): give another")
    return checkpoint


def read_best(run: Run) -> Checkpoint:
    """Load the checkpoint that a finished run is known by.

    Raises:
        InputError: If it is missing, damaged, or not the one that the run wrote.
    """
    checkpoint = read_checkpoint(run.file(BEST))
    if other := [name for name in OF_RUN if checkpoint.metadata[name] != run.provenance[name]]:
        raise InputError(
            f"{checkpoint.path} is of another run: its {' and '.join(other)} differ from those in "
            "provenance.json. Put the right one back"
        )
    return checkpoint


def load_network(checkpoint: Checkpoint) -> Normalized:
    """Rebuild a trained network from its checkpoint alone, in evaluation mode."""
    return _rebuild(checkpoint, checkpoint.config, "network.")


def load_classifier(checkpoint: Checkpoint) -> Classifier:
    """Rebuild a trained classifier from its checkpoint alone, in evaluation mode."""
    correction = checkpoint.weights.get("logit_correction")
    scale = checkpoint.weights.get("logit_scale", torch.ones(()))  # earlier versions had none
    if correction is None or correction.shape != (len(CLASSES),) or scale.shape != ():
        raise InputError(f"{checkpoint.path} is damaged (logit_correction or logit_scale): give another")
    return Classifier(load_network(checkpoint), correction, scale).eval()


def load_segmenter(checkpoint: Checkpoint) -> Segmenter | None:
    """Rebuild the segmentation model of a checkpoint, or of a classifier that has one, in evaluation mode.

    Raises:
        InputError: If a classification run lacks the one that guided it.
    """
    if checkpoint.metadata["stage"] == "seg":
        return Segmenter(load_network(checkpoint), checkpoint.config.image_size)
    if (upstream := checkpoint.metadata["upstream"]) is None:
        if (guide := checkpoint.config.guide.name) in ("empty", "ground_truth"):
            return None
        raise InputError(f"{checkpoint.path} lacks the segmentation model of guide={guide}: give another")
    config = parse_config(upstream["config"], checkpoint.path)
    return Segmenter(_rebuild(checkpoint, config, "segmenter."), config.image_size)


def _rebuild(checkpoint: Checkpoint, config: DictConfig, prefix: str) -> Normalized:
    keep_freed_memory()  # whoever rebuilds a network predicts with it
    try:
        network = build_network(forget_weights(to_plain(config.model)))
        network.load_state_dict(checkpoint.part(prefix))
    except InputError as error:
        raise InputError(f"{checkpoint.path}: {error}") from error
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1].strip()
        raise InputError(f"{checkpoint.path} does not fit its own config ({reason}): give another") from error
    return network.eval()
