"""What a config builds before anything is written: data, module, trainer."""

import logging
import warnings
from collections.abc import Mapping
from typing import Any

import lightning
import torch
from omegaconf import DictConfig
from timm.layers.norm_act import convert_sync_batchnorm

from busi.core import InputError, collect_within, construct, keep_freed_memory, remember
from busi.data import BUSIDataModule
from busi.guides import Guide
from busi.models import Normalized, Postprocess, build_network, load_encoder_weights
from busi.modules import StageModule
from busi.runs import Checkpoint, MetadataCallback, WholeCheckpointIO, load_network, make_metadata
from busi.training.callbacks import SeedEpochs, StopOnSignal
from busi.training.checks import check_loss, check_monitors
from busi.training.distributed import environment, find_device, teardown
from busi.training.first_step import try_step
from busi.training.progress import TimeLeft
from busi.training.starting import load_start, start_metadata

log = logging.getLogger(__name__)

# The CPU was asked for, or the GPU is that of a Mac; see `find_device`.
warnings.filterwarnings("ignore", "GPU available but not used")


def prepare(cfg: DictConfig) -> tuple[BUSIDataModule, Guide]:
    """Read the data of a config, find the runs that it builds on, and make its guides."""
    keep_freed_memory()
    lightning.seed_everything(cfg.seed, workers=True, verbose=False)
    guide: Guide = construct(cfg.guide, "guide") if "guide" in cfg else Guide()
    guide.device = find_device(cfg.trainer)
    data: BUSIDataModule = construct(cfg.data, "data", guide=guide)
    _ = data.cohort  # wrong data ends here, before networks are built
    guide.find(data)
    if guide.upstream is not None:
        check_upstream(cfg, guide.upstream)
    data.setup()
    return data, guide


def check_upstream(cfg: DictConfig, upstream: Checkpoint) -> None:
    """Raise `InputError` if a classifier cannot start from the encoder of its segmentation model.

    Warns if the sizes of both are such that nothing can be predicted with them.
    """
    theirs = upstream.config
    if cfg.encoder_weights == "segmenter" and cfg.encoder not in theirs.encoder.split(" and "):
        raise InputError(
            f"encoder_weights=segmenter: {upstream.path} has encoder={theirs.encoder}. Give the same here, "
            "or encoder_weights=packaged, imagenet or none"
        )
    if cfg.image_size % theirs.image_size:
        log.warning(
            "image_size=%d is no multiple of the %d px of the segmentation model: the run will be scored, "
            "but busi.predict, busi.export and busi.demo will refuse it",
            cfg.image_size,
            theirs.image_size,
        )


def build_module(
    cfg: DictConfig,
    segmenter: Normalized | None = None,
    balance: Mapping[str, Any] | None = None,
    pretrained: bool = False,
    start: Checkpoint | None = None,
) -> StageModule:
    """Build the module of a config with the weights that its seed draws.

    Args:
        cfg: Of a run.
        segmenter: The segmentation network that a classifier carries along, if any.
        balance: What a classifier must know of its data; see `BUSIDataModule.class_balance`.
        pretrained: Begin with the encoder weights that the config asks for.
        start: Begin with the network of this run.
    """
    # Making guides draws random numbers, and reading them from the cache does not.
    lightning.seed_everything(cfg.seed, workers=True, verbose=False)
    network = build_network(cfg.model)
    if start is not None:
        load_start(network, cfg, start)
    elif pretrained:
        load_encoder_weights(network, cfg.encoder, cfg.encoder_weights, segmenter)
    if environment().world_size() > 1 and cfg.trainer.accelerator != "cpu" and torch.cuda.is_available():
        # Not Lightning's sync_batchnorm: it drops the activations that timm's layers contain.
        network = convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]
    parts: dict[str, Any] = {
        name: remember(construct(cfg[name], name), cfg[name]) for name in ("loss", "optimizer", "scheduler")
    }
    if segmenter is not None:
        parts["segmenter"] = segmenter
    module: StageModule = construct(cfg.module, "module", network=network, **parts, **(balance or {}))
    return module


def build(
    cfg: DictConfig,
    data: BUSIDataModule,
    guide: Guide,
    last: Checkpoint | None,
    start: Checkpoint | None = None,
) -> tuple[StageModule, lightning.Trainer]:
    """Build the module and its trainer.

    Args:
        cfg: Resolved.
        data: See `prepare`.
        guide: See `prepare`.
        last: The checkpoint to go on from, if any.
        start: The run whose weights it begins with, if any.
    """
    upstream = guide.upstream
    segmenter = load_network(upstream) if upstream else None
    balance = data.class_balance() if "guide" in cfg else None
    module = build_module(cfg, segmenter, balance, last is None, start)
    sizes = [(x.numel(), x.requires_grad) for x in module.parameters()]
    frozen = sum(size for size, trained in sizes if not trained)
    log.info(
        "%s weights are trained%s",
        f"{sum(size for size, trained in sizes if trained):,}",
        f", {frozen:,} of the segmentation network stay as they are" if frozen else "",
    )
    check_loss(cfg, module)
    module.check_data(data)
    module.configure_optimizers()  # wrong settings fail here, before the folder is begun
    data.prepare_data()
    check_monitors(cfg, module)
    try_step(cfg, module, data, environment().world_size())
    # Until the run is finished, and the validation fold may have tuned it.
    postprocess: Postprocess | None = (
        construct(cfg.postprocess, "postprocess")([]) if "postprocess" in cfg else None
    )
    behind = start_metadata(cfg, start, last)
    behind["start"] += [one for one in guide.behind if one not in behind["start"]]
    metadata = make_metadata(cfg, data.cohort, upstream.metadata if upstream else None, postprocess, **behind)
    callbacks = [MetadataCallback(metadata), SeedEpochs(cfg.seed), StopOnSignal(), TimeLeft()]
    callbacks += [construct(node, "callbacks") for node in cfg.callbacks.values()]
    # The data module shards by itself, without the repeats of Lightning's sampler.
    trainer: lightning.Trainer = construct(
        cfg.trainer,
        "trainer",
        accelerator=find_device(cfg.trainer).type,
        callbacks=callbacks,
        logger=[construct(node, "logger") for node in cfg.logger.values()],
        plugins=[environment(), WholeCheckpointIO()],
        use_distributed_sampler=False,
        # Lightning's table would count layers in evaluation mode, and operations that it does not know as 0.
        **({} if "enable_model_summary" in cfg.trainer else {"enable_model_summary": False}),
    )
    return module, trainer


def train(
    module: StageModule, trainer: lightning.Trainer, data: BUSIDataModule, last: Checkpoint | None
) -> None:
    """Train on all ranks, and end the connection between them."""
    with collect_within():
        trainer.fit(module, datamodule=data, ckpt_path=last.path if last else None, weights_only=True)
    teardown()
