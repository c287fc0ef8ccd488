"""How long commands take until they answer, a run until its first step, and predicting one image."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from operator import sub
from pathlib import Path
from statistics import median

import lightning
import numpy as np
from PIL import Image

from busi.benchmarks.rows import Row, exceed, spread, take_turns
from busi.core import InputError
from busi.data import draw_sample

ROUNDS = 5
HYDRA, LIBRARIES = "import hydra", "import torch, lightning and smp"
HELP, CONFIG, STEP = "--help", "--cfg job", "start to the end of the first step"
ENGINE, ONE = "import onnxruntime, numpy and PIL", "predict one image, from the command to its end"


class LeaveAfterStep(lightning.Callback):
    """Ends the process after the first optimizer step, with nothing written."""

    def on_train_batch_end(self, *_: object) -> None:
        """Leave at once."""
        os._exit(0)


def measure(image_size: int, rounds: int) -> list[Row]:
    """Measure seconds of whole processes beyond those of the imports that they need in any case.

    The run is one on synthetic data that are in the cache, as from the second run on.
    """
    with tempfile.TemporaryDirectory() as name:
        image = Path(name, "image.png")
        Image.fromarray(draw_sample(1, np.random.default_rng(0), 500).image).save(image)
        run = [
            *("stage=seg", "data=synthetic", f"image_size={image_size}", "~callbacks.progress"),
            "trust=[busi.benchmarks]",
            "+callbacks.leave._target_=busi.benchmarks.start.LeaveAfterStep",
        ]
        commands = {
            HYDRA: ["-c", "import hydra"],
            HELP: ["-m", "busi.train", "--help"],
            CONFIG: ["-m", "busi.train", "--cfg", "job"],
            LIBRARIES: ["-c", "import torch, lightning, segmentation_models_pytorch"],
            STEP: ["-m", "busi.train", *run],
            ENGINE: ["-c", "import onnxruntime, numpy, PIL"],
            ONE: ["-m", "busi.predict", str(image), "--output", "predictions"],
        }
        spent = take_turns(
            {key: partial(time_process, arguments, Path(name)) for key, arguments in commands.items()}, rounds
        )

    def row(name: str, peer: str, target: float) -> Row:
        own, theirs = spent[name], spent[peer]
        more, between = exceed(own, theirs), spread(own, theirs, sub)
        return Row(name, median(own), "s", peer, more, "s more", target, at_most=True, spread=between)

    return [
        row(HELP, HYDRA, 2.0),
        row(CONFIG, HYDRA, 2.0),
        row(STEP, LIBRARIES, 2.0),
        row(ONE, ENGINE, 0.3),
    ]


def time_process(arguments: Sequence[str], folder: Path) -> float:
    """Seconds of a Python process from its start to its end, in an empty folder with a cache of its own.

    Args:
        arguments: Of the interpreter.
        folder: Holds the cache; the process runs in a new folder within it.

    Raises:
        InputError: If the process fails.
    """
    # As from the second call on of an installed busi, whose modules are compiled.
    environment = {**os.environ, "BUSI_CACHE": str(folder / "cache"), "PYTHONDONTWRITEBYTECODE": ""}
    place = tempfile.mkdtemp(dir=folder)
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, *arguments], cwd=place, env=environment, capture_output=True, text=True, check=False
    )
    spent = time.perf_counter() - began
    check_ended(done, arguments)
    return spent


def check_ended(done: subprocess.CompletedProcess[str], arguments: Sequence[str]) -> None:
    """Raise `InputError` with the last line of a Python process that failed."""
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise InputError(f"python {' '.join(arguments)} failed: {said[-1] if said else done.returncode}")
