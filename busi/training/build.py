"""What a config builds before anything is written: data, network, module, trainer."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig
from timm.layers.norm_act import convert_sync_batchnorm

from busi.data import BUSIDataModule
from busi.models import load_encoder_weights
from busi.modules import StageModule
from busi.runs import CardCallback, Checkpoint, WholeCheckpointIO, build_network, make_card
from busi.training.callbacks import SeedEpochs, StopOnSignal
from busi.training.distributed import environment, part


@dataclass(frozen=True)
class Parts:
    """What a run is made from.

    Attributes:
        data: Whole, decoded and cached.
        extras: What else the module needs.
        parent: The checkpoint that it builds on, if any.
        guided_by: Id -> run folder behind its guide, where these differ.
    """

    data: BUSIDataModule
    extras: dict[str, Any]
    parent: Checkpoint | None
    guided_by: dict[str, Path]


def prepare(cfg: DictConfig) -> Parts:
    """Read the data of a config, and find the runs that it builds on."""
    lightning.seed_everything(cfg.seed, workers=True, verbose=False)
    data: BUSIDataModule = instantiate(cfg.data)
    started = environment()
    data.rank, data.world_size = started.global_rank(), started.world_size()
    extras: dict[str, Any] = instantiate(cfg.prepare)(cfg, data) if "prepare" in cfg else {}
    return Parts(data, extras, extras.pop("parent", None), extras.pop("guided_by", {}))


def build(cfg: DictConfig, parts: Parts, last: Checkpoint | None) -> tuple[StageModule, lightning.Trainer]:
    """Build the module and its trainer.

    Args:
        cfg: Resolved.
        parts: Made from the same config.
        last: The checkpoint to go on from, if any.
    """
    data, started = parts.data, environment()
    # Again: making guides draws random numbers, and reading them from the cache does not.
    lightning.seed_everything(cfg.seed, workers=True, verbose=False)
    network = build_network(cfg.model)
    if last is None:
        load_encoder_weights(network, cfg.encoder, cfg.encoder_weights, parts.extras.get("segmenter"))
    else:
        data.first_epoch = last.epoch + 1
    if started.world_size() > 1 and cfg.trainer.accelerator != "cpu" and torch.cuda.is_available():
        # Not Lightning's sync_batchnorm: it drops the activations that timm's layers contain.
        network = convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]
    module: StageModule = instantiate(cfg.module, network=network, **parts.extras)
    module.configure_optimizers()
    data.prepare_data()
    card = CardCallback(make_card(cfg, data.cohort, parts.parent.card if parts.parent else None))
    callbacks = [card, SeedEpochs(cfg.seed), StopOnSignal()]
    callbacks += [instantiate(node) for node in cfg.callbacks.values()]
    loggers = [instantiate(node) for node in cfg.logger.values()]
    # The data module shards by itself, without the repeats of Lightning's sampler.
    trainer: lightning.Trainer = instantiate(
        cfg.trainer,
        callbacks=callbacks,
        logger=loggers,
        plugins=[started, WholeCheckpointIO()],
        use_distributed_sampler=False,
    )
    return module, trainer


def train(
    module: StageModule, trainer: lightning.Trainer, data: BUSIDataModule, last: Checkpoint | None
) -> None:
    """Train on all ranks, which part afterwards."""
    trainer.fit(module, datamodule=data, ckpt_path=last.path if last else None, weights_only=True)
    part()
