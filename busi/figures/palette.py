"""The colors of every chart, image and page, by Okabe and Ito: color-blind readers can tell them apart.

In print without color, line styles and markers tell apart what colors cannot.
"""

from typing import Any, NamedTuple

from busi.core import CLASSES


class Look(NamedTuple):
    """How a class, or one of several curves, is drawn.

    Attributes:
        color: As matplotlib and browsers know it.
        linestyle: As matplotlib knows it; of one of its types, which it does not name.
        marker: As matplotlib knows it.
    """

    color: str
    linestyle: Any
    marker: str


LOOKS = dict(
    zip(
        CLASSES,
        (Look("#009e73", ":", "s"), Look("#0072b2", "--", "o"), Look("#d55e00", "-", "^")),
        strict=True,
    )
)
"""Class -> its look, the same everywhere."""
SERIES = tuple(
    Look(*look)
    for look in (
        ("#000000", "-", "o"),
        ("#cc79a7", "--", "s"),
        ("#e69f00", "-.", "^"),
        ("#56b4e9", ":", "D"),
        ("#7f7f7f", (0, (5, 1, 1, 1, 1, 1)), "v"),
    )
)
"""Looks of guides, sources and models, which are no classes and do not have their colors."""
ANNOTATION, PREDICTION = Look("#56b4e9", "--", ""), Look("#ff7f0e", "-", "")
"""Outlines: of what a person drew, and of what a model predicts."""
CHANCE = "#767676"
"""Of lines that stand for knowing nothing."""
