"""Estimates as cells of a table and as JSON."""

from collections.abc import Iterable, Mapping

from busi.figures import Cell, Table
from busi.metrics import Estimate, Estimates, defined

JsonObject = dict[str, object]
"""A part of ``report.json``."""

TOO_FEW = " (too few)".replace(" ", "\N{NO-BREAK SPACE}")
"""Stands in place of an interval that too few cases allow."""
DIGITS = {"hd95": 1}
"""Decimals of metrics that have not three."""


def cell(name: str, estimates: Estimates) -> str:
    """``0.788 [0.734, 0.834]`` in one line; a dash where the metric is undefined.

    ``0.788 (too few)`` where there are too few cases for an interval.
    """
    text = show(estimates[name], DIGITS.get(name, 3))
    return f"{text}{TOO_FEW}" if text != "-" and estimates.too_few(name) else text


def show(estimate: Estimate, digits: int = 3) -> str:
    """A value with its interval, or a dash, as in `cell`."""
    value, low, high = estimate
    if defined(value) is None:
        return "-"
    interval = "" if defined(low) is None else f" [{low:.{digits}f}, {high:.{digits}f}]"
    return f"{value:.{digits}f}{interval}".replace(" ", "\N{NO-BREAK SPACE}")


def to_json(estimates: Estimates, names: Iterable[str] | None = None) -> JsonObject:
    """Name -> value, low and high, and the numbers of images and groups; null where undefined.

    Args:
        estimates: Of the metrics.
        names: Those that are wanted; None for all.
    """
    return {
        name: {
            **{key: defined(x) for key, x in estimates[name]._asdict().items()},
            **({"images": cases.images, "groups": cases.groups} if cases else {}),
        }
        for name in (estimates.columns if names is None else names)
        for cases in [estimates.cases.get(name)]
    }


def estimate_table(
    names: Mapping[str, str],
    columns: Mapping[str, Estimates],
    caption: str,
    counts: Mapping[str, str],
) -> Table:
    """A table with a row for each metric, below numbers of images.

    Args:
        names: Name of a metric -> title of its row.
        columns: Title of a column -> its estimates.
        caption: Of the table.
        counts: Title of a row -> the metric whose images it counts.
    """
    rows: list[list[Cell]] = [
        [title, *(str(one.cases[name].images) if name in one.cases else None for one in columns.values())]
        for title, name in counts.items()
    ]
    rows += [
        [title, *(cell(name, estimates) for estimates in columns.values())] for name, title in names.items()
    ]
    return Table(["", *columns], rows, caption)
