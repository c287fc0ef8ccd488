"""Estimates as cells of a table and as JSON."""

from collections.abc import Mapping

from busi.figures import Table
from busi.metrics import Estimates, defined

Facts = dict[str, object]
"""What ``report.json`` holds."""

DIGITS = {"hd95": 1}
"""Decimals of numbers that are no shares."""


def cell(name: str, estimates: Estimates) -> str:
    """``0.788 [0.734, 0.834]`` in one line; a dash where the number is undefined."""
    value, low, high = estimates[name]
    digits = DIGITS.get(name, 3)
    if defined(value) is None:
        return "-"
    interval = "" if defined(low) is None else f" [{low:.{digits}f}, {high:.{digits}f}]"
    return f"{value:.{digits}f}{interval}".replace(" ", "\N{NO-BREAK SPACE}")


def facts(estimates: Estimates) -> Facts:
    """Name -> value, low and high; null where undefined."""
    return {
        name: {key: defined(x) for key, x in estimates[name]._asdict().items()} for name in estimates.columns
    }


def estimate_table(names: Mapping[str, str], columns: Mapping[str, Estimates], caption: str) -> Table:
    """Numbers as rows, whose they are as columns.

    Args:
        names: Name of the number -> what the row is called.
        columns: What the column is called -> numbers.
        caption: Of the table.
    """
    rows = [
        [words, *(cell(name, estimates) for estimates in columns.values())] for name, words in names.items()
    ]
    return Table(["", *columns], rows, caption)
