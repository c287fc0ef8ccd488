"""How fast a run trains and validates, against the pure arithmetic and a plain Lightning script."""

import contextlib
import logging
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from statistics import median
from typing import Any

import lightning
import torch
from omegaconf import DictConfig

from busi.benchmarks.configs import compose
from busi.benchmarks.plain import PlainModule, plain_loader
from busi.benchmarks.rows import Row, compare, take_turns
from busi.core import Batch, construct
from busi.data import BUSIDataModule
from busi.inference import default_device
from busi.models import build_network
from busi.modules import StageModule
from busi.training import SeedEpochs, build_module

ROUNDS = 5
BUSI, STEP, PLAIN = "training", "the pure step", "plain Lightning script"
VALIDATION, INFERENCE, LOADER = "validation pass", "pure inference", "loader alone"

ONE_EPOCH: dict[str, Any] = {
    "max_epochs": 1,
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
}


class Clock(lightning.Callback):
    """Times one pass of a trainer over its images.

    Attributes:
        seconds: That the last pass took.
    """

    def __init__(self) -> None:
        self.began = self.seconds = 0.0

    def on_train_epoch_start(self, *_: object) -> None:
        """Start: nothing was loaded yet."""
        self.began = now()

    def on_train_epoch_end(self, *_: object) -> None:
        """Stop."""
        self.seconds = now() - self.began

    def on_validation_epoch_start(self, *_: object) -> None:
        """Start."""
        self.began = now()

    def on_validation_epoch_end(self, *_: object) -> None:
        """Stop."""
        self.seconds = now() - self.began


def now() -> float:
    """Seconds, when the device is done with all that it was given."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def measure(image_size: int, rounds: int) -> list[Row]:
    """Measure images per second in training and validation, with ``augmentation=strong``.

    The network is that of a default run. The data are synthetic images of the size of BUSI's, in the cache
    as in any second run.
    On a GPU the setting is ``trainer=gpu`` with batches of 32. Progress bars are off in both scripts.
    """
    with tempfile.TemporaryDirectory() as folder:
        cfg = strong_run(Path(folder), image_size)
        data: BUSIDataModule = construct(cfg.data, "data")
        data.prepare_data()
        module = build_module(cfg)
        with silence():
            speeds = take_turns(make_contestants(cfg, data, module), rounds)

    def row(name: str, peer: str, target: float | None) -> Row:
        ratio = compare(speeds[name], speeds[peer])
        return Row(name, median(speeds[name]), "images/s", peer, ratio, "x", target)

    on_gpu = torch.cuda.is_available()
    return [
        row(BUSI, STEP, 0.5 if on_gpu else 0.95),
        row(BUSI, PLAIN, 4.0 if on_gpu else 1.25),
        row(LOADER, STEP, None),
        row(VALIDATION, INFERENCE, 0.9),
    ]


def strong_run(folder: Path, image_size: int) -> DictConfig:
    """The config of the run that is timed."""
    on_gpu = torch.cuda.is_available()
    scale = 12 if on_gpu else 1
    overrides = [
        "stage=seg",
        "data=synthetic",
        "augmentation=strong",
        "encoder_weights=none",
        f"image_size={image_size}",
        f"cache_dir={folder}",
        f"run_dir={folder}",
        "data.read.height=500",
        f"data.read.num_normal={16 * scale}",
        f"data.read.num_benign={34 * scale}",
        f"data.read.num_malignant={22 * scale}",
        *(["trainer=gpu", "data.batch_size=32"] if on_gpu else []),
    ]
    return compose(overrides)


def make_contestants(
    cfg: DictConfig, data: BUSIDataModule, module: StageModule
) -> dict[str, Callable[[], float]]:
    """Functions that each return images per second; training and the pure step have networks of their own."""
    indices = data.cohort.indices("train")
    loader, clean_loader = data.train_dataloader(), data.clean_dataloader(indices)
    num_trained = len(loader) * loader.batch_size  # type: ignore[operator]
    records = [data.cohort.records[i] for i in indices]
    plain_data = plain_loader(records, cfg.image_size, cfg.data.batch_size, True, cfg.data.num_workers)
    plain, pure = PlainModule(build_network(cfg.model)), deepcopy(module)
    accelerator = cfg.trainer.accelerator

    def train(trainer: lightning.Trainer, trained: lightning.LightningModule, images: Any) -> float:
        trainer.fit(trained, train_dataloaders=images)
        return num_trained / seconds_of(trainer)

    def validate() -> float:
        trainer = make_trainer(cfg)
        trainer.validate(module, dataloaders=clean_loader, verbose=False)
        return len(indices) / seconds_of(trainer)

    return {
        BUSI: lambda: train(make_trainer(cfg), module, loader),
        STEP: lambda: step_speed(pure, next(iter(loader)), len(loader)),
        PLAIN: lambda: train(
            lightning.Trainer(accelerator=accelerator, callbacks=[Clock()], **ONE_EPOCH), plain, plain_data
        ),
        LOADER: lambda: num_trained / time_of(lambda: list(loader)),
        VALIDATION: validate,
        INFERENCE: lambda: inference_speed(module, list(clean_loader)),
    }


def make_trainer(cfg: DictConfig) -> lightning.Trainer:
    """A trainer of one epoch, with a clock."""
    callbacks = [SeedEpochs(cfg.seed), Clock()]
    trainer: lightning.Trainer = construct(cfg.trainer, "trainer", callbacks=callbacks, **ONE_EPOCH)
    return trainer


def seconds_of(trainer: lightning.Trainer) -> float:
    """Seconds of the last pass of a trainer, by its clock."""
    (clock,) = (callback for callback in trainer.callbacks if isinstance(callback, Clock))  # type: ignore[attr-defined]
    return clock.seconds


def time_of(work: Callable[[], object]) -> float:
    """Seconds of a call."""
    began = now()
    work()
    return now() - began


def step_speed(module: StageModule, batch: Batch, num_steps: int) -> float:
    """Images per second of forward, backward and step alone, on one batch in memory."""
    module = module.to(device := default_device()).train()
    optimizer = module.configure_optimizers()["optimizer"]
    image, mask = batch["image"].to(device), batch["mask"].to(device)

    def steps() -> None:
        for _ in range(num_steps):
            optimizer.zero_grad()
            with precision():
                logits = module(image)
            module.loss(logits, mask).backward()
            optimizer.step()

    return num_steps * len(image) / time_of(steps)


@torch.inference_mode()
def inference_speed(module: StageModule, batches: list[Batch]) -> float:
    """Images per second of the forward pass alone, on batches in memory."""
    module = module.to(device := default_device()).eval()
    images = [batch["image"].to(device) for batch in batches]

    def infer() -> None:
        for image in images:
            with precision():
                module(image)

    return sum(map(len, images)) / time_of(infer)


def precision() -> contextlib.AbstractContextManager[object]:
    """The precision of ``trainer=gpu`` on a GPU, float32 on the CPU."""
    return torch.autocast("cuda", torch.bfloat16, enabled=torch.cuda.is_available())


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """Drop the messages of Lightning about every trainer that it starts."""
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    logger.setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
    logger.setLevel(level)
