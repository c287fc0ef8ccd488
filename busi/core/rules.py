"""What a value must be, as a test and in words: of settings, arguments and JSON files."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from busi.core.accepted import as_typed

LAST_SEED, MAX_SIZE, MAX_BATCH, MAX_FOLDS = 2**32 - 1, 4096, 100_000, 1000
"""Limits of seeds, of the side of images, of images at once, and of folds: of settings and of stored ones."""


class Rule(NamedTuple):
    """What a value must be: in words, and as a test."""

    words: str
    holds: Callable[[Any], bool]


def is_whole(value: object) -> bool:
    """Whether a value is a whole number; true and false are none."""
    return isinstance(value, int) and not isinstance(value, bool)


def whole(low: int, high: int | float = math.inf) -> Rule:
    """A whole number within limits."""
    limit = f", at least {low}" if high == math.inf else f" from {low} to {high}"
    return Rule(f"a whole number{limit}", lambda x: is_whole(x) and low <= x <= high)


def number(low: float, high: float = math.inf, words: str = "") -> Rule:
    """A finite number within limits; in other words, if given."""
    limit = f", at least {low:g}" if high == math.inf else f" from {low:g} to {high:g}"
    return Rule(words or f"a number{limit}", lambda x: is_number(x) and low <= x <= high and x < math.inf)


def is_number(value: object) -> bool:
    """Whether a value is a number; true and false are none."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def one_of(*values: object) -> Rule:
    """One of some values; 1 is not true."""
    known = [(type(value), value) for value in values]
    return Rule(" or ".join(map(as_typed, values)), lambda x: (type(x), x) in known)


def or_null(rule: Rule) -> Rule:
    """What follows a rule, or null."""
    return Rule(f"{rule.words}, or null", lambda x: x is None or rule.holds(x))
