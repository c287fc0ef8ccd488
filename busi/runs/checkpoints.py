"""Checkpoints: the card that says what one was made of, and networks rebuilt from it."""

import io
import pickle
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import hydra
import lightning
import torch
from jaxtyping import Float
from lightning.fabric.utilities.types import _PATH
from lightning.pytorch.plugins.io import TorchCheckpointIO
from omegaconf import DictConfig, ListConfig, OmegaConf
from torch import Tensor, nn

from busi.core import InputError, write_whole
from busi.data import Cohort
from busi.models import FIELDS, MaskRule, Normalized

Card = dict[str, Any]
"""Plain values only, so that a checkpoint loads as data.

``stage``, ``config`` (YAML), ``data`` and ``split`` (fingerprints), ``fold``, ``train`` and ``val``
(pixel hashes of the pictures that were trained and validated on), ``parent`` (card of the
segmentation checkpoint, or None), ``mask_rule`` (of a finished segmentation run).
"""

NETWORK_PACKAGES = ("busi", "segmentation_models_pytorch", "timm", "torch")


def make_card(cfg: DictConfig, cohort: Cohort, parent: Card | None) -> Card:
    """Say what a run's checkpoint is made of."""
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
        "parent": parent,
    }


def mask_rule_of(card: Card) -> MaskRule:
    """What makes a mask of a segmentation model's map; until its run is finished, what its config fixes."""
    if rule := card.get("mask_rule"):
        return MaskRule(**rule)
    config: DictConfig = OmegaConf.create(card["config"])  # type: ignore[assignment]
    fixed = {name: config.mask_rule[name] for name in FIELDS if name in config.get("mask_rule", {})}
    return MaskRule(**{"threshold": config.module.threshold} | fixed)


def write_mask_rule(path: Path, rule: MaskRule) -> None:
    """Add to the card of a checkpoint what makes a mask of its maps."""
    content = torch.load(path, map_location="cpu", weights_only=True)
    if content["busi"].get("mask_rule") != asdict(rule):
        content["busi"]["mask_rule"] = asdict(rule)
        WholeCheckpointIO().save_checkpoint(content, path)


class CardCallback(lightning.Callback):
    """Writes the card into every checkpoint."""

    def __init__(self, card: Card) -> None:
        self.card = card

    def on_save_checkpoint(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Add the card."""
        del trainer, pl_module
        checkpoint["busi"] = self.card


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
        card: What it was made of.
        weights: State of the whole Lightning module.
        epoch: After which it was written, counted from 0.
        step: Optimiser steps until then.
    """

    path: Path
    card: Card
    weights: dict[str, Tensor]
    epoch: int
    step: int

    @property
    def config(self) -> DictConfig:
        """The composed config of the run that wrote it."""
        return OmegaConf.create(self.card["config"])  # type: ignore[return-value]

    def part(self, prefix: str) -> dict[str, Tensor]:
        """State of one part of the module, e.g. ``network.``."""
        return {name[len(prefix) :]: x for name, x in self.weights.items() if name.startswith(prefix)}


def read_checkpoint(path: Path) -> Checkpoint:
    """Load a checkpoint as data: nothing in it is executed.

    Raises:
        InputError: If the file is missing, damaged, or was not written by this project.
    """
    if not path.is_file():
        raise InputError(f"no checkpoint at {path}")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, pickle.UnpicklingError, EOFError, OSError, KeyError) as error:
        raise InputError(
            f"{path} is damaged or no checkpoint ({type(error).__name__}): give another"
        ) from error
    if not isinstance(content, dict) or "busi" not in content:
        raise InputError(f"{path} is not a checkpoint of busi: give one that `python -m busi.train` wrote")
    return Checkpoint(path, content["busi"], content["state_dict"], content["epoch"], content["global_step"])


def build_network(model: DictConfig) -> Normalized:
    """Build a network with random weights from the config group ``model``.

    Only networks can be built, so that a config inside a checkpoint cannot call anything else.

    Raises:
        InputError: If a target is no network of a known package.
    """
    _check_targets(model.network)
    return Normalized(hydra.utils.instantiate(model.network), model.get("mirror", False))


def load_network(checkpoint: Checkpoint) -> Normalized:
    """Rebuild a trained network from its checkpoint alone, in evaluation mode."""
    network = build_network(checkpoint.config.model)
    network.load_state_dict(checkpoint.part("network."))
    return network.eval()


class Classifier(nn.Module):
    """A trained classifier: picture and guide (b, 1, s, s) -> logits (b, 3) under the prior of its data."""

    correction: Tensor

    def __init__(self, network: nn.Module, correction: Tensor) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("correction", correction)

    def forward(
        self, image: Float[Tensor, "b 1 s s"], guide: Float[Tensor, "b 1 s s"]
    ) -> Float[Tensor, "b 3"]:
        """Logits."""
        logits: Tensor = self.network(image, guide) + self.correction
        return logits


def load_classifier(checkpoint: Checkpoint) -> Classifier:
    """Rebuild a trained classifier from its checkpoint alone, in evaluation mode."""
    return Classifier(load_network(checkpoint), checkpoint.weights["logit_correction"]).eval()


def load_segmenter(checkpoint: Checkpoint) -> tuple[Normalized, DictConfig] | None:
    """Rebuild the segmentation network that a classifier carries along; None if it has none.

    Returns:
        The network in evaluation mode, and the config of the run that trained it.
    """
    if (parent := checkpoint.card["parent"]) is None:
        return None
    config: DictConfig = OmegaConf.create(parent["config"])
    network = build_network(config.model)
    network.load_state_dict(checkpoint.part("segmenter."))
    return network.eval(), config


def _check_targets(node: Any) -> None:
    if isinstance(node, ListConfig):
        for value in node:
            _check_targets(value)
    elif isinstance(node, DictConfig):
        if (name := node.get("_target_")) is not None:
            target = hydra.utils.get_object(name)
            if not (
                isinstance(target, type)
                and issubclass(target, nn.Module)
                and target.__module__.split(".")[0] in NETWORK_PACKAGES
            ):
                raise InputError(
                    f"model.network._target_={name} is no network of {', '.join(NETWORK_PACKAGES)}"
                )
        for value in node.values():
            _check_targets(value)
