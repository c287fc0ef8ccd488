"""How cost grows with the number of pictures: an epoch, the memory that it takes, the search for copies."""

import json
import math
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import NamedTuple

from hydra.utils import instantiate
from omegaconf import DictConfig

from busi.benchmarks.configs import compose
from busi.benchmarks.rows import Row, compare
from busi.benchmarks.train import make_trainer, seconds_of, silence
from busi.core import InputError
from busi.data import BUSIDataModule, find_groups, read_contents
from busi.modules import StageModule
from busi.runs import build_network

ROUNDS = 2
Counts = dict[str, int]
COUNTS = {"normal": 133, "benign": 437, "malignant": 210}
"""As many made pictures as BUSI has."""


class Cost(NamedTuple):
    """What an epoch cost a process of its own.

    Attributes:
        milliseconds: A picture.
        megabytes: Resident, without the pages of mapped files, which the system takes back at need.
    """

    milliseconds: float
    megabytes: float


def measure(image_size: int, rounds: int, counts: Counts = COUNTS, scale: int = 10) -> list[Row]:
    """Compare `counts` made pictures of 64 px with `scale` times as many.

    Raises:
        InputError: On another system than Linux.
    """
    if not Path("/proc/self/status").exists():
        raise InputError("growth measures memory as Linux tells it: run it there")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sizes = (counts, {label: scale * number for label, number in counts.items()})
        searched = [search(made_data(folder, image_size, made)) for made in sizes]
        turns = [[run_epoch(folder, image_size, made) for made in sizes] for _ in range(rounds)]
    few, many = zip(*turns, strict=True)
    (num_few, first), (num_many, last) = searched
    exponent = math.log(last / first) / math.log(num_many / num_few)
    peer = f"{num_few} pictures"

    def row(what: str, name: str, unit: str) -> Row:
        values, peers = ([getattr(cost, name) for cost in costs] for costs in (many, few))
        ratio = compare(values, peers)
        return Row(f"{num_many} pictures: {what}", median(values), unit, peer, ratio, "x", 1.1, at_most=True)

    return [
        row("a picture in an epoch", "milliseconds", "ms"),
        row("memory of training", "megabytes", "MB"),
        Row(
            f"{num_many} pictures: search for copies",
            last,
            "s",
            peer,
            exponent,
            "as exponent",
            1.5,
            at_most=True,
        ),
    ]


def made_data(cache_dir: Path, image_size: int, counts: Counts) -> DictConfig:
    """The config of a run on made data."""
    made = [f"data.read.num_{label}={number}" for label, number in counts.items()]
    options = [f"cache_dir={cache_dir}", f"run_dir={cache_dir}", f"image_size={image_size}"]
    options += ["encoder_weights=none", "data.read.height=64", *made]
    return compose(["stage=seg", "data=phantom", *options])


def search(cfg: DictConfig) -> tuple[int, float]:
    """Number of pictures, and the seconds of searching them for copies; fills the cache, too."""
    data: BUSIDataModule = instantiate(cfg.data)
    records, contents, _ = read_contents(data.read(data.root), data.cache_dir)
    began = time.perf_counter()
    find_groups(records, contents, data.cache_dir)
    spent = time.perf_counter() - began
    data.prepare_data()
    return len(records), spent


def run_epoch(cache_dir: Path, image_size: int, counts: Counts) -> Cost:
    """Train an epoch in a new process."""
    arguments = ["-m", "busi.benchmarks.growth", str(cache_dir), str(image_size), json.dumps(counts)]
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=True)
    return Cost(*json.loads(done.stdout.splitlines()[-1]))


def train_epoch(cfg: DictConfig) -> Cost:
    """Train an epoch in this process."""
    data: BUSIDataModule = instantiate(cfg.data)
    module: StageModule = instantiate(cfg.module, network=build_network(cfg.model))
    loader, trainer = data.train_dataloader(), make_trainer(cfg)
    with silence():
        trainer.fit(module, train_dataloaders=loader)
    num_pictures = len(loader) * cfg.data.batch_size
    lines = Path("/proc/self/status").read_text().splitlines()
    (kilobytes,) = (int(line.split()[1]) for line in lines if line.startswith("RssAnon"))
    return Cost(1000 * seconds_of(trainer) / num_pictures, kilobytes / 1000)


if __name__ == "__main__":
    cost = train_epoch(made_data(Path(sys.argv[1]), int(sys.argv[2]), json.loads(sys.argv[3])))
    print(json.dumps(cost))
