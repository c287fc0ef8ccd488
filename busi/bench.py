"""``python -m busi.bench``: how close this machine comes to what it could do, as ratios."""

import argparse
import importlib
import logging
import platform
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from busi.benchmarks import Row
from busi.core import InputError, run_command, write_json

log = logging.getLogger(__name__)

GROUPS = ("start", "train", "predict")
"""Measured by default: minutes."""

SLOW = ("growth", "time-to-dice")
"""Measured when they are asked for by name."""


def main() -> None:
    """Parse the arguments, measure, and print a table."""
    parser = argparse.ArgumentParser(prog="python -m busi.bench", description=__doc__)
    parser.add_argument(
        "--only", choices=(*GROUPS, *SLOW), help=f"one group; {' and '.join(SLOW)} are measured by name only"
    )
    parser.add_argument("--image-size", type=int, default=256, help="side of the square (default: 256)")
    parser.add_argument("--rounds", type=int, help="repetitions, in turns (default: as many as it needs)")
    parser.add_argument("--json", type=Path, help="write the numbers here too")
    arguments = parser.parse_args()
    if arguments.image_size < 32 or arguments.image_size % 32:
        raise InputError(f"--image-size {arguments.image_size}: give a multiple of 32, at least 32")
    if arguments.rounds is not None and arguments.rounds < 1:
        raise InputError(f"--rounds {arguments.rounds}: give at least 1")
    rows: list[Row] = []
    for name in [arguments.only] if arguments.only else GROUPS:
        log.info("Measuring %s", name)
        group = importlib.import_module(f"busi.benchmarks.{name.replace('-', '_')}")
        rows += group.measure(arguments.image_size, arguments.rounds or group.ROUNDS)
    title = f"{describe_machine()}, {arguments.image_size} px"
    Console(width=140).print(draw_table(rows, title))
    if arguments.json:
        written = [{**row._asdict(), "met": row.met} for row in rows]
        write_json(arguments.json, {"machine": describe_machine(), "rows": written})


def describe_machine() -> str:
    """What measured: the GPU, or the processor and the threads that PyTorch uses."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"{platform.machine()} CPU, {torch.get_num_threads()} threads"


def draw_table(rows: list[Row], title: str) -> Table:
    """Rows as they are printed."""
    table = Table("", "", "compared with", "", "target", "met", title=title)
    for row in rows:
        target = "" if row.target is None else f"{'≤' if row.at_most else '≥'} {row.target:g} {row.scale}"
        met = {None: "", True: "yes", False: "no"}[row.met]
        value, relation = f"{row.value:.3g} {row.unit}", f"{row.relation:.2f} {row.scale}"
        table.add_row(row.name, value, row.peer, relation, target, met)
    return table


if __name__ == "__main__":
    run_command(main)
