"""Estimates as cells of a table and as JSON."""

from collections.abc import Mapping

from busi.figures import Table
from busi.metrics import Estimate, Estimates, defined

JsonObject = dict[str, object]
"""A part of ``report.json``."""

DIGITS = {"hd95": 1}
"""Decimals of metrics that have not three."""


def cell(name: str, estimates: Estimates) -> str:
    """``0.788 [0.734, 0.834]`` in one line; a dash where the metric is undefined."""
    return show(estimates[name], DIGITS.get(name, 3))


def show(estimate: Estimate, digits: int = 3) -> str:
    """A value with its interval, or a dash, as in `cell`."""
    value, low, high = estimate
    if defined(value) is None:
        return "-"
    interval = "" if defined(low) is None else f" [{low:.{digits}f}, {high:.{digits}f}]"
    return f"{value:.{digits}f}{interval}".replace(" ", "\N{NO-BREAK SPACE}")


def to_json(estimates: Estimates) -> JsonObject:
    """Name -> value, low and high; null where undefined."""
    return {
        name: {key: defined(x) for key, x in estimates[name]._asdict().items()} for name in estimates.columns
    }


def estimate_table(names: Mapping[str, str], columns: Mapping[str, Estimates], caption: str) -> Table:
    """A table with a row for each metric.

    Args:
        names: Name of a metric -> title of its row.
        columns: Title of a column -> its estimates.
        caption: Of the table.
    """
    rows = [
        [title, *(cell(name, estimates) for estimates in columns.values())] for name, title in names.items()
    ]
    return Table(["", *columns], rows, caption)
