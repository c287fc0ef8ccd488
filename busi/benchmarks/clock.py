"""What a pass over images takes."""

import time
from collections.abc import Callable
from typing import NamedTuple

import lightning
import torch

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]


class Speed(NamedTuple):
    """What one pass over images took.

    Attributes:
        images: A second.
        faults: Pages that the kernel mapped, an image.
    """

    images: float
    faults: float


class Clock(lightning.Callback):
    """Times one pass of a trainer over its images.

    Attributes:
        seconds: That the last pass took.
    """

    def __init__(self) -> None:
        self.began = self.seconds = 0.0

    def on_train_epoch_start(self, *_: object) -> None:
        """Start: nothing was loaded yet."""
        self.began = now()

    def on_train_epoch_end(self, *_: object) -> None:
        """Stop."""
        self.seconds = now() - self.began

    def on_validation_epoch_start(self, *_: object) -> None:
        """Start."""
        self.began = now()

    def on_validation_epoch_end(self, *_: object) -> None:
        """Stop."""
        self.seconds = now() - self.began


def now() -> float:
    """Seconds, when the device is done with all that it was given."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def seconds_of(trainer: lightning.Trainer) -> float:
    """Seconds of the last pass of a trainer, by its clock."""
    (clock,) = (callback for callback in trainer.callbacks if isinstance(callback, Clock))  # type: ignore[attr-defined]
    return clock.seconds


def speed_of(work: Callable[[], object], num_images: int) -> Speed:
    """Speed of a call."""
    before, began = count_faults(), now()
    work()
    return Speed(num_images / (now() - began), (count_faults() - before) / num_images)


def count_faults() -> int:
    """Pages that the kernel has mapped for this process; 0 where the system does not say."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt if resource else 0
