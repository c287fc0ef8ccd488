"""What a JSON file of unknown origin must hold: rules in words, checked field by field."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from busi.core import Rule, number, whole

MAX_TEXT = 300
"""Characters."""


class Each(NamedTuple):
    """An object with any names, whose values all follow one rule."""

    rule: Rule


Schema = Rule | Each | dict[str, "Schema"]
"""A dict has just these names; those that end with ``?`` may be missing."""


def several(rule: Rule, words: str, counts: Sequence[int]) -> Rule:
    """A list of one of these lengths, whose elements follow one rule."""
    return Rule(words, lambda x: isinstance(x, list) and len(x) in counts and all(map(rule.holds, x)))


SHARE = number(0.0, 1.0)
FINITE = number(-1e300, 1e300, "a finite number")
COUNT = whole(0, 10**9)
TEXT = Rule(
    f"printable text of 1 to {MAX_TEXT} characters",
    lambda x: isinstance(x, str) and x.isprintable() and 0 < len(x) <= MAX_TEXT,
)


def digits(length: int) -> Rule:
    """A number in hexadecimal digits, of one length."""
    return Rule(
        f"{length} hexadecimal digits",
        lambda x: isinstance(x, str) and len(x) == length and not set(x) - set("0123456789abcdef"),
    )


HASH, PIXEL_HASH = digits(64), digits(32)


def find_wrong(value: Any, schema: Schema, name: str = "") -> str:
    """What is wrong with a value in words, or nothing."""
    if isinstance(schema, Rule):
        return "" if schema.holds(value) else f"{name} must be {schema.words}, not {show(value)}"
    if not isinstance(value, dict):
        return f"{name} must be an object, not {show(value)}"
    within = f" in {name}" if name else ""
    if isinstance(schema, Each):
        rules: dict[str, Schema] = dict.fromkeys(value, schema.rule)
        unknown = [key for key in value if not TEXT.holds(key)]
    else:
        rules = {key.removesuffix("?"): rule for key, rule in schema.items()}
        unknown = [key for key in value if key not in rules]
        if missing := [key for key in schema if not key.endswith("?") and key not in value]:
            return f"{', '.join(missing)} is missing{within}"
    if unknown:
        return f"{', '.join(map(show, unknown))} is unknown{within}"
    inside = (find_wrong(value[key], rules[key], f"{name}.{key}".lstrip(".")) for key in value)
    return next(filter(None, inside), "")


def show(value: Any) -> str:
    """A value as an error quotes it: short, and printable whatever it holds."""
    try:
        text = repr(value)
    except ValueError:  # of a number with thousands of digits
        return "a huge number"
    return text if len(text) <= 60 else f"{text[:60]}..."
