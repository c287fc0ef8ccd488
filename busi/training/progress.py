"""What a training says of itself: its plan, how far it is, how long it will take, and what came of it."""

import logging
import time
from datetime import timedelta
from pathlib import Path

import lightning
from lightning.pytorch.callbacks import RichProgressBar
from omegaconf import DictConfig

from busi.runs import Run
from busi.training.summary import Metrics

log = logging.getLogger(__name__)


def log_plan(cfg: DictConfig, folder: Path) -> None:
    """Log what a run is going to do, before anything takes long.

    Args:
        cfg: Resolved.
        folder: The run folder.
    """
    data = cfg.data
    place = f"{len(data.sources)} data sets: {', '.join(data.sources)}" if data.sources else data.root
    network = str(cfg.model.network.get("_target_")).rpartition(".")[2]
    log.info(
        "Training stage=%s on %s (%s), fold %d of %d: %s with encoder %s, %d px, %d epochs, batches of %d",
        *(cfg.stage, data.name, place, data.fold, data.num_folds),
        *(network, cfg.encoder, cfg.image_size, cfg.trainer.max_epochs, data.batch_size),
    )
    scored = "then scores the test fold" if cfg.test else "leaves the test fold alone"
    log.info("The run %s, and writes to %s", scored, folder)


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
    """Log the test metrics with their intervals."""
    for name, value in metrics.items():
        low, high = metrics.get(f"{name}_low"), metrics.get(f"{name}_high")
        if name.startswith("test/") and value is not None and low is not None and high is not None:
            log.info("%-26s %7.3f   95 %% interval %.3f to %.3f", name, value, low, high)


class Progress(RichProgressBar):
    """Lightning's progress bar, with the losses and the monitored value alone."""

    def get_metrics(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> dict[str, int | str | float | dict[str, float]]:
        """What stands beside the bar."""
        shown = ("train/loss", "val/loss", getattr(pl_module, "monitor", None))
        return {name: x for name, x in super().get_metrics(trainer, pl_module).items() if name in shown}


class TimeLeft(lightning.Callback):
    """Logs after the first epoch that is trained how long the others will take."""

    def __init__(self) -> None:
        self.began: float | None = None
        self.told = False

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Note the time."""
        del trainer, pl_module
        self.began = time.monotonic()

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Say it once; validation is over by then."""
        del pl_module
        left = (trainer.max_epochs or 0) - trainer.current_epoch - 1
        if self.told or self.began is None or left < 1:
            return
        self.told = True
        seconds = time.monotonic() - self.began
        log.info(
            "The first epoch took %s, the %d that are left about %s", say(seconds), left, say(left * seconds)
        )


def say(seconds: float) -> str:
    """A duration in hours, minutes and seconds."""
    return str(timedelta(seconds=max(1, round(seconds))))
