"""The first sheet of a workbook that a spreadsheet program shows, with limits on what it may take."""

import logging
import warnings
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from busi.core import InputError, printable

log = logging.getLogger(__name__)

MAX_ROWS = 10_000
MAX_COLUMNS = 200
MAX_BYTES = 20_000_000
"""Of all parts of a workbook, unpacked."""
BROKEN = (
    OSError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    SyntaxError,  # of XML
    EOFError,
    RuntimeError,  # encrypted
    NotImplementedError,
    zipfile.BadZipFile,
    zlib.error,
)
"""What openpyxl and what it is made of raise for damaged files."""


def read_workbook(path: Path, extra: str, warn: bool = True) -> list[list[str]]:
    """Read the first sheet of an ``.xlsx`` file; those that a person has hidden do not count.

    Args:
        path: The workbook.
        extra: The extra of this package that installs openpyxl.
        warn: Whether a warning names other sheets that hold anything.

    Returns:
        All rows as text, of one length: whole numbers without a point, empty cells as empty text. Where cells
        of several rows are merged, each row that holds anything has their text.

    Raises:
        InputError: If openpyxl is not installed, or the file is missing, damaged, no workbook or too large.
    """
    try:
        import openpyxl
    except ImportError:
        raise InputError(
            f"reading {path.name} needs openpyxl: pip install 'openpyxl>=3.1' (the extra {extra})"
        ) from None
    try:
        with zipfile.ZipFile(path) as parts:
            # What is unpacked ends at the size that is said here, whatever follows.
            size = sum(part.file_size for part in parts.infolist())
        if size > MAX_BYTES:
            raise InputError(f"{path} unpacks to {size} bytes, over {MAX_BYTES}: give a smaller workbook")
        with warnings.catch_warnings():  # of styles and forms
            warnings.simplefilter("ignore")
            book = openpyxl.load_workbook(path, read_only=True, data_only=True, keep_links=False)
            try:
                shown = [one for one in book.worksheets if one.sheet_state == "visible"]
                sheet, *others = shown or book.worksheets
                sheet.reset_dimensions()  # a file may say less than it holds
                rows = list(_rows(sheet))
                _fill_merged(rows, sheet)
                passed_over = [other.title for other in others if warn and _holds_any(other)]
            finally:
                book.close()
    except BROKEN as error:
        raise InputError(
            f"cannot read {path}: it is damaged, or no workbook. Get it again ({error})"
        ) from error
    if len(rows) > MAX_ROWS:
        raise InputError(f"{path} has over {MAX_ROWS} rows: give a smaller workbook")
    if passed_over:
        names = printable(", ".join((sheet.title, *passed_over)))
        log.warning("%s has the sheets %s: the first one is read; save the others as files", path, names)
    return rows


def read_sheet(path: Path, columns: Sequence[str], extra: str) -> list[dict[str, str]]:
    """Read some columns of the first sheet of an ``.xlsx`` file; its first row names them.

    Args:
        path: The workbook.
        columns: Those that are read; what is missing is left to the caller.
        extra: The extra of this package that installs openpyxl.

    Returns:
        The rows that are not empty, see `read_workbook`.

    Raises:
        InputError: As `read_workbook`, or if a column is there twice.
    """
    header, *body = read_workbook(path, extra, warn=False) or [[]]
    places = {name: [k for k, text in enumerate(header) if text == name] for name in columns}
    if twice := [name for name, found in places.items() if len(found) > 1]:
        raise InputError(f"{path} has the column {twice[0]} twice: get it again")
    return [{name: row[k] for name, found in places.items() for k in found} for row in body if any(row)]


def _holds_any(sheet: Any) -> bool:
    """Whether a sheet holds something; one that cannot be read counts as one that does."""
    try:
        return any(map(any, _rows(sheet)))
    except BROKEN:
        return True


def _rows(sheet: Any) -> Iterator[list[str]]:
    """Rows as text, all of one length."""
    cells = sheet.iter_rows(max_row=MAX_ROWS + 1, max_col=MAX_COLUMNS, values_only=True)
    return ([_text(cell) for cell in row] + [""] * (MAX_COLUMNS - len(row)) for row in cells)


def _fill_merged(rows: list[list[str]], sheet: Any) -> None:
    """Write the text of merged cells into each row of theirs; nothing into other columns.

    openpyxl finds them only if it loads all of a workbook, and then makes each cell of a range of any size.
    """
    from openpyxl.utils import range_boundaries
    from openpyxl.xml.functions import iterparse

    filled = 0
    with sheet._get_source() as file:
        for _, element in iterparse(file):
            if not element.tag.endswith("}mergeCell"):
                if element.tag.endswith("}row"):
                    element.clear()
                continue
            left, top, _, bottom = range_boundaries(element.get("ref"))
            filled += (below := max(0, min(bottom, len(rows)) - top))
            if filled > MAX_ROWS * MAX_COLUMNS:
                raise ValueError("too many merged cells")
            for row in rows[top : top + below] if left <= MAX_COLUMNS else ():
                if any(row):
                    row[left - 1] = rows[top - 1][left - 1]


def _text(cell: object) -> str:
    if cell is None:
        return ""
    return str(int(cell) if isinstance(cell, float) and cell.is_integer() else cell).strip()
