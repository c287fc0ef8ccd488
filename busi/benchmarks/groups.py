"""The groups of benchmarks, each of which is a module here, and the table of what they measure."""

import importlib
import logging
import os
import platform
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from busi.benchmarks.rows import Row
from busi.core import InputError, missing_package, write_json

log = logging.getLogger(__name__)

GROUPS = ("start", "train", "predict")
"""Measured by default; they take minutes."""
SLOW_GROUPS = ("gpu", "growth", "time-to-dice")
"""Measured when they are asked for by name."""
QUIET = 0.5
"""Load average of a machine that does little else."""


def run_groups(only: str | None, image_size: int, rounds: int | None, json: Path | None) -> list[Row]:
    """Measure, and print a table.

    A group that lacks something is skipped, unless it was asked for by name. What was measured until an
    interrupt is printed and written.

    Args:
        only: One group; all of `GROUPS` without it.
        image_size: Side of the images, in pixels.
        rounds: Repetitions; as many as a group needs without it.
        json: Write the numbers to this file too.

    Raises:
        InputError: If a number is wrong, or the only group lacks something.
    """
    if image_size < 32 or image_size % 32:
        raise InputError(f"--image-size {image_size}: give a multiple of 32, at least 32")
    if rounds is not None and rounds < 1:
        raise InputError(f"--rounds {rounds}: give at least 1")
    if (load := os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0) > QUIET:
        log.warning("Other processes run here (load average %.1f): ratios are less certain", load)
    names = [only] if only else GROUPS
    rows: list[Row] = []
    skipped = dict.fromkeys(names, "not finished")
    try:
        for name in names:
            log.info("Measuring %s", name)
            try:
                rows += measure_group(name, image_size, rounds)
                del skipped[name]
            except (InputError, ModuleNotFoundError) as error:
                if only:
                    raise
                skipped[name] = str(error) if isinstance(error, InputError) else missing_package(error)
                log.warning("Skipped %s: %s", name, skipped[name])
    finally:
        if rows:
            show(rows, skipped, image_size, load, json)
    return rows


def measure_group(name: str, image_size: int, rounds: int | None) -> list[Row]:
    """Rows of a group, with what other processes took meanwhile."""
    group = importlib.import_module(f"busi.benchmarks.{name.replace('-', '_')}")
    began, before = time.perf_counter(), count_other_seconds()
    rows: list[Row] = group.measure(image_size, rounds or group.ROUNDS)
    after, spent = count_other_seconds(), time.perf_counter() - began
    if before is None or after is None:
        return rows
    others = max(0.0, (after - before) / spent)
    return [row._replace(others=others) for row in rows]


def count_other_seconds(path: Path = Path("/proc/stat")) -> float | None:
    """Processor time of all but this process and the children that it has waited for; None if not known.

    Args:
        path: What the kernel says of all processors; see proc(5).
    """
    if not path.exists():
        return None
    user, nice, system, _, _, *interrupts = map(int, path.read_text().splitlines()[0].split()[1:8])
    busy = (user + nice + system + sum(interrupts)) / os.sysconf("SC_CLK_TCK")
    return busy - sum(os.times()[:4])


def show(
    rows: Sequence[Row], skipped: Mapping[str, str], image_size: int, load: float, json: Path | None
) -> None:
    """Print a table of rows and what was skipped, and write them to a file."""
    machine = describe_machine()
    console = Console(width=180)
    console.print(draw_table(rows, f"{machine}, {image_size} px"))
    for name, reason in skipped.items():
        console.print(f"{name}: skipped: {reason}", markup=False)
    if json:
        written = [{**row._asdict(), "met": row.met} for row in rows]
        write_json(json, {"machine": machine, "load_before": load, "rows": written, "skipped": skipped})


def describe_machine() -> str:
    """The GPU if there is one, the CPU, and the threads that PyTorch uses."""
    import torch

    cpu = f"{platform.machine()} CPU, {torch.get_num_threads()} threads"
    return f"{torch.cuda.get_device_name()}, {cpu}" if torch.cuda.is_available() else cpu


def draw_table(rows: Sequence[Row], title: str) -> Table:
    """Rows as they are printed."""
    table = Table("", "", "compared with", "", "target", "met", "other processes took", title=title)
    for row in rows:
        target = "" if row.target is None else f"{'≤' if row.at_most else '≥'} {row.target:g} {row.scale}"
        met = {None: "", True: "yes", False: "no"}[row.met]
        value, relation = f"{row.value:.3g} {row.unit}", f"{row.relation:.2f} {row.scale}"
        if row.spread:
            relation += f" ({row.spread[0]:.2f} to {row.spread[1]:.2f})"
        others = "" if row.others is None else f"{row.others:.1f} cores"
        table.add_row(row.name, value, row.peer, relation, target, met, others)
    return table
