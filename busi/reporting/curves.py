"""The section with training curves, from the logs of the runs."""

from collections.abc import Sequence

from busi.core import InputError
from busi.figures import Block, PageFigure, Section, draw_curves
from busi.runs import LOG_FILE, Variant, read_log


def describe_curves(variants: Sequence[Variant]) -> list[Section]:
    """The section with a figure for each guide; none if no run has a log, as after `busi.evaluate`."""
    blocks: list[Block] = []
    for variant in variants:
        found = [one for seed in variant.seeds for one in seed if not one.run.members]
        runs = {f"fold {one.fold}, seed {one.seed}": one.run for one in found}
        logs, lost = {}, []
        for name, run in runs.items():
            try:
                log = [row for row in read_log(run.folder / LOG_FILE) if "epoch" in row]
            except InputError:
                log = []
            if log:
                logs[name] = log
            else:
                lost.append(name)
        if not logs:
            continue
        saved = {name: run.provenance["epoch"] for name, run in runs.items()}
        left_out = variant.held_out
        title = f"{variant.name}, {left_out} left out" if left_out else variant.name
        caption = (
            f"{title}: training images dotted, validation images solid, at network size; a vertical line "
            "marks the epoch that was saved"
        )
        if lost:
            caption += f". Without a log that can be read: {'; '.join(lost)}"
        figure = draw_curves(logs, found[0].run.config.monitor, saved)
        name = f"curves_{variant.name}" + (f"_without_{left_out}" if left_out else "")
        blocks.append(PageFigure(name, figure, caption))
    return [Section("Training curves", blocks)] if blocks else []
