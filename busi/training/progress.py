"""What a training says of itself: its plan, how far it is, how long it will take, and what came of it."""

import logging
import math
import time
from datetime import timedelta
from pathlib import Path

import lightning
import torch
from lightning.pytorch.callbacks import RichProgressBar
from omegaconf import DictConfig

from busi.runs import Run
from busi.training.summary import Metrics

log = logging.getLogger(__name__)

ENCODERS = ("encoder", "encoder_name")
"""Arguments of networks that name their encoder."""
SOON = 15
"""Seconds of training after which its time can be told."""


def log_plan(cfg: DictConfig, folder: Path) -> None:
    """Log what a run is going to do, before anything takes long.

    Args:
        cfg: Resolved.
        folder: The run folder.
    """
    data = cfg.data
    place = f"{len(data.sources)} data sets: {', '.join(data.sources)}" if data.sources else data.root
    network = cfg.model.network
    name = str(network.get("_target_")).rpartition(".")[2]
    if encoder := next((network[key] for key in ENCODERS if network.get(key)), None):
        name += f" with encoder {str(encoder).removeprefix('tu-')}"
    epochs = cfg.trainer.max_epochs
    log.info(
        "Training stage=%s on %s (%s), fold %d of %d: %s, %d px, %d epoch%s, batches of %d",
        *(cfg.stage, data.name, place, data.fold, data.num_folds),
        *(name, cfg.image_size, epochs, "s" * (epochs != 1), data.batch_size),
    )
    scored = "then scores the test fold" if cfg.test else "leaves the test fold alone"
    log.info("The run %s, and writes to %s", scored, folder)
    threads = torch.get_num_threads()
    log.info("PyTorch computes with %d thread%s", threads, "s" * (threads != 1))


def log_summary(run: Run, metrics: Metrics) -> None:
    """Log the test metrics with their intervals, or what was monitored, and where everything is."""
    name, best = run.monitored
    if best is None:
        log.info("Last epoch; nothing was chosen by the validation fold, and nothing scored")
    elif not run.provenance["tested"]:
        epoch = "best" if run.config.callbacks.checkpoint.monitor else "last"
        log.info("%-26s %7.3f   %s epoch; the test fold is left alone", name, best, epoch)
    log_intervals(metrics)
    if run.provenance["guide"]:
        log.info("%-26s %s", "guide", run.provenance["guide"])
    log.info("Finished in %.0f s: %s", run.provenance["seconds"], run.folder)


def log_intervals(metrics: Metrics) -> None:
    """Log the test metrics that have intervals, also where there are too few cases for one."""
    for name, value in metrics.items():
        if not name.startswith("test/") or value is None or f"{name}_low" not in metrics:
            continue
        low, high = metrics[f"{name}_low"], metrics[f"{name}_high"]
        few = low is None or high is None
        said = "too few cases for an interval" if few else f"95 % interval {low:.3f} to {high:.3f}"
        log.info("%-26s %7.3f   %s", name, value, said)


class Progress(RichProgressBar):
    """Lightning's progress bar, with the losses and the monitored value alone; epochs count from 1."""

    def get_metrics(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> dict[str, int | str | float | dict[str, float]]:
        """What stands beside the bar."""
        shown = ("train/loss", "val/loss", getattr(pl_module, "monitor", None))
        return {name: x for name, x in super().get_metrics(trainer, pl_module).items() if name in shown}

    def _get_train_description(self, current_epoch: int) -> str:
        # Padded, or the bar would jump when that of validation comes below it.
        most = self.trainer.max_epochs or -1
        text = f"Epoch {current_epoch + 1}" + f"/{most}" * (most > 0)
        return f"{text:{len(self.validation_description)}}"


class TimeLeft(lightning.Callback):
    """Logs how long the training will take: soon after it began, and after the first epoch trained."""

    def __init__(self) -> None:
        self.began: float | None = None
        self.first_batch: float | None = None
        self.told_early = self.told = False

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Note the time."""
        del trainer, pl_module
        self.began = time.monotonic()

    def on_train_batch_end(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        outputs: object,
        batch: object,
        batch_idx: int,
    ) -> None:
        """Say it once, if the first epoch is going to last; its first batch also warms up."""
        del pl_module, outputs, batch
        if self.told or self.told_early:
            return
        if self.first_batch is None:
            self.first_batch = time.monotonic()
            return
        seconds, number = time.monotonic() - self.first_batch, trainer.num_training_batches
        epochs = (trainer.max_epochs or 0) - trainer.current_epoch
        if seconds < SOON or epochs < 1 or not math.isfinite(number):
            return
        self.told_early = True
        expected = seconds / batch_idx * number * epochs
        what = f"{epochs} epoch{'s' * (epochs != 1)} of {number} batches, without validation"
        log.info("About %s for %s", say(expected), what)

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Say it once; validation is over by then."""
        del pl_module
        left = (trainer.max_epochs or 0) - trainer.current_epoch - 1
        if self.told or self.began is None or left < 1:
            return
        self.told = True
        seconds = time.monotonic() - self.began
        others = f"the {left} that are left" if left > 1 else "the one that is left"
        log.info("The first epoch took %s, %s about %s", say(seconds), others, say(left * seconds))


def say(seconds: float) -> str:
    """A duration in hours, minutes and seconds."""
    return str(timedelta(seconds=max(1, round(seconds))))
