"""Text from outside, such as names of files, as one line that any file and any terminal takes."""

import re
import unicodedata
from collections.abc import Sequence
from typing import Any

from busi.core.types import InputError

ODD = frozenset({"Cc", "Cs", "Zl", "Zp"})
"""Categories of control characters, of bytes of a file name that are no UTF-8, and of line ends."""


def printable(text: str, instead: str | None = None) -> str:
    r"""Replace what cannot be printed: control characters, line ends, bytes that are no UTF-8.

    Args:
        text: Also with surrogate escapes, which stand for such bytes in Python's names of files.
        instead: What takes the place of each; without it an escape sequence such as ``\n`` or ``\xe9``.
    """
    if text.isprintable():
        return text
    return "".join(_escape(x, instead) if unicodedata.category(x) in ODD else x for x in text)


def quote_path(path: str) -> str:
    """A path as Hydra reads it back, whatever is in its name."""
    # A backslash means itself, unless a quote or the end follows.
    inside = re.sub(r"(\\+)('|\Z)", lambda found: found[1] * 2 + found[2], path).replace("'", "\\'")
    return f"'{inside}'"


def list_some(names: Sequence[str], most: int = 10) -> str:
    """The first of some names on one line, and how many more they are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{', '.join(names[:most])}{more}"


def one_line(error: BaseException) -> str:
    """The message of an error in one line; of one of Hydra that an `InputError` led to, that of this."""
    hidden = isinstance(error.__cause__, InputError) and not isinstance(error, InputError)
    return " ".join(str(error.__cause__ if hidden else error).split())


def first_error(error: Any) -> str:
    """Where the first error of a ``pydantic.ValidationError`` is, and what it is."""
    first = error.errors()[0]
    return f"{'.'.join(map(str, first['loc'])) or 'the whole'}: {first['msg']}"


def _escape(character: str, instead: str | None) -> str:
    if instead is not None:
        return instead
    if "\udc80" <= character <= "\udcff":
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape").decode()
