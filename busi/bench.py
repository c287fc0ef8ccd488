"""``python -m busi.bench``: how fast this machine is at what the README promises, as ratios."""

import argparse
import logging
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import NamedTuple

import hydra
import torch
from rich.console import Console
from rich.table import Table

from busi.bundle import Facts, Network, open_graph
from busi.checkpoints import Classifier, build_network
from busi.command import run_command
from busi.data.files import Source, find_sources
from busi.data.phantom import read_phantom
from busi.export import write_graph, write_int8
from busi.paths import conf_dir, write_json
from busi.pipeline import Pipeline, as_network
from busi.predict import predict_items
from busi.predictor import Predictor
from busi.types import CLASSES, Record

log = logging.getLogger(__name__)


class Ratio(NamedTuple):
    """One line of the table: a speed in units of another, measured in turns with it.

    Attributes:
        name: What is measured.
        speed: Median over the rounds.
        unit: Of the speed.
        peer: What it is compared with.
        ratio: Median over the rounds of speed / speed of the peer.
        target: The ratio that the project wants.
    """

    name: str
    speed: float
    unit: str
    peer: str
    ratio: float
    target: float | None


def main() -> None:
    """Parse the arguments, measure, and print a table."""
    parser = argparse.ArgumentParser(prog="python -m busi.bench", description=__doc__)
    parser.add_argument("--only", choices=sorted(GROUPS), help="one group of measurements")
    parser.add_argument("--image-size", type=int, default=256, help="side of the square (default: 256)")
    parser.add_argument("--rounds", type=int, default=7, help="repetitions, in turns (default: 7)")
    parser.add_argument("--json", type=Path, help="write the numbers here too")
    arguments = parser.parse_args()
    rows: list[Ratio] = []
    for name in [arguments.only] if arguments.only else GROUPS:
        log.info("Measuring %s", name)
        rows += GROUPS[name](arguments.image_size, arguments.rounds)
    title = f"{torch.get_num_threads()} threads, {arguments.image_size} px"
    table = Table("", "speed", "", "compared with", "ratio", "target", title=title)
    for row in rows:
        target = "" if row.target is None else f"{row.target:.2f}"
        table.add_row(row.name, f"{row.speed:.1f}", row.unit, row.peer, f"{row.ratio:.2f}", target)
    Console(width=120).print(table)
    if arguments.json:
        write_json(arguments.json, [row._asdict() for row in rows])


def take_turns(contestants: dict[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Measure each contestant once a round, after one round that does not count.

    Args:
        contestants: Functions that return a speed.
        rounds: How many.
    """
    speeds: dict[str, list[float]] = {name: [] for name in contestants}
    for number in range(rounds + 1):
        for name, measure in contestants.items():
            speed = measure()
            if number:
                speeds[name].append(speed)
    return speeds


def bench_predict(image_size: int, rounds: int) -> list[Ratio]:
    """Pictures a second from file to mask and class: bundles, against PyTorch with one picture at a time.

    The networks are those of a default run with random weights; the files are made pictures of the size of
    BUSI's. Decoding and the mask at the picture's own size are part of the time, writing is not.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        records = make_files(folder)
        sources = find_sources([str(record.image) for record in records], leave_out=folder / "none")
        pipeline = random_pipeline(image_size)
        facts = Facts(image_size, 0.5, 1.0, (1.0, 1.0, 1.0), 0.9, {}, {}, {}, {})
        for graph in ("f32", "int8"):
            write_graph(pipeline, image_size, folder / f"{graph}.onnx")
        write_int8(folder / "int8.onnx", records, image_size)
        peer = "PyTorch, one at a time"

        def serve(network: Network, batch_size: int) -> Callable[[], float]:
            predictor = Predictor.of(network, facts, batch_size)
            return lambda: pictures_a_second(predictor, sources)

        eager = Predictor.of(as_network(pipeline), facts)
        speeds = take_turns(
            {
                peer: lambda: one_at_a_time(eager, sources),
                "bundle, f32": serve(open_graph(folder / "f32.onnx"), 8),
                "bundle, int8": serve(open_graph(folder / "int8.onnx"), 8),
            },
            rounds,
        )
    targets = {peer: None, "bundle, f32": 1.5, "bundle, int8": 3.0}
    return [
        Ratio(name, median(speeds[name]), "pictures/s", peer, compare(speeds[name], speeds[peer]), target)
        for name, target in targets.items()
    ]


def compare(speeds: list[float], peers: list[float]) -> float:
    """Median of the ratios of each round."""
    return median(speed / peer for speed, peer in zip(speeds, peers, strict=True))


def one_at_a_time(predictor: Predictor, sources: list[Source]) -> float:
    """Pictures a second where each file is read, predicted and drawn as a mask before the next."""
    began = time.perf_counter()
    for source in sources:
        predictor(source.path).mask  # noqa: B018  made when asked for
    return len(sources) / (time.perf_counter() - began)


def pictures_a_second(predictor: Predictor, sources: list[Source]) -> float:
    """Pictures a second as `busi.predict` reads and predicts them."""
    began = time.perf_counter()
    for _, prediction in predict_items(predictor, sources):
        prediction.mask  # type: ignore[union-attr]  # noqa: B018
    return len(sources) / (time.perf_counter() - began)


def random_pipeline(image_size: int) -> Pipeline:
    """Both networks of default runs, with random weights."""
    networks = []
    for stage in ("seg", "cls"):
        with hydra.initialize_config_dir(config_dir=str(conf_dir()), version_base="1.3"):
            cfg = hydra.compose("train", [f"stage={stage}", f"image_size={image_size}"])
        networks.append(build_network(cfg.model).eval())
    segmenter, classifier = networks
    return Pipeline(segmenter, Classifier(classifier, torch.zeros(len(CLASSES))), 1.0).eval()


def make_files(folder: Path) -> list[Record]:
    """Made pictures of the size of BUSI's."""
    records, _ = read_phantom(folder, num_benign=10, num_malignant=10, num_normal=10, height=500, seed=0)
    return records


GROUPS: dict[str, Callable[[int, int], list[Ratio]]] = {"predict": bench_predict}


if __name__ == "__main__":
    run_command(main)
