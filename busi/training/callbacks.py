"""What happens beside training: random numbers of each epoch, images of a few validation samples."""

import signal
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import lightning
import numpy as np

from busi.core import CLASSES, Batch, InputError
from busi.data import BUSIDataModule, collate
from busi.figures import Overlay, draw_overlays, save_figure
from busi.modules import StageModule
from busi.training.loggers import PROGRESS, log_figures


class SeedEpochs(lightning.Callback):
    """Seeds every epoch from (seed, epoch), so that a resumed run draws what an uninterrupted one draws.

    Args:
        seed: Of the run.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Seed the generators of Python, numpy and torch."""
        del pl_module
        sequence = np.random.SeedSequence([self.seed, trainer.current_epoch, trainer.global_rank])
        lightning.seed_everything(int(sequence.generate_state(1)[0]), workers=True, verbose=False)


class StopOnSignal(lightning.Callback):
    """Stops training at the next batch if what a signal raised was lost in an extension's C code.

    Extensions may clear any error that is raised while they look something up, a Ctrl-C included.
    """

    def __init__(self) -> None:
        self.reason: BaseException | None = None
        self.replaced: dict[int, Callable[[int, FrameType | None], object]] = {}

    def on_fit_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Find the handlers of signals that stop a run; only a main thread can replace them."""
        del trainer, pl_module
        if threading.current_thread() is not threading.main_thread():
            return
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):
            handler = signal.getsignal(number)
            if callable(handler):
                self.replaced[number] = handler

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Listen in front of them, in place of Lightning, which would talk to other ranks meanwhile."""
        del trainer, pl_module
        for number in self.replaced:
            signal.signal(number, self.hear)

    def hear(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal as before, and remember what that raised."""
        try:
            self.replaced[number](number, frame)
        except BaseException as reason:
            self.reason = reason
            raise

    def on_train_batch_end(self, *_: object) -> None:
        """Raise it again if training still goes on."""
        if self.reason is not None:
            raise self.reason

    def on_fit_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Put the handlers back."""
        del trainer, pl_module
        for number, handler in self.replaced.items():
            signal.signal(number, handler)


class ValidationFigures(lightning.Callback):
    """Draws the same few validation images every few epochs, as ``val_progress.png`` and for the loggers.

    With averaged weights (``callbacks=[default,ema]``) it shows what those predict, if it comes first.

    Args:
        folder: Where the image goes; each drawing replaces the one before.
        num_images: How many, spread over the classes.
        every_n_epochs: And after the last epoch.

    Raises:
        InputError: If one of the numbers is less than 1.
    """

    def __init__(self, folder: str, num_images: int, every_n_epochs: int) -> None:
        for name, value in (("num_images", num_images), ("every_n_epochs", every_n_epochs)):
            if not isinstance(value, int) or value < 1:
                raise InputError(f"callbacks.figures.{name}={value}: give a whole number, at least 1")
        self.folder, self.num_images, self.every_n_epochs = Path(folder), num_images, every_n_epochs

    def on_validation_epoch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> None:
        """Predict and draw."""
        num_done = trainer.current_epoch + 1
        due = num_done % self.every_n_epochs == 0 or num_done == trainer.max_epochs
        if not due or not trainer.is_global_zero:
            return
        data: BUSIDataModule = trainer.datamodule  # type: ignore[attr-defined]
        module: StageModule = pl_module  # type: ignore[assignment]
        overlays = predict_overlays(module, choose_batch(data, self.num_images))
        title = f"Validation images after epoch {num_done}"
        path = save_figure(draw_overlays(overlays, title), self.folder / f"{PROGRESS}.png")
        log_figures(trainer.loggers, [path], trainer.global_step)


def choose_batch(data: BUSIDataModule, num_images: int) -> Batch:
    """The same clean validation images every time, spread over the classes, malignant first."""
    indices = data.cohort.indices("val")
    ranked = indices[np.argsort(-data.cohort.labels()[indices], kind="stable")]
    places = np.linspace(0, len(ranked) - 1, min(num_images, len(ranked))).round().astype(int)
    dataset = data.dataset(ranked[places])
    return collate([dataset[i] for i in range(len(dataset))])


def predict_overlays(module: StageModule, batch: Batch) -> list[Overlay]:
    """Images at network size: masks of a segmentation model, guides and classes of a classifier."""
    moved: Batch = module.transfer_batch_to_device(batch, module.device, 0)
    output = module.predict_step(moved).cpu()
    if output.ndim == 4:
        masks, titles = output, list(batch["id"])
    else:
        masks = batch["guide"]
        answers = zip(batch["id"], batch["label"], output.argmax(1), strict=True)
        titles = [f"{name}\ntrue {CLASSES[k]}, predicted {CLASSES[p]}" for name, k, p in answers]
    gray = (batch["image"] * 255).byte()
    return [
        Overlay(titles[i], gray[i, 0].numpy(), batch["mask"][i, 0].numpy() > 0, masks[i, 0].numpy() >= 0.5)
        for i in range(len(gray))
    ]
