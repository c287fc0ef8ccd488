"""How fast a run trains and validates, against the pure arithmetic and a plain Lightning script."""

import contextlib
import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from copy import deepcopy
from functools import cache, partial
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any

import lightning
import torch
from omegaconf import DictConfig, OmegaConf

from busi.benchmarks.clock import Clock, Speed, count_faults, seconds_of, speed_of
from busi.benchmarks.configs import compose
from busi.benchmarks.plain import PlainModule, plain_loader
from busi.benchmarks.rows import Row, compare, relate, take_turns
from busi.core import Batch, construct, keep_freed_memory
from busi.data import BUSIDataModule
from busi.inference import default_device
from busi.models import build_network
from busi.modules import StageModule
from busi.training import SeedEpochs, build_module

ROUNDS = 3
BUSI, STEP, PLAIN = "training", "the pure step", "plain Lightning script"
ON_DEVICE = "training, augmented on its device"
VALIDATION, INFERENCE, LOADER = "validation pass", "pure inference", "loader alone"
DEFAULT = "the pure step, memory given back"
"""As a process does it that does not call `busi.core.keep_freed_memory`; the plain script is one too."""


Contestants = dict[str, Callable[[], Speed]]

ONE_EPOCH: dict[str, Any] = {
    "max_epochs": 1,
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
}


def measure(image_size: int, rounds: int) -> list[Row]:
    """Measure images per second in training and validation, with ``augmentation=strong``.

    The network is that of a default run. The data are synthetic images of the size of BUSI's, in the cache
    as in any second run; sixteen batches of them on the CPU.
    On a GPU the setting is ``trainer=gpu`` with batches of 32. Progress bars are off in both scripts.
    What leaves the C library as it is runs in a second process.
    """
    with tempfile.TemporaryDirectory() as folder, ProcessPoolExecutor(1, get_context("spawn")) as other:
        config = OmegaConf.to_yaml(timed_run(Path(folder), image_size, "strong"))
        keep_freed_memory()
        with silence():
            contestants = make_contestants(config)
            for name, theirs in ((PLAIN, PLAIN), (DEFAULT, STEP)):
                contestants[name] = partial(measure_elsewhere, other, config, theirs)
            speeds = take_turns(contestants, rounds)
    images = {name: [speed.images for speed in of] for name, of in speeds.items()}
    faults = {name: [speed.faults for speed in of] for name, of in speeds.items()}

    on_gpu = torch.cuda.is_available()
    rows = [
        relate(images, BUSI, STEP, 0.5 if on_gpu else 0.97),
        relate(images, BUSI, DEFAULT, None if on_gpu else 1.25),
        relate(images, BUSI, PLAIN, 4.0 if on_gpu else 2.0),
        relate(images, LOADER, STEP, None),
        relate(images, VALIDATION, INFERENCE, 0.9),
    ]
    if all(faults[DEFAULT]):  # not every system counts them
        ratio = compare(faults[STEP], faults[DEFAULT])
        rows.append(Row("page faults", median(faults[STEP]), "an image", DEFAULT, ratio))
    return rows


def measure_on_device(image_size: int, rounds: int) -> Row:
    """Measure training with ``augmentation=strong_gpu``, and the pure step in turns with it.

    Raises:
        InputError: If kornia is not installed.
    """
    with tempfile.TemporaryDirectory() as folder, silence():
        every = make_contestants(OmegaConf.to_yaml(timed_run(Path(folder), image_size, "strong_gpu")))
        speeds = take_turns({name: every[name] for name in (BUSI, STEP)}, rounds)
    images = {name: [speed.images for speed in of] for name, of in speeds.items()}
    return relate(images, BUSI, STEP, 0.9 if torch.cuda.is_available() else None, ON_DEVICE)


def measure_elsewhere(pool: ProcessPoolExecutor, config: str, name: str) -> Speed:
    """Let the other process measure one of its contestants."""
    return pool.submit(measure_here, config, name).result()


def measure_here(config: str, name: str) -> Speed:
    """Measure one contestant of this process."""
    with silence():
        return kept_contestants(config)[name]()


