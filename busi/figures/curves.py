"""Training curves: losses and metrics, epoch by epoch."""

from collections.abc import Mapping, Sequence
from itertools import cycle
from types import MappingProxyType
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from busi.figures.palette import CHANCE, SERIES, Look

Log = Sequence[Mapping[str, float]]
"""The rows of the log of a run."""
MOST_NAMED = 10
"""Curves in a legend."""


def draw_curves(
    logs: Mapping[str, Log],
    monitor: str,
    saved: Mapping[str, int | None],
    kinds: Mapping[str, str] = MappingProxyType({}),
) -> Figure:
    """Draw loss and metrics against epochs (from 0), of training images dotted, of validation images solid.

    Of one run all metrics are drawn, of several runs the monitored one.

    Args:
        logs: Name of a run -> its log.
        monitor: The metric by which epochs are chosen, e.g. ``val/dice_net``.
        saved: Name of a run -> the epoch that it saved, which is marked.
        kinds: Name of a run -> what the legend calls it; runs of one kind look the same. Without it, each is
            called by its name.
    """
    figure = Figure(figsize=(9, 3.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    several = len(logs) > 1
    looks = cycle(SERIES)
    of_kind: dict[str, Look] = {}
    for name, log in logs.items():
        metrics = [monitor.removeprefix("val/")] if several else list_metrics(log)
        kind = kinds.get(name, name)
        look = of_kind.get(kind) or of_kind.setdefault(kind, next(looks))
        draw_pair(left, log, "loss", look, kind if several else "loss")
        for metric in metrics:
            draw_pair(right, log, metric, look if several else next(looks), kind if several else metric)
        if (epoch := saved.get(name)) is not None:
            for axis in (left, right):
                axis.axvline(epoch, color=look.color if several else CHANCE, linewidth=0.8, linestyle="--")
    left.set(title="loss: training dotted and hollow, validation solid")
    right.set(title=monitor.removeprefix("val/") if several else "metrics at network size")
    for axis in (left, right):
        axis.set_xlabel("epoch, from 0")
        axis.grid(color="#eeeeee")
        axis.xaxis.get_major_locator().set_params(integer=True)
        if max((row.get("epoch", 0) for log in logs.values() for row in log), default=0) == 0:
            axis.set_xticks([0])  # of one epoch alone, matplotlib would number hundredths
        named = len(of_kind) <= len(SERIES)  # beyond, two would look alike
        entries = {text: line for line, text in zip(*axis.get_legend_handles_labels(), strict=True)}
        if named and 0 < len(entries) <= MOST_NAMED:
            axis.legend(entries.values(), entries, fontsize=9)
    return figure


def list_metrics(log: Log) -> list[str]:
    """Metrics of validation images; those of a source are left out, and so is the loss."""
    every = dict.fromkeys(name for row in log for name in row)
    names = [name for name in every if name.startswith("val/") and name.count("/") == 1]
    return [name.removeprefix("val/") for name in names if name != "val/loss"]


def draw_pair(axis: Axes, log: Log, metric: str, look: Look, label: str) -> None:
    """Draw a metric of training and of validation images, as far as they are in the log."""
    for split, style in (("train", ":"), ("val", "-")):
        points = points_of(log, f"{split}/{metric}")
        if points:
            shown = label if split == "val" else ""
            marker = look.marker if len(points) < 8 else ""
            drawn: dict[str, Any] = {"color": look.color, "linestyle": style, "marker": marker}
            drawn |= {"markerfacecolor": "white"} if split == "train" else {}
            axis.plot(*zip(*points, strict=True), **drawn, markersize=4, label=shown)


def points_of(log: Log, name: str) -> list[tuple[int, float]]:
    """The epochs that have a value, and the value."""
    return [(int(row["epoch"]), row[name]) for row in log if "epoch" in row and name in row]
