"""How cost grows with the number of images: an epoch, its memory, the search for near-duplicates."""

import json
import math
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import NamedTuple

from omegaconf import DictConfig

from busi.benchmarks.clock import seconds_of
from busi.benchmarks.configs import compose
from busi.benchmarks.rows import Row, compare, spread
from busi.benchmarks.start import check_ended
from busi.benchmarks.train import make_trainer, silence
from busi.core import InputError, construct
from busi.data import BUSIDataModule, find_groups, read_contents
from busi.training import build_module

ROUNDS = 2
NUM_IMAGES = {"normal": 133, "benign": 437, "malignant": 210}
"""As many synthetic images of each class as BUSI has."""


class Cost(NamedTuple):
    """What an epoch costs in a process of its own.

    Attributes:
        milliseconds: For each image.
        megabytes: Resident memory, without the pages of mapped files, which the system takes back at need.
    """

    milliseconds: float
    megabytes: float


def measure(
    image_size: int, rounds: int, num_images: dict[str, int] = NUM_IMAGES, scale: int = 10
) -> list[Row]:
    """Compare `num_images` synthetic images of 64 px with `scale` times as many.

    Raises:
        InputError: On another system than Linux.
    """
    if not Path("/proc/self/status").exists():
        raise InputError("growth reads its memory from /proc, which only Linux has: run it there")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sizes = (num_images, {label: scale * number for label, number in num_images.items()})
        # The first images of both are the same, and a cache would know them.
        runs = [(folder / name, image_size, size) for name, size in zip(("few", "many"), sizes, strict=True)]
        searches = [time_search(synthetic_run(*run)) for run in runs]
        turns = [[run_epoch(*run) for run in runs] for _ in range(rounds)]
    few, many = zip(*turns, strict=True)
    (num_few, seconds_few), (num_many, seconds_many) = searches
    exponent = math.log(seconds_many / seconds_few) / math.log(num_many / num_few)
    peer, search = f"{num_few} images", f"{num_many} images: search for near-duplicates"

    def row(what: str, measured: str, unit: str) -> Row:
        values, peers = ([getattr(cost, measured) for cost in costs] for costs in (many, few))
        ratio, between = compare(values, peers), spread(values, peers)
        name = f"{num_many} images: {what}"
        return Row(name, median(values), unit, peer, ratio, "x", 1.1, at_most=True, spread=between)

    return [
        row("an image in an epoch", "milliseconds", "ms"),
        row("memory of training", "megabytes", "MB"),
        Row(search, seconds_many, "s", peer, exponent, "as exponent", target=1.5, at_most=True),
    ]


def synthetic_run(cache_dir: Path, image_size: int, num_images: dict[str, int]) -> DictConfig:
    """The config of a run on synthetic data."""
    numbers = [f"data.read.num_{name}={number}" for name, number in num_images.items()]
    options = [f"cache_dir={cache_dir}", f"run_dir={cache_dir}", f"image_size={image_size}"]
    options += ["encoder_weights=none", "data.read.height=64", *numbers]
    return compose(["stage=seg", "data=synthetic", *options])


def time_search(cfg: DictConfig) -> tuple[int, float]:
    """Number of images, and seconds of searching them for near-duplicates; fills the cache, too."""
    data: BUSIDataModule = construct(cfg.data, "data")
    records, contents, _ = read_contents(data.list_images(), data.cache_dir)
    began = time.perf_counter()
    find_groups(records, contents, data.cache_dir)
    spent = time.perf_counter() - began
    data.prepare_data()
    return len(records), spent


def run_epoch(cache_dir: Path, image_size: int, num_images: dict[str, int]) -> Cost:
    """Train an epoch in a new process."""
    arguments = ["-m", "busi.benchmarks.growth", str(cache_dir), str(image_size), json.dumps(num_images)]
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False)
    check_ended(done, arguments)
    return Cost(*json.loads(done.stdout.splitlines()[-1]))


def train_epoch(cfg: DictConfig) -> Cost:
    """Train an epoch in this process."""
    data: BUSIDataModule = construct(cfg.data, "data")
    module = build_module(cfg)
    loader, trainer = data.train_dataloader(), make_trainer(cfg)
    with silence():
        trainer.fit(module, train_dataloaders=loader)
    num_images = len(loader) * cfg.data.batch_size
    lines = Path("/proc/self/status").read_text().splitlines()
    (kilobytes,) = (int(line.split()[1]) for line in lines if line.startswith("RssAnon"))
    return Cost(1000 * seconds_of(trainer) / num_images, kilobytes / 1000)


if __name__ == "__main__":
    cost = train_epoch(synthetic_run(Path(sys.argv[1]), int(sys.argv[2]), json.loads(sys.argv[3])))
    print(json.dumps(cost))
