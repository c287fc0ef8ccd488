"""Tables as CSV files; `busi.core.given_tables` checks those that users give.

A spreadsheet executes text that begins like a formula. It is written with an apostrophe in front, and read
without it: at the beginning of a cell, and inside it after each sign at which a spreadsheet of another locale
begins a new cell, which ignores our quotation marks. Numbers are no formulas, alone or with an
interval.
"""

import codecs
import csv
import io
import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from busi.core.files import write_whole
from busi.core.types import InputError

log = logging.getLogger(__name__)

NUMBER = r"[+-]?(?:(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?|inf|nan)"
ESTIMATE = rf"{NUMBER}(?: \[{NUMBER}, {NUMBER}\])?"
"""A number, or one with its interval."""
BEGINNING = rf"(?:\A(?!'*{ESTIMATE}\Z)|(?<=[;|\t\r\n]))"
"""Where a cell begins: here, or once a spreadsheet has split it at these signs."""
FORMULA = r"(?='*(?:[^\S\t\r\n]|\")*[=+\-@\uff1d\uff0b\uff0d\uff20])"
"""What it executes, after spaces and quotation marks; the last four are the wide forms of the same signs."""
ARMED = re.compile(BEGINNING + FORMULA, re.IGNORECASE)
DISARMED = re.compile(f"{BEGINNING}'{FORMULA}", re.IGNORECASE)
WORKBOOKS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")
"""How files begin that spreadsheet programs write when nobody asks for CSV."""
ENCODINGS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # begins as UTF-16 does
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
SEPARATORS = ",;\t|"


def write_table(path: Path, rows: Sequence[Mapping[str, object]]) -> Path:
    """Write rows with the same keys as CSV in UTF-8, whole or not at all; of no rows, an empty file.

    Floats are written in full precision, truth as 0 and 1, sequences with spaces between their items;
    undefined numbers and None as empty fields; formulas with an apostrophe in front.
    """

    def write(part: Path) -> None:
        with part.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file:
            writer = csv.writer(file)
            for header in rows[:1]:
                writer.writerow([_disarm(name) for name in header])
                writer.writerows([_plain(row[name]) for name in header] for row in rows)

    return write_whole(path, write)


def read_table(path: Path) -> list[dict[str, str]]:
    """Read a table that `write_table` wrote: what comes back are the same texts.

    Args:
        path: Of the table.

    Raises:
        OSError: If there is no such file.
        InputError: If it is damaged.
    """
    rows = read_cells(path)
    if not rows:
        return []
    (_, header), *body = rows
    for number, row in body:
        if len(row) != len(header):
            raise InputError(
                f"{path} is damaged: row {number} has {len(row)} cells, its header {len(header)}"
            )
    return [dict(zip(header, row, strict=True)) for _, row in body]


def read_cells(path: Path, guess: bool = False) -> list[tuple[int, list[str]]]:
    """The rows of a table, each with its number in a spreadsheet; lines without anything are left out.

    UTF-8 and UTF-16; separated by commas, semicolons, tabs or bars, whatever splits its first row most.

    Args:
        path: Of the table.
        guess: Take what is not UTF-8 for Windows-1252, with a warning.

    Raises:
        OSError: If there is no such file.
        InputError: If it is damaged, or no table.
    """
    text = _decode(path, guess)
    first, separator = 1, ""
    if told := re.match(r'"?sep=(.)"?\r?\n?', text, re.IGNORECASE):  # for Excel
        first, separator, text = 2, told[1], text[told.end() :]
    rows: list[tuple[int, list[str]]] = []
    try:
        separator = separator or max(SEPARATORS, key=lambda sign: len(_first_row(text, sign)))
        for number, row in enumerate(csv.reader(_lines(text), delimiter=separator, strict=True), first):
            if row:
                rows.append((number, [_rearm(cell) for cell in row]))
    except csv.Error as error:
        where = f"after row {rows[-1][0]}" if rows else "in its first row"
        raise InputError(f"{path} is damaged {where}: {error}") from error
    return rows


def _decode(path: Path, guess: bool) -> str:
    content = path.read_bytes()
    if content.startswith(WORKBOOKS):
        raise InputError(f"{path} is the workbook of a spreadsheet program: save it as CSV (UTF-8)")
    encoding = next((name for mark, name in ENCODINGS if content.startswith(mark)), "utf-8")
    for name in (encoding, "cp1252") if guess and encoding == "utf-8" else (encoding,):
        try:
            text = content.decode(name)
        except UnicodeDecodeError:
            continue
        if "\0" in text:
            break
        if name == "cp1252":
            log.warning("%s is not in UTF-8: reading it as Windows-1252", path)
        return text
    raise InputError(f"{path} is damaged, no table, or in an unknown encoding: save it as CSV (UTF-8)")


def _lines(text: str) -> io.StringIO:
    return io.StringIO(text, newline="")  # line ends inside quotes are kept


def _first_row(text: str, separator: str) -> list[str]:
    return next((row for row in csv.reader(_lines(text), delimiter=separator) if any(row)), [])


def _disarm(text: str) -> str:
    return ARMED.sub("'", text)


def _rearm(text: str) -> str:
    return DISARMED.sub("", text)


def _plain(value: object) -> object:
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, (tuple, list)):
        value = " ".join(map(str, value))
    if isinstance(value, str):
        return _disarm(value)
    return value if value == value else ""  # only NaN differs from itself
