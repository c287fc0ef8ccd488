"""How sure we can be of a number: the bootstrap over whole groups of pictures."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

Counts = Int[np.ndarray, "d n"]
"""How often each of n pictures stands in each of d draws."""
Values = Mapping[str, Float[np.ndarray, " d"]]
"""Numbers by name, one for each draw; NaN where undefined."""


class Estimate(NamedTuple):
    """A number and its interval, NaN where undefined."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Estimates:
    """Numbers of a sample of pictures, and of bootstrap draws from it.

    Attributes:
        columns: The value on the sample itself, then those of the draws.
    """

    columns: Values

    def __getitem__(self, name: str) -> "Estimate":
        """The number on the sample and the 95 % percentile interval of its draws."""
        return self.at(name, 0.95)

    def at(self, name: str, level: float) -> "Estimate":
        """The number on the sample and the percentile interval of a level.

        Draws where the number is undefined are left out; if more than half are, both limits are NaN, since
        the rest does not stand for the population.
        """
        value, draws = self.columns[name][0], self.columns[name][1:]
        kept = draws[np.isfinite(draws)]
        limits = np.full(2, np.nan)
        if len(kept) and 2 * len(kept) >= len(draws):
            limits = np.quantile(kept, [(1 - level) / 2, (1 + level) / 2])
        return Estimate(float(value), float(limits[0]), float(limits[1]))

    def __sub__(self, other: "Estimates") -> "Estimates":
        """Differences draw by draw: a paired comparison if both drew the same groups."""
        return Estimates({name: x - other.columns[name] for name, x in self.columns.items()})


def average(parts: Sequence[Estimates]) -> Estimates:
    """Mean of each number, draw by draw; undefined where one of them is."""
    names = parts[0].columns
    return Estimates({name: np.mean([part.columns[name] for part in parts], axis=0) for name in names})


def bootstrap_groups(
    groups: Int[np.ndarray, " n"],
    compute: Callable[[Counts], Values],
    strata: Int[np.ndarray, " n"] | None = None,
    num_draws: int = 2000,
    seed: int = 0,
) -> Estimates:
    """Compute numbers on a sample of pictures and on draws of its groups.

    Pictures of one group (lesion) are not independent, so whole groups are drawn with replacement, within
    each stratum (fold): Davison and Hinkley, "Bootstrap Methods and their Application", 1997, sections 3.2
    and 3.8. The interval leaves out the variance of training again.

    Args:
        groups: Group of each picture.
        compute: The numbers, for each row of counts that it gets.
        strata: Stratum of each picture; every draw has each stratum's number of groups.
        num_draws: Number of draws.
        seed: Equal seeds draw the same groups.

    Raises:
        ValueError: A group lies in more than one stratum.
    """
    once = np.ones((1, len(groups)), np.int64)
    return Estimates(compute(np.concatenate([once, resample(groups, strata, num_draws, seed)])))


def resample(
    groups: Int[np.ndarray, " n"], strata: Int[np.ndarray, " n"] | None, num_draws: int, seed: int
) -> Int[np.ndarray, "{num_draws} n"]:
    """How often each picture stands in each bootstrap draw of whole groups; see `bootstrap_groups`."""
    strata = np.zeros_like(groups) if strata is None else strata
    pairs, place = np.unique(np.stack([strata, groups], axis=1), axis=0, return_inverse=True)
    if len(np.unique(pairs[:, 1])) < len(pairs):
        raise ValueError("a group lies in more than one stratum: make the folds from whole groups")
    # Slot g of a draw holds one of the groups low[g]..high[g] - 1: those of its own stratum.
    low, high = (np.searchsorted(pairs[:, 0], pairs[:, 0], side=side) for side in ("left", "right"))
    rng = np.random.default_rng(seed)
    counts = np.empty((num_draws, len(groups)), np.int64)
    for draw in counts:
        draw[:] = np.bincount(rng.integers(low, high), minlength=len(pairs))[place]
    return counts


def mean_of(
    values: Shaped[np.ndarray, " n"], kept: Bool[np.ndarray, " n"], counts: Counts
) -> Float[np.ndarray, " d"]:
    """Mean over the pictures that are kept, in each draw; NaN where none counts."""
    weights = counts[:, kept].astype(np.float64)
    with np.errstate(invalid="ignore"):  # 0 / 0 is NaN
        return np.asarray(weights @ values[kept].astype(np.float64) / weights.sum(axis=1))


def defined(value: float) -> float | None:
    """None for NaN, which JSON does not have."""
    return float(value) if np.isfinite(value) else None
