"""How fast images are predicted, by a bundle and by PyTorch, and written by the model that comes along."""

import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from busi.benchmarks.configs import compose
from busi.benchmarks.rows import Row, relate, take_turns
from busi.core import CLASSES, Record, keep_freed_memory
from busi.data import InputFile, find_inputs, letterbox, read_gray, read_synthetic
from busi.inference import (
    Model,
    ModelInfo,
    Predictor,
    as_network,
    open_graph,
    predict_inputs,
    predict_items,
    write_graph,
    write_int8,
)
from busi.models import Classifier, Postprocess, Segmenter, TwoStage, build_network

ROUNDS = 7
ALONE, WHOLE = "its network alone, on images in memory", "predict on a folder, masks and overlays written"


def measure(image_size: int, rounds: int) -> list[Row]:
    """Compare bundles with PyTorch, one image at a time: images per second from file to mask and class.

    The networks are those of a default run with random weights. The files are synthetic images of the size of
    BUSI's. Decoding and the mask at the image's own size are part of the time, writing is not. The model that
    comes along writes all that the command writes, and is compared with its network alone.
    """
    on_gpu = torch.cuda.is_available()
    peer = "PyTorch on the GPU" if on_gpu else "PyTorch, one at a time"
    keep_freed_memory()  # as busi does for the networks of a run
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        records = make_files(folder)
        files = find_inputs([str(record.image) for record in records], leave_out=folder / "none")
        two_stage = random_two_stage(image_size)
        info = random_info(image_size)
        for precision in ("f32", "int8"):
            write_graph(two_stage, image_size, folder / f"{precision}.onnx")
        write_int8(folder / "int8.onnx", records, image_size)
        f32, int8 = (
            Predictor(Model(open_graph(folder / f"{p}.onnx", image_size), info)) for p in ("f32", "int8")
        )
        pytorch = Predictor(Model(as_network(two_stage), info))
        speeds = take_turns(
            {
                peer: lambda: one_at_a_time(pytorch, files),
                "bundle, f32": lambda: images_per_second(f32, files),
                "bundle, int8": lambda: images_per_second(int8, files),
            },
            rounds,
        )
        own = Predictor()
        speeds |= take_turns(
            {
                ALONE: lambda: network_alone(own, files),
                WHOLE: lambda: whole_command(own, files, folder),
            },
            rounds,
        )
    targets = {peer: None, "bundle, f32": 1.5, "bundle, int8": 3.0}
    if on_gpu:  # bundles run on the CPU
        targets = dict.fromkeys(targets)
    peers = {**{name: (peer, target) for name, target in targets.items()}, WHOLE: (ALONE, 0.9)}
    return [relate(speeds, name, other, target) for name, (other, target) in peers.items()]


def one_at_a_time(predictor: Predictor, files: list[InputFile]) -> float:
    """Images per second where each file is read, predicted and made a mask before the next."""
    began = time.perf_counter()
    for file in files:
        predictor(file.path).mask  # noqa: B018  made when asked for
    return len(files) / (time.perf_counter() - began)


def images_per_second(predictor: Predictor, files: list[InputFile]) -> float:
    """Images per second as `busi.predict` reads and predicts them."""
    began = time.perf_counter()
    for _, prediction in predict_items(predictor, files):
        prediction.mask  # type: ignore[union-attr]  # noqa: B018
    return len(files) / (time.perf_counter() - began)


def network_alone(predictor: Predictor, files: list[InputFile]) -> float:
    """Images per second of the network, in the batches of `predictor`, with nothing read or written."""
    (model,), step = predictor.models, predictor.batch_size
    squares = np.stack([letterbox(read_gray(file.path), model.info.image_size) for file in files])
    began = time.perf_counter()
    for start in range(0, len(squares), step):
        model.network(squares[start : start + step])
    return len(squares) / (time.perf_counter() - began)


def whole_command(predictor: Predictor, files: list[InputFile], folder: Path) -> float:
    """Images per second as `busi.predict` writes them, once its model is open."""
    with tempfile.TemporaryDirectory(dir=folder) as output:
        began = time.perf_counter()
        predict_inputs(predictor, files, Path(output))
        return len(files) / (time.perf_counter() - began)


def random_info(image_size: int) -> ModelInfo:
    """What is known of a model that never learned."""
    return ModelInfo(image_size, Postprocess(), 1.0, (1.0, 1.0, 1.0), 0.9, {}, {}, {}, {})


def random_two_stage(image_size: int) -> TwoStage:
    """Both networks of default runs, with random weights."""
    networks = []
    for stage in ("seg", "cls"):
        cfg = compose([f"stage={stage}", f"image_size={image_size}"])
        networks.append(build_network(cfg.model).eval())
    segmenter, classifier = networks
    corrected = Classifier(classifier, torch.zeros(len(CLASSES)), torch.ones(()))
    return TwoStage(Segmenter(segmenter, image_size), corrected, 1.0).eval()


def make_files(folder: Path) -> list[Record]:
    """Synthetic images of the size of BUSI's."""
    records, _ = read_synthetic(folder, num_benign=10, num_malignant=10, num_normal=10, height=500, seed=0)
    return records
