"""The section with training curves, from the logs of the runs."""

from collections.abc import Mapping, Sequence

from busi.core import InputError
from busi.figures import SERIES, Block, PageFigure, Section, draw_curves
from busi.runs import LOG_FILE, Variant, read_log


def describe_curves(variants: Sequence[Variant]) -> list[Section]:
    """The section with a figure for each guide; none if no run has a log, as after `busi.evaluate`."""
    blocks: list[Block] = []
    for variant in variants:
        found = [one for seed in variant.seeds for one in seed if not one.run.members]
        named = {f"fold {one.fold}, seed {one.seed}": one for one in found}
        runs = {name: one.run for name, one in named.items()}
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
        kinds = name_kinds({name: (named[name].fold, named[name].seed) for name in logs})
        figure = draw_curves(logs, found[0].run.config.monitor, saved, kinds)
        name = f"curves_{variant.name}" + (f"_without_{left_out}" if left_out else "")
        blocks.append(PageFigure(name, figure, caption))
    return [Section("Training curves", blocks)] if blocks else []


def name_kinds(runs: Mapping[str, tuple[object, object]]) -> dict[str, str]:
    """What a legend calls each run, so that it has no more entries than there are looks.

    Args:
        runs: Name -> fold and seed.

    Returns:
        The names themselves, if they are few; else the folds, the seeds, or how many runs there are.
    """
    names = list(runs)
    folds = [f"fold {fold}" for fold, _ in runs.values()]
    seeds = [f"seed {seed}" for _, seed in runs.values()]
    ways = [way for way in (names, folds, seeds) if 1 < len(set(way)) <= len(SERIES)]
    return dict(zip(names, ways[0] if ways else [f"{len(names)} runs"] * len(names), strict=True))
