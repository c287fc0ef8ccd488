"""The section with training curves, from the logs of the runs."""

from collections.abc import Sequence
from pathlib import Path

from busi.core import InputError, read_table
from busi.figures import Block, PageFigure, Section, draw_curves
from busi.runs import Run, Variant


def describe_curves(variants: Sequence[Variant]) -> list[Section]:
    """The section with a figure for each guide; none if no run has a log, as after `busi.evaluate`."""
    blocks: list[Block] = []
    for variant in variants:
        found = [one for seed in variant.seeds for one in seed if not one.run.members]
        names = {f"fold {one.fold}, seed {one.seed}": one.run for one in found}
        try:
            logs = {name: read_table(log) for name, run in names.items() if (log := log_of(run)).is_file()}
            if not logs:
                continue
            saved = {name: run.provenance["epoch"] for name, run in names.items()}
            figure = draw_curves(logs, found[0].run.config.monitor, saved)
        except (InputError, OSError, ValueError) as error:
            blocks.append(f"Training curves of {variant.name} cannot be drawn: {error}.")
            continue
        caption = (
            f"{variant.name}: training images dotted, validation images solid, at network size; a vertical "
            "line marks the epoch that was saved"
        )
        blocks.append(PageFigure(f"curves_{variant.name}", figure, caption))
    return [Section("Training curves", blocks)] if blocks else []


def log_of(run: Run) -> Path:
    """The log of a run."""
    return run.folder / "log" / "metrics.csv"
