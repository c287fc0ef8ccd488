"""What a run reaches on a GPU: training and validation in bfloat16, and prediction by PyTorch."""

import tempfile
from pathlib import Path

import torch

from busi.benchmarks import train
from busi.benchmarks.predict import (
    images_per_second,
    make_files,
    network_alone,
    random_predictor,
)
from busi.benchmarks.rows import Row, relate, take_turns
from busi.core import InputError
from busi.data import find_inputs

ROUNDS = 3
PYTORCH, ALONE = "prediction by PyTorch, from files", "its network alone"


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
    on_device = train.measure_on_device(image_size, rounds)
    with tempfile.TemporaryDirectory() as name:
        files = [str(record.image) for record in make_files(Path(name))]
        inputs = find_inputs(files, leave_out=Path(name, "none"))
        pytorch = random_predictor(image_size)
        speeds = take_turns(
            {
                ALONE: lambda: network_alone(pytorch, inputs),
                PYTORCH: lambda: images_per_second(pytorch, inputs),
            },
            rounds,
        )
    return [*train.measure(image_size, rounds), on_device, relate(speeds, PYTORCH, ALONE, None)]
