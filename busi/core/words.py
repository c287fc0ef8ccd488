"""Words and what they mean, as they are typed: ``cancer=malignant`` or ``{cancer: malignant}``."""

import argparse
import re
from collections.abc import Sequence

from busi.core.types import CLASSES, InputError

WORDS = re.compile(r"\s*(.+?)\s*=\s*([^=,]*?)\s*(?:,|$)")
"""A word and what it means, of which the word may have commas and equals signs."""


def read_mapping(text: str, option: str) -> dict[str, str]:
    """Read ``{a: b, c: d}``, of which the braces may be left out, or ``a=b,c=d``.

    Args:
        text: As typed.
        option: Its name, for the error.

    Raises:
        InputError: If it is neither.
    """
    pairs = _read_yaml(text) or _read_pairs(text)
    if not pairs or not all(word and meaning for word, meaning in pairs):
        raise InputError(f"{option} {text}: give words and what they mean, as '{{cancer: malignant}}'")
    return dict(pairs)


def labels_argument(text: str) -> list[tuple[str, str]]:
    """The type of ``--labels``: words of a manifest, and the class that each means.

    Raises:
        argparse.ArgumentTypeError: If a word is given no class.
    """
    ways = (_read_yaml, _read_pairs) if text.lstrip().startswith("{") else (_read_pairs, _read_yaml)
    pairs = ways[0](text) or ways[1](text)
    if not pairs or not all(word and meaning.casefold() in CLASSES for word, meaning in pairs):
        raise argparse.ArgumentTypeError(
            f"{text or 'nothing'}: give each word and its class, which is one of {', '.join(CLASSES)}, "
            "e.g. cancer=malignant,fibroadenoma=benign"
        )
    return [(word, meaning.casefold()) for word, meaning in pairs]


def join_labels(pairs: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Word -> class, of all that ``--labels`` was given.

    Raises:
        InputError: If a word means two classes.
    """
    labels: dict[str, str] = {}
    for word, name in pairs:
        if labels.setdefault(word, name) != name:
            raise InputError(f"--labels: {word} cannot mean {labels[word]} and {name}: give one of them")
    return labels


def _read_pairs(text: str) -> list[tuple[str, str]]:
    """The pairs of ``a=b,c=d``; none of another text."""
    pairs: list[tuple[str, str]] = []
    place = 0
    while place < len(text):
        found = WORDS.match(text, place)
        if not found:
            return []
        pairs.append((found[1], found[2]))
        place = found.end()
    return pairs


def _read_yaml(text: str) -> list[tuple[str, str]]:
    """The pairs of ``{a: b, c: d}``; none of another text."""
    import yaml

    stripped = text.strip()
    try:
        found = yaml.load(stripped if stripped.startswith("{") else f"{{{stripped}}}", yaml.BaseLoader)
    except (yaml.YAMLError, RecursionError):
        return []
    if not isinstance(found, dict):
        return []
    # Without a space after the colon, YAML takes all for a word.
    pairs = [(key.partition(":")[::2] if value == "" else (key, value)) for key, value in found.items()]
    if not all(isinstance(value, str) for _, value in pairs) or not any(value for _, value in pairs):
        return []
    return [(key.strip(), value.strip()) for key, value in pairs]
