"""Measuring in turns: machines change their speed within minutes, so only ratios of one round are trusted."""

from collections.abc import Callable, Mapping
from operator import truediv
from statistics import median
from typing import NamedTuple, TypeVar

Measured = TypeVar("Measured")


class Row(NamedTuple):
    """One line of the table: something measured, beside what it is compared with.

    Attributes:
        name: What is measured.
        value: Median over the rounds.
        unit: Of the value.
        peer: What it is compared with.
        relation: To the peer, in `scale`.
        scale: ``x`` for a ratio, or the unit of a difference, ``s more``.
        target: What the project wants of the relation; None if it is shown for orientation.
        at_most: Whether smaller is better.
        spread: Smallest and largest relation of a round; None where there is one round.
        others: Cores that other processes took meanwhile, on average; None where that is not known.
    """

    name: str
    value: float
    unit: str
    peer: str
    relation: float
    scale: str = "x"
    target: float | None = None
    at_most: bool = False
    spread: tuple[float, float] | None = None
    others: float | None = None

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None without one."""
        if self.target is None:
            return None
        return self.relation <= self.target if self.at_most else self.relation >= self.target


def take_turns(contestants: Mapping[str, Callable[[], Measured]], rounds: int) -> dict[str, list[Measured]]:
    """Measure each contestant once a round, after one round that does not count.

    Args:
        contestants: Functions that return what they measured.
        rounds: How many.
    """
    values: dict[str, list[Measured]] = {name: [] for name in contestants}
    for number in range(rounds + 1):
        for name, measure in contestants.items():
            value = measure()
            if number:
                values[name].append(value)
    return values


def compare(values: list[float], peers: list[float]) -> float:
    """Median of the ratios of each round."""
    return median(value / peer for value, peer in zip(values, peers, strict=True))


def spread(
    values: list[float], peers: list[float], relate: Callable[[float, float], float] = truediv
) -> tuple[float, float] | None:
    """Smallest and largest ratio of a round, or what else relates both; None of a single round."""
    relations = list(map(relate, values, peers))
    return (min(relations), max(relations)) if len(relations) > 1 else None


def exceed(values: list[float], peers: list[float]) -> float:
    """Median of the differences of each round."""
    return median(value - peer for value, peer in zip(values, peers, strict=True))


def relate(
    speeds: Mapping[str, list[float]], name: str, peer: str, target: float | None, shown: str = ""
) -> Row:
    """The row that compares images per second of a contestant with those of another.

    Args:
        speeds: Of each round.
        name: The contestant.
        peer: The other.
        target: What is wanted of the ratio, if anything.
        shown: What the row is called; `name` without it.
    """
    own, theirs = speeds[name], speeds[peer]
    ratio, between = compare(own, theirs), spread(own, theirs)
    return Row(shown or name, median(own), "images/s", peer, ratio, "x", target, spread=between)
