"""What a run reaches on a GPU: training and validation in bfloat16, and prediction by PyTorch."""

import logging
import tempfile
from pathlib import Path

import numpy as np
import torch

from busi.benchmarks import train
from busi.benchmarks.predict import (
    images_per_second,
    make_files,
    network_alone,
    random_info,
    random_two_stage,
)
from busi.benchmarks.rows import Row, relate, take_turns
from busi.core import Float32, InputError, UInt8
from busi.data import find_inputs
from busi.inference import Model, Network, Predictor, as_network, write_graph

log = logging.getLogger(__name__)

ROUNDS = 3
PYTORCH, ALONE = "prediction by PyTorch, from files", "its network alone"
ON_CUDA = "CUDAExecutionProvider"


def measure(image_size: int, rounds: int) -> list[Row]:
    """Measure ``trainer=gpu`` with batches of 32, and prediction in batches of eight.

    Raises:
        InputError: If there is no GPU, or kornia is not installed.
    """
    if not torch.cuda.is_available():
        raise InputError("the group gpu needs a GPU, and PyTorch finds none: run it where there is one")
    return measure_here(image_size, rounds)


def measure_here(image_size: int, rounds: int) -> list[Row]:
    """Measure the same on what is there: without a GPU in float32, with small batches."""
    # What needs an extra comes first: without it, nothing is measured in vain.
    on_device = train.measure_on_device(image_size, rounds)
    prediction = measure_prediction(image_size, rounds)
    return [*train.measure(image_size, rounds), on_device, *prediction]


def measure_prediction(image_size: int, rounds: int) -> list[Row]:
    """Compare prediction by PyTorch with its network alone, and with ONNX Runtime on the same device."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = [str(record.image) for record in make_files(folder)]
        inputs = find_inputs(files, leave_out=folder / "none")
        networks, info = random_two_stage(image_size), random_info(image_size)
        write_graph(networks, image_size, folder / "f32.onnx")
        pytorch = Predictor(Model(as_network(networks), info))
        contestants = {
            ALONE: lambda: network_alone(pytorch, inputs),
            PYTORCH: lambda: images_per_second(pytorch, inputs),
        }
        if opened := open_session(folder / "f32.onnx"):
            peer, network = opened
            other = Predictor(Model(network, info))
            contestants[peer] = lambda: images_per_second(other, inputs)
        speeds = take_turns(contestants, rounds)
    return [relate(speeds, PYTORCH, peer, None) for peer in speeds if peer != PYTORCH]


def open_session(path: Path) -> tuple[str, Network] | None:
    """Open a graph for whole batches where PyTorch computes: the name of the peer; None if that cannot be."""
    import onnxruntime

    provider = ON_CUDA if torch.cuda.is_available() else "CPUExecutionProvider"
    there = provider in onnxruntime.get_available_providers()
    session = onnxruntime.InferenceSession(path, providers=[provider]) if there else None
    if session is None or provider not in session.get_providers():  # CUDA or cuDNN may not fit
        log.warning("Skipped ONNX Runtime on the GPU: install onnxruntime-gpu in place of onnxruntime")
        return None

    def run(
        letterboxed: UInt8[np.ndarray, "b s s"],
    ) -> tuple[Float32[np.ndarray, "b s s"], Float32[np.ndarray, "b c"]]:
        mask_probs, class_probs = session.run(["mask_probs", "class_probs"], {"images": letterboxed})
        return mask_probs, class_probs

    return f"ONNX Runtime, {provider}", run
