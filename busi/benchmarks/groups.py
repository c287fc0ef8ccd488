"""The groups of benchmarks, each of which is a module here, and the table of what they measure."""

import importlib
import logging
import os
import platform
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from busi.benchmarks.rows import Row
from busi.core import InputError, write_json

log = logging.getLogger(__name__)

GROUPS = ("start", "train", "predict")
"""Measured by default; they take minutes."""
SLOW_GROUPS = ("growth", "time-to-dice")
"""Measured when they are asked for by name."""
QUIET = 0.5
"""Load average of a machine that does little else."""


def run_groups(only: str | None, image_size: int, rounds: int | None, json: Path | None) -> list[Row]:
    """Measure, and print a table.

    Args:
        only: One group; all of `GROUPS` without it.
        image_size: Side of the images, in pixels.
        rounds: Repetitions; as many as a group needs without it.
        json: Write the numbers to this file too.

    Raises:
        InputError: If a number is wrong, or a group lacks something.
    """
    if image_size < 32 or image_size % 32:
        raise InputError(f"--image-size {image_size}: give a multiple of 32, at least 32")
    if rounds is not None and rounds < 1:
        raise InputError(f"--rounds {rounds}: give at least 1")
    if (load := os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0) > QUIET:
        log.warning("Other processes run here (load average %.1f): ratios are less certain", load)
    rows: list[Row] = []
    for name in [only] if only else GROUPS:
        log.info("Measuring %s", name)
        group = importlib.import_module(f"busi.benchmarks.{name.replace('-', '_')}")
        rows += group.measure(image_size, rounds or group.ROUNDS)
    machine = describe_machine()
    Console(width=140).print(draw_table(rows, f"{machine}, {image_size} px"))
    if json:
        write_json(
            json,
            {
                "machine": machine,
                "load_before": load,
                "rows": [{**row._asdict(), "met": row.met} for row in rows],
            },
        )
    return rows


def describe_machine() -> str:
    """The GPU, or the CPU and the threads that PyTorch uses."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"{platform.machine()} CPU, {torch.get_num_threads()} threads"


def draw_table(rows: Sequence[Row], title: str) -> Table:
    """Rows as they are printed."""
    table = Table("", "", "compared with", "", "target", "met", title=title)
    for row in rows:
        target = "" if row.target is None else f"{'≤' if row.at_most else '≥'} {row.target:g} {row.scale}"
        met = {None: "", True: "yes", False: "no"}[row.met]
        value, relation = f"{row.value:.3g} {row.unit}", f"{row.relation:.2f} {row.scale}"
        if row.spread:
            relation += f" ({row.spread[0]:.2f} to {row.spread[1]:.2f})"
        table.add_row(row.name, value, row.peer, relation, target, met)
    return table
