"""What the words of other tools mean: classes, lesions of whatever class, or nothing."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping

from busi.core import CLASSES, InputError, printable

MASK, IGNORE = "mask", "ignore"
MEANINGS = (*CLASSES, MASK, IGNORE)
"""What a word may mean: a class; a lesion whose class is said elsewhere; nothing."""
MAX_LISTED = 12
"""Words that an error lists."""


class Meanings:
    """What each word means; case does not matter.

    Args:
        given: Words of the user. Those of `MEANINGS` mean themselves, and may be turned off: a class name may
            be given the meaning ``mask`` or ``ignore``.

    Raises:
        InputError: If a word is given no meaning, or a class name that of another class.
    """

    def __init__(self, given: Mapping[str, str]) -> None:
        self._known = {word: word for word in MEANINGS}
        for word, text in given.items():
            key, meaning = fold(word), fold(text)
            if meaning not in MEANINGS or (key in CLASSES and meaning not in (key, MASK, IGNORE)):
                raise InputError(
                    f"--labels {{{word}: {text}}}: give a word of the annotations and what it means: "
                    f"one of {', '.join(MEANINGS)}, e.g. '{{cancer: malignant}}'"
                )
            self._known[key] = meaning

    def __getitem__(self, word: str) -> str:
        return self._known[fold(word)]

    def check(self, words: Iterable[str]) -> None:
        """Raise `InputError` that lists the words without a meaning, and how often they occur."""
        spelled: dict[str, str] = {}
        counts: Counter[str] = Counter()
        for word in words:
            if (key := fold(word)) not in self._known:
                counts[spelled.setdefault(key, word)] += 1
        if not counts:
            return
        listed = ", ".join(f"'{printable(word)}' ({n})" for word, n in counts.most_common(MAX_LISTED))
        more = f" and {len(counts) - MAX_LISTED} more" if len(counts) > MAX_LISTED else ""
        example = ", ".join(f"{quote(word)}: malignant" for word, _ in counts.most_common(1))
        raise InputError(
            f"nobody says what these categories mean: {listed}{more}. Give --labels '{{{example}}}', each as "
            f"one of {', '.join(CLASSES)}, {MASK} (a lesion whose class is said elsewhere) or {IGNORE}"
        )


def fold(word: object) -> str:
    """Equal for words that differ in case, or in spaces around them."""
    return str(word).strip().casefold()


def quote(word: str) -> str:
    """A word as `read_mapping` takes it."""
    return (
        word if re.fullmatch(r"[\w.-]+( [\w.-]+)*", word) else '"' + re.sub(r'(["\\])', r"\\\1", word) + '"'
    )
