"""Text from anywhere inside Markdown: it is shown as it is, and is never a link, HTML or another cell."""

import re

from busi.core.text import printable

SPECIAL = re.compile(
    r"[\\`*<>|~$&#]|(?<![^\W_])_|_(?![^\W_])|(?<=\])[(\[:]|(?<=:)//|(?<=www)\.", re.IGNORECASE
)
"""What begins or ends something in Markdown, but for what stands inside of a word."""


class Markdown(str):
    """Text that is Markdown already."""

    __slots__ = ()


def escape_markdown(text: str) -> Markdown:
    """Text on one line of Markdown, in a table too.

    Source: CommonMark 0.31, section 2.4: a backslash before punctuation makes it literal. Tables, ``~``,
    ``$`` and bare addresses are those of GitHub.
    """
    return Markdown(SPECIAL.sub(r"\\\g<0>", _on_one_line(text)))


def code_span(text: str) -> Markdown:
    """Text as a code span on one line of Markdown, where no backslash makes anything literal.

    Source: CommonMark 0.31, section 6.1: it ends at as many backticks as it begins with.
    """
    text = _on_one_line(text)
    ticks = "`" * (1 + max(map(len, re.findall("`+", text)), default=0))
    # One space on each side is taken off again. A space alone would end nothing.
    space = " " if text[:1] in "` " or text[-1:] in "` " else ""
    return Markdown(f"{ticks}{space}{text or ' '}{space}{ticks}")


def _on_one_line(text: str) -> str:
    return printable(re.sub(r"\s+", " ", text))
