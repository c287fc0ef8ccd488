"""Tables as CSV files."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

from busi.core.files import write_whole


def read_table(path: Path) -> list[dict[str, str]]:
    """Read the rows of a CSV file, also of one that a spreadsheet began with a byte order mark."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        return list(csv.DictReader(file))


def write_table(path: Path, rows: Sequence[Mapping[str, object]]) -> Path:
    """Write rows with the same keys as CSV, whole or not at all.

    Floats are written in full precision, truth as 0 and 1, sequences with spaces between their items;
    undefined numbers and None as empty fields.
    """

    def write(part: Path) -> None:
        with part.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows({key: _plain(value) for key, value in row.items()} for row in rows)

    return write_whole(path, write)


def _plain(value: object) -> object:
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, (tuple, list)):
        return " ".join(map(str, value))
    return value if value == value else ""  # only NaN differs from itself
