"""The log of a run: losses and metrics, epoch by epoch."""

from pathlib import Path

from busi.core import InputError, read_table

LOG_FILE = Path("log") / "metrics.csv"
"""In a run folder."""


def read_log(path: Path) -> list[dict[str, float]]:
    """Read the rows of a log; a row has the values that were logged.

    Raises:
        InputError: If it is missing or damaged.
    """
    try:
        return [{name: float(x) for name, x in row.items() if x} for row in read_table(path)]
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is missing or damaged ({error}): move it away to go on") from error
