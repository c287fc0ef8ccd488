"""How cost grows with the number of pictures: an epoch, the memory that it takes, the search for copies."""

import json
import math
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from statistics import median

import hydra
from hydra.utils import instantiate

from busi.benchmarks.rows import Row, compare, take_turns
from busi.data.catalogue import read_contents
from busi.data.cohort import find_groups
from busi.data.datamodule import BUSIDataModule
from busi.paths import conf_dir

ROUNDS = 3
Counts = dict[str, int]
COUNTS = {"normal": 133, "benign": 437, "malignant": 210}
"""As many made pictures as BUSI has."""


def measure(image_size: int, rounds: int, counts: Counts = COUNTS, scale: int = 10) -> list[Row]:
    """Compare `counts` made pictures of 64 px with `scale` times as many.

    An epoch is what the loaders do in it: what the network does depends on no picture but its own. Memory
    is that of a process of its own after an epoch, without the pages of mapped files, which the system takes
    back when it needs them.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        searched, modules = [], []
        many_counts = {label: scale * number for label, number in counts.items()}
        for made in (counts, many_counts):
            data = make_data(folder, image_size, made)
            records, contents, _ = read_contents(data.read(data.root), folder)
            began = time.perf_counter()
            find_groups(records, contents, folder)
            searched.append((len(records), time.perf_counter() - began))
            data.prepare_data()
            modules.append(data)
        few, many = (f"{count} pictures" for count, _ in searched)
        spent = take_turns({few: partial(epoch, modules[0]), many: partial(epoch, modules[1])}, rounds)
        memory = [private_memory(folder, image_size, made) for made in (counts, many_counts)]
    (num_few, first), (num_many, last) = searched
    exponent = math.log(last / first) / math.log(num_many / num_few)
    return [
        Row(
            f"loading an epoch of {many}, each",
            1000 * median(spent[many]),
            "ms",
            few,
            compare(spent[many], spent[few]),
            target=1.1,
            at_most=True,
        ),
        Row(f"memory, {many}", memory[1], "MB", few, memory[1] / memory[0], target=1.1, at_most=True),
        Row(
            f"search for copies, {many}, each",
            1000 * last / num_many,
            "ms",
            few,
            exponent,
            "= exponent of the whole",
            1.5,
            at_most=True,
        ),
    ]


def make_data(cache_dir: Path, image_size: int, counts: Counts) -> BUSIDataModule:
    """The data module of a run on made data, which are made if they are not there."""
    made = [f"data.read.num_{label}={number}" for label, number in counts.items()]
    options = [f"cache_dir={cache_dir}", f"image_size={image_size}", "data.read.height=64", *made]
    with hydra.initialize_config_dir(config_dir=str(conf_dir()), version_base="1.3"):
        cfg = hydra.compose("train", ["stage=seg", "data=phantom", *options])
    data: BUSIDataModule = instantiate(cfg.data)
    return data


def epoch(data: BUSIDataModule) -> float:
    """Seconds a picture of loading an epoch."""
    began = time.perf_counter()
    num_pictures = sum(len(batch["id"]) for batch in data.train_dataloader())
    return (time.perf_counter() - began) / num_pictures


def private_memory(cache_dir: Path, image_size: int, counts: Counts) -> float:
    """Megabytes of a new process that has loaded an epoch, without mapped files (Linux says that)."""
    arguments = ["-m", "busi.benchmarks.growth", str(cache_dir), str(image_size), json.dumps(counts)]
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=True)
    return float(json.loads(done.stdout.splitlines()[-1]))


def print_memory(cache_dir: Path, image_size: int, counts: Counts) -> None:
    """Load an epoch, then print the megabytes."""
    epoch(make_data(cache_dir, image_size, counts))
    lines = Path("/proc/self/status").read_text().splitlines()
    (kilobytes,) = (int(line.split()[1]) for line in lines if line.startswith("RssAnon"))
    print(json.dumps(kilobytes / 1000))


if __name__ == "__main__":
    print_memory(Path(sys.argv[1]), int(sys.argv[2]), json.loads(sys.argv[3]))
