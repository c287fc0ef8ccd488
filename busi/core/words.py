"""Words and what they mean, as they are typed: ``cancer=malignant`` or ``{cancer: malignant}``."""

import argparse
import re
from collections.abc import Sequence

from busi.core.types import CLASSES, InputError

WORDS = re.compile(r"\s*(.+?)\s*=\s*([^=,]*?)\s*(?:,|$)")
"""A word and what it means, of which the word may have commas and equals signs."""


def read_mapping(text: str, option: str) -> dict[str, str]:
    """Read ``a=b,c=d`` or ``{a: b, c: d}``, of which the braces may be left out.

    Args:
        text: As typed.
        option: Its name, for the error.

    Raises:
        InputError: If it is neither, or a word means two things.
    """
    pairs = _read(text)
    if not pairs or not all(word and meaning for word, meaning in pairs):
        raise InputError(f"{option} {text}: give words and what they mean, as '{{cancer: malignant}}'")
    return join_labels(pairs, option)


def labels_argument(text: str) -> list[tuple[str, str]]:
    """The type of ``--labels``: words of a manifest, and the class that each means.

    Raises:
        argparse.ArgumentTypeError: If a word is given no class.
    """
    pairs = _read(text)
    if not pairs or not all(word and meaning.casefold() in CLASSES for word, meaning in pairs):
        raise argparse.ArgumentTypeError(
            f"{text or 'nothing'}: give each word and its class, which is one of {', '.join(CLASSES)}, "
            "e.g. cancer=malignant,fibroadenoma=benign"
        )
    return [(word, meaning.casefold()) for word, meaning in pairs]


def join_labels(pairs: Sequence[tuple[str, str]], option: str = "--labels") -> dict[str, str]:
    """Word -> what it means, of all that an option was given.

    Raises:
        InputError: If a word means two things.
    """
    labels: dict[str, str] = {}
    for word, name in pairs:
        if labels.setdefault(word, name) != name:
            raise InputError(f"{option}: {word} cannot mean {labels[word]} and {name}: give one of them")
    return labels


def _read(text: str) -> list[tuple[str, str]]:
    """The pairs of either form, the more likely one first: with braces it is YAML."""
    ways = (_read_yaml, _read_pairs) if text.lstrip().startswith("{") else (_read_pairs, _read_yaml)
    return ways[0](text) or ways[1](text)


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
        node = yaml.compose(stripped if stripped.startswith("{") else f"{{{stripped}}}", yaml.BaseLoader)
    except (yaml.YAMLError, RecursionError):
        return []
    scalar = yaml.ScalarNode
    if not isinstance(node, yaml.MappingNode) or not all(
        isinstance(x, scalar) for y in node.value for x in y
    ):
        return []
    # Without a space after the colon, YAML takes all for a word.
    typed = ((key.value, value.value) for key, value in node.value)
    pairs = [pair if pair[1] else pair[0].partition(":")[::2] for pair in typed]
    return [(word.strip(), meaning.strip()) for word, meaning in pairs]
