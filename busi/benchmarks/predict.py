"""How fast pictures are predicted, by a bundle and by PyTorch."""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch

from busi.benchmarks.configs import compose
from busi.benchmarks.rows import Row, compare, take_turns
from busi.core import CLASSES, Record
from busi.data import Source, find_sources, read_phantom
from busi.inference import (
    Facts,
    Network,
    Pipeline,
    Predictor,
    as_network,
    open_graph,
    predict_items,
    write_graph,
    write_int8,
)
from busi.models import MaskRule
from busi.runs import Classifier, build_network

ROUNDS = 7


def measure(image_size: int, rounds: int) -> list[Row]:
    """Pictures a second from file to mask and class: bundles, against PyTorch with one picture at a time.

    The networks are those of a default run with random weights; the files are made pictures of the size of
    BUSI's. Decoding and the mask at the picture's own size are part of the time, writing is not.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        records = make_files(folder)
        sources = find_sources([str(record.image) for record in records], leave_out=folder / "none")
        pipeline = random_pipeline(image_size)
        facts = Facts(image_size, MaskRule(), 1.0, (1.0, 1.0, 1.0), 0.9, {}, {}, {}, {})
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
        Row(name, median(speeds[name]), "pictures/s", peer, compare(speeds[name], speeds[peer]), "x", target)
        for name, target in targets.items()
    ]


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
        cfg = compose([f"stage={stage}", f"image_size={image_size}"])
        networks.append(build_network(cfg.model).eval())
    segmenter, classifier = networks
    return Pipeline(segmenter, Classifier(classifier, torch.zeros(len(CLASSES))), 1.0, image_size).eval()


def make_files(folder: Path) -> list[Record]:
    """Made pictures of the size of BUSI's."""
    records, _ = read_phantom(folder, num_benign=10, num_malignant=10, num_normal=10, height=500, seed=0)
    return records
