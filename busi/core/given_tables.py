"""Tables that users give, made with a spreadsheet or by hand: read as far as they are clear, else refused."""

import difflib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from busi.core.tables import read_cells
from busi.core.text import printable
from busi.core.types import InputError

EMPTY_WORDS = frozenset({"na", "n/a", "#n/a", "nan", "none", "null", "<na>"})
"""What other programs write for an empty cell."""
OWN = "_"
"""How the name of a column begins that is the user's own, and passed over."""


def read_given_table(
    path: Path,
    required: Sequence[str],
    optional: Sequence[str] = (),
    meant: Mapping[str, Sequence[str]] | None = None,
    other_names: Mapping[str, str] | None = None,
) -> dict[int, dict[str, str]]:
    """Read a table that a user made; see `busi.core.tables.read_cells` for encodings and separators.

    Values are stripped. Rows and columns without any text are passed over, and so are columns whose name
    begins with an underscore.

    Args:
        path: Of the table.
        required: Columns that it must have.
        optional: Columns that it may have.
        meant: Other words for columns, to guess what an unknown one means.
        other_names: Names that columns may have, too.

    Returns:
        The rows by their numbers in a spreadsheet, where the header is row 1; at least one. Each has all
        columns, with empty text for those that the table lacks.

    Raises:
        InputError: If it cannot be read, has no rows, an unknown, repeated or missing column, or cells that
            belong to no column or hold what is no value.
    """
    try:
        cells = [(number, [cell.strip() for cell in row]) for number, row in read_cells(path, guess=True)]
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    rows = [(number, row) for number, row in cells if any(row)]
    if len(rows) < 2:
        raise InputError(f"{path} has no rows: it needs the columns {' and '.join(required)}, and rows")
    (_, found), *body = rows
    header = [(other_names or {}).get(name, name) for name in found]
    check_shape(path, header, body)
    names = [name for name in header if name and not name.startswith(OWN)]
    check_names(path, names, required, optional, meant or {}, other_names or {})
    places = {name: header.index(name) for name in names}
    table = {
        number: {name: row[places[name]] if name in places else "" for name in (*required, *optional)}
        for number, row in body
    }
    for number, values in table.items():
        for name, value in values.items():
            if printable(value) != value:
                raise InputError(
                    f"{path}, row {number}: {name} holds a line end or another control character"
                )
            if value.lower() in EMPTY_WORDS:
                raise InputError(f"{path}, row {number}: {name} is '{value}': leave what is unknown empty")
    return table


def check_shape(path: Path, header: Sequence[str], body: Sequence[tuple[int, Sequence[str]]]) -> None:
    """Raise `InputError` unless every cell with text has a column, and every row a cell for each column."""
    width = max(k + 1 for k, name in enumerate(header) if name)
    for number, row in body:
        if len(row) < width or any(row[len(header) :]):
            raise InputError(
                f"{path}, row {number} has {len(row)} cells, the header {width}: write the separators of "
                "empty cells too, and put quotes around text that holds a separator"
            )
        for k, name in enumerate(header):
            if not name and any(row[k : k + 1]):
                raise InputError(f"{path}: column {k + 1} has no name: name it, or '{OWN}' to pass it over")


def check_names(
    path: Path,
    names: Sequence[str],
    required: Sequence[str],
    optional: Sequence[str],
    meant: Mapping[str, Sequence[str]],
    other_names: Mapping[str, str],
) -> None:
    """Raise `InputError` unless the columns are known, and each is there once; guess what others mean."""
    known = (*required, *optional)
    if unknown := [name for name in names if name not in known]:
        free = [name for name in known if name not in names]
        listed = ", ".join(f"'{name}'{guess(name, free, meant)}" for name in unknown[:10])
        more = f" and {len(unknown) - 10} more" if len(unknown) > 10 else ""
        may = f", and may have {', '.join(optional)}" if optional else ""
        raise InputError(
            f"{path} has unknown columns: {listed}{more}. "
            f"It needs the columns {' and '.join(required)}{may}; begin the name of one of your own "
            f"with {OWN} to pass it over: '{OWN}{unknown[0]}'"
        )
    if twice := [name for name in known if names.count(name) > 1]:
        same = "".join(f" ({word} is the same)" for word, name in other_names.items() if name == twice[0])
        raise InputError(f"{path} has the column {twice[0]} {names.count(twice[0])} times{same}: keep one")
    if any(name not in names for name in required):
        raise InputError(f"{path} needs the columns {' and '.join(required)}, has: {', '.join(names)}")


def guess(name: str, free: Sequence[str], meant: Mapping[str, Sequence[str]]) -> str:
    """The question whether an unknown column means one that the table lacks; empty without an idea."""
    words = {word: column for column in free for word in (column, *meant.get(column, ()))}
    plain = re.sub(r"[\W_]", "", name).lower()
    # Whole words before parts of words, long parts before short ones, and those before misspelled words.
    parts = [word for word in sorted(words, key=len, reverse=True) if word in plain]
    close = difflib.get_close_matches(plain, words, 1, 0.7)
    found = [plain] if plain in words else parts or close
    return f" (did you mean {words[found[0]]}?)" if found else ""