def timed_run(folder: Path, image_size: int, augmentation: str) -> DictConfig:
    """The config of the run that is timed."""
    on_gpu = torch.cuda.is_available()
    scale = 12 if on_gpu else 3
    overrides = [
        "stage=seg",
        "data=synthetic",
        f"augmentation={augmentation}",
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


def make_contestants(config: str) -> Contestants:
    """Functions that each do one pass; training and the pure step have networks of their own.

    Args:
        config: Of `timed_run`, as YAML.
    """
    cfg: DictConfig = OmegaConf.create(config)  # type: ignore[assignment]
    data: BUSIDataModule = construct(cfg.data, "data")
    data.prepare_data()
    module = build_module(cfg)
    indices = data.cohort.indices("train")
    loader, clean_loader = data.train_dataloader(), data.clean_dataloader(indices)
    num_trained = len(loader) * loader.batch_size  # type: ignore[operator]
    records = [data.cohort.records[i] for i in indices]
    plain_data = plain_loader(records, cfg.image_size, cfg.data.batch_size, True, cfg.data.num_workers)
    plain, pure = PlainModule(build_network(cfg.model)), deepcopy(module)
    accelerator = cfg.trainer.accelerator

    def train(trainer: lightning.Trainer, trained: lightning.LightningModule, images: Any) -> Speed:
        before = count_faults()
        trainer.fit(trained, datamodule=images)
        return Speed(num_trained / seconds_of(trainer), (count_faults() - before) / num_trained)

    def validate() -> Speed:
        trainer = make_trainer(cfg)
        before = count_faults()
        trainer.validate(module, dataloaders=clean_loader, verbose=False)
        return Speed(len(indices) / seconds_of(trainer), (count_faults() - before) / len(indices))

    return {
        BUSI: lambda: train(make_trainer(cfg), module, Kept(loader, data)),
        STEP: lambda: step_speed(pure, next(iter(loader)), len(loader)),
        PLAIN: lambda: train(
            lightning.Trainer(accelerator=accelerator, callbacks=[Clock()], **ONE_EPOCH),
            plain,
            Kept(plain_data),
        ),
        LOADER: lambda: speed_of(lambda: list(loader), num_trained),
        VALIDATION: validate,
        INFERENCE: lambda: inference_speed(module, list(clean_loader)),
    }


class Kept(lightning.LightningDataModule):
    """A loader that outlives its trainer, as its processes do; with the augmentation of batches of a run."""

    def __init__(self, loader: Any, data: BUSIDataModule | None = None) -> None:
        super().__init__()
        self.loader, self.data = loader, data

    def train_dataloader(self) -> Any:
        """The loader."""
        return self.loader

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Augment a batch as the run does."""
        del dataloader_idx
        return self.data.augment(batch) if self.data else batch


kept_contestants = cache(make_contestants)


def make_trainer(cfg: DictConfig) -> lightning.Trainer:
    """A trainer of one epoch, with a clock."""
    callbacks = [SeedEpochs(cfg.seed), Clock()]
    trainer: lightning.Trainer = construct(cfg.trainer, "trainer", callbacks=callbacks, **ONE_EPOCH)
    return trainer


def step_speed(module: StageModule, batch: Batch, num_steps: int) -> Speed:
    """Speed of forward, backward and step alone, on one batch in memory."""
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

    return speed_of(steps, num_steps * len(image))


@torch.inference_mode()
def inference_speed(module: StageModule, batches: list[Batch]) -> Speed:
    """Speed of the forward pass alone, on batches in memory."""
    module = module.to(device := default_device()).eval()
    images = [batch["image"].to(device) for batch in batches]

    def infer() -> None:
        for image in images:
            with precision():
                module(image)

    return speed_of(infer, sum(map(len, images)))


def precision() -> contextlib.AbstractContextManager[object]:
    """The precision of ``trainer=gpu`` on a GPU, float32 on the CPU."""
    return torch.autocast("cuda", torch.bfloat16, enabled=torch.cuda.is_available())


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """Drop the messages of Lightning about every trainer that it starts."""
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
