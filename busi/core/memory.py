"""How this process gives memory back, and looks for what it no longer needs."""

import contextlib
import ctypes
import gc
import os
import platform
from collections.abc import Iterator

# Parameters of mallopt, see malloc.h.
TRIM_THRESHOLD, TOP_PAD, MMAP_THRESHOLD = -1, -2, -3
LARGEST = 2**31 - 1
LARGEST_BEFORE_2_35 = 2**25
"""Older versions of glibc refuse a larger `MMAP_THRESHOLD`."""
SETTINGS = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_MMAP_MAX_", "MALLOC_TOP_PAD_")
"""Variables that set the same."""
STEP = 2**28
"""Bytes by which the heap grows; pages that nobody touches cost nothing."""

USUAL, RARE = gc.get_threshold(), (100_000, 20, 20)
"""When Python looks for garbage, see `gc.set_threshold`."""


def collect_rarely() -> None:
    """Look for garbage rarely, until `collect_within`.

    Libraries make half a million objects when they are imported, and hardly any garbage. To look through
    them again and again is a quarter of the time of importing PyTorch and Lightning.
    """
    gc.set_threshold(*RARE)


@contextlib.contextmanager
def collect_within() -> Iterator[None]:
    """Look for garbage as often as Python does, but among nothing that was there before.

    What is frozen already (`gc.freeze`) stays so, and nothing more is: its owner decides.
    """
    gc.set_threshold(*USUAL)
    if gc.get_freeze_count():
        yield
        return
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def keep_freed_memory() -> bool:
    """Let the C library keep up to 2 GB of freed memory instead of giving it back to the system.

    A network frees its activations after every layer and asks for as much again. glibc gives such large
    blocks back each time, so that the kernel maps and clears their pages anew: a fifth of a training step
    on the CPU, and up to half of a prediction. The most memory that a training takes stays the same, that
    of a prediction grows by about 0.2 GB.

    Returns:
        Whether it was done. It is not where the C library is another one, or where the environment already
        says how memory is kept (`SETTINGS`, ``GLIBC_TUNABLES``).

    Source: mallopt(3).
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    if any(name in os.environ for name in SETTINGS) or "malloc" in os.environ.get("GLIBC_TUNABLES", ""):
        return False
    mallopt = ctypes.CDLL(None).mallopt
    mapped = mallopt(MMAP_THRESHOLD, LARGEST) or mallopt(MMAP_THRESHOLD, LARGEST_BEFORE_2_35)
    return bool(mapped and mallopt(TRIM_THRESHOLD, LARGEST) and mallopt(TOP_PAD, STEP))
