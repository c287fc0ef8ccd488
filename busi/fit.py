"""One run, from a composed config to a finished run folder; knows nothing of Hydra's globals."""

import logging
import time
import warnings
from pathlib import Path
from typing import Any

import lightning
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from busi.checkpoints import CardCallback, Checkpoint, build_network, make_card, read_checkpoint
from busi.data.datamodule import BUSIDataModule
from busi.models.encoders import load_encoder_weights
from busi.modules.base import StageModule
from busi.runs import Run, start_run
from busi.scoring import Metrics
from busi.types import InputError

log = logging.getLogger(__name__)

# The segmentation network inside the classifier is frozen in evaluation mode on purpose.
warnings.filterwarnings("ignore", "Found .* in eval mode at the start of training")
# Lightning 2.6 calls what torch 2.15 deprecates.
warnings.filterwarnings("ignore", "`isinstance\\(treespec, LeafSpec\\)` is deprecated")
# On the CPU in small data sets the loader is no bottleneck; a GPU has trainer=gpu.
warnings.filterwarnings("ignore", "The '.*_dataloader' does not have many workers")


def fit(cfg: DictConfig, folder: Path) -> Run:
    """Train, choose the best epoch on the validation fold, and score.

    Args:
        cfg: Composed from ``conf/``.
        folder: The run folder; must not hold a run.

    Returns:
        The finished run.

    Raises:
        InputError: If something that the user gave is wrong.
    """
    began = time.monotonic()
    cfg = resolve(cfg, folder)
    check(cfg)
    lightning.seed_everything(cfg.seed, workers=True, verbose=False)
    data: BUSIDataModule = instantiate(cfg.data)
    # What can be wrong with the input is found here, before anything is written.
    extras: dict[str, Any] = instantiate(cfg.prepare)(cfg, data) if "prepare" in cfg else {}
    parent: Checkpoint | None = extras.pop("parent", None)
    network = build_network(cfg.model)
    load_encoder_weights(network, cfg.encoder, cfg.encoder_weights)
    module: StageModule = instantiate(cfg.module, network=network, **extras)
    data.prepare_data()
    callbacks = [CardCallback(make_card(cfg, data.cohort, parent.card if parent else None))]
    callbacks += [instantiate(node) for node in cfg.callbacks.values()]
    loggers = [instantiate(node) for node in cfg.logger.values()]
    trainer: lightning.Trainer = instantiate(cfg.trainer, callbacks=callbacks, logger=loggers)

    run = start_run(folder, cfg, data.cohort, {"seg_ckpt": str(parent.path.resolve())} if parent else {})
    trainer.fit(module, datamodule=data)
    best = read_checkpoint(run.best_checkpoint)
    module.load_state_dict(best.weights)
    device = trainer.strategy.root_device
    metrics: Metrics = instantiate(cfg.score)(cfg, module.to(device), data, folder)
    seconds = round(time.monotonic() - began, 1)
    monitored = float(trainer.checkpoint_callback.best_model_score)  # type: ignore[union-attr]
    run = run.finish(metrics, epoch=best.epoch, monitored=monitored, seconds=seconds, device=str(device))
    log_summary(run, metrics)
    return run


def log_summary(run: Run, metrics: Metrics) -> None:
    """Log the test metrics with their intervals, and where everything is."""
    for name, value in metrics.items():
        low, high = metrics.get(f"{name}_low"), metrics.get(f"{name}_high")
        if name.startswith("test/") and value is not None and low is not None and high is not None:
            log.info("%-26s %7.3f   95 %% interval %.3f to %.3f", name, value, low, high)
    if run.provenance["guide"]:
        log.info("%-26s %s", "guide", run.provenance["guide"])
    log.info("Finished in %.0f s: %s", run.provenance["seconds"], run.folder)


def resolve(cfg: DictConfig, folder: Path) -> DictConfig:
    """Fill in the run folder and replace every interpolation by its value."""
    merged = OmegaConf.merge(cfg, {"run_dir": str(folder)})
    return OmegaConf.create(OmegaConf.to_container(merged, resolve=True))  # type: ignore[return-value]


def check(cfg: DictConfig) -> None:
    """Raise `InputError` for combinations that cannot work, before anything is built."""
    if cfg.model.stage != cfg.stage:
        raise InputError(
            f"this model is for stage={cfg.model.stage}, not stage={cfg.stage}: "
            "`python -m busi.train --help` lists the models, `stage=seg` and `stage=cls` choose fitting ones"
        )
    epochs = cfg.trainer.max_epochs
    if not isinstance(epochs, int) or epochs < 1:
        raise InputError(f"trainer.max_epochs={epochs}: give a whole number, at least 1")
