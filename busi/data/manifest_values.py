"""What the columns of a manifest may hold: words for the classes, source, scanner, BI-RADS, spacing, fold."""

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from busi.core import CLASSES, InputError

MAX_SOURCE, MAX_SCANNER = 40, 100
"""Characters."""
SPACINGS = (0.001, 10.0)
"""Millimeters a pixel that an ultrasound image may have: beyond, the unit is another one."""
BIRADS = re.compile(r"(?:bi[\s-]?rads[\s:-]*)?(?:([0-6])(?:[.,]0)?|(4[abc]))", re.IGNORECASE)
"""Also with the name in front, and as spreadsheets write whole numbers (``4.0``, ``4,0``)."""


def parse_source(text: str) -> str:
    """A source: a short name that is part of the names of metrics and files."""
    if name_source(text) != text:
        raise ValueError
    return text


def name_source(text: str) -> str:
    """A name as a source: letters, digits and ``_``, inside also ``.`` and ``-``; any other becomes ``_``."""
    return re.sub(r"^[^\w]|[^\w.-]", "_", text[:MAX_SOURCE])


def parse_scanner(text: str) -> str:
    """A scanner: any text, apart from spaces that nobody sees."""
    text = " ".join(text.split())
    if len(text) > MAX_SCANNER:
        raise ValueError
    return text


def parse_birads(text: str) -> str:
    """A BI-RADS category as ``0`` to ``6``, ``4a``, ``4b`` or ``4c``."""
    found = BIRADS.fullmatch(text)
    if not found:
        raise ValueError
    return (found[1] or found[2]).lower()


def parse_spacing(text: str) -> tuple[float, float]:
    """Millimeters a pixel, down and across, of one number or two; with a decimal point or comma."""
    numbers = [float(part.strip().replace(",", ".")) for part in text.split(";")]
    spacing = keep_spacing((numbers[0], numbers[-1]))
    if spacing is None or len(numbers) > 2:
        raise ValueError
    return spacing


def keep_spacing(spacing: Sequence[float] | None) -> tuple[float, float] | None:
    """Millimeters a pixel, down and across; None if unknown, or beyond what an ultrasound image has."""
    if spacing is None or not all(SPACINGS[0] <= number <= SPACINGS[1] for number in spacing):
        return None
    return float(spacing[0]), float(spacing[1])


def parse_fold(text: str) -> int:
    """A fold, counted from 0; also as spreadsheets write whole numbers (``2.0``)."""
    if not re.fullmatch(r"\d{1,3}(\.0)?", text, re.ASCII):
        raise ValueError
    return int(float(text))


def fold_case(text: str) -> str:
    """Equal for texts that differ in case, or in how their accents are stored."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())


def read_labels(labels: Mapping[str, str]) -> dict[str, int]:
    """The number of the class that each word means, be it a class name or one of the user's own, in any case.

    Raises:
        InputError: If a word means no class, or a class name means another class.
    """
    known = {name: k for k, name in enumerate(CLASSES)}
    words = dict(known)
    for word, name in labels.items():
        number = known.get(fold_case(str(name).strip()))
        if number is None or words.setdefault(fold_case(str(word).strip()), number) != number:
            raise InputError(
                f"labels: {word} cannot mean {name}: give a word of the data and its class, which is one "
                f"of {', '.join(CLASSES)} and no other where the word is one (data.read.labels={{cancer: "
                "malignant} in training, --labels cancer=malignant elsewhere)"
            )
    return words


class Spellings:
    """Values of columns, each in the spelling in which it first appeared."""

    def __init__(self) -> None:
        self._first: dict[tuple[str, str], str] = {}

    def __call__(self, column: str, text: str) -> str:
        """The first spelling of a value."""
        return self._first.setdefault((column, fold_case(text)), text)


PARSERS: Mapping[str, tuple[Callable[[str], Any], str]] = {
    "source": (
        parse_source,
        f"a short name of letters, digits, '_', '.' and '-' (at most {MAX_SOURCE})",
    ),
    "scanner": (parse_scanner, f"a text of at most {MAX_SCANNER} characters"),
    "birads": (parse_birads, "one of 0 to 6, 4a, 4b, 4c"),
    "spacing": (
        parse_spacing,
        "millimeters a pixel, one number or two as 0.1;0.08 (down; across), from "
        f"{SPACINGS[0]:g} to {SPACINGS[1]:g}",
    ),
    "fold": (parse_fold, "a whole number from 0 on"),
}
"""Column -> what makes its value of a cell, raising `ValueError`, and what the cell has to be."""
