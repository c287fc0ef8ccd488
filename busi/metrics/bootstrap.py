"""Confidence intervals: the bootstrap over whole groups of images."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from busi.metrics.cases import Over
from busi.metrics.estimates import Estimates, Values

Weights = Int[np.ndarray, "d n"]
"""How often each of n images stands in each of d resamples."""


def bootstrap_sources(
    sources: Shaped[np.ndarray, " n"],
    groups: Int[np.ndarray, " n"],
    compute: Callable[[Int[np.ndarray, " m"], Weights], Values],
    num_resamples: int,
    strata: Int[np.ndarray, " n"] | None = None,
    over: Mapping[str, Over] = MappingProxyType({}),
    kept: Bool[np.ndarray, " n"] | None = None,
) -> dict[str, Estimates]:
    """Compute metrics of each source, and of resamples of its own groups; see `bootstrap_groups`.

    The resamples of different sources are independent, so that those of `average_sources` are resamples of
    the pool. With one source they are those of `bootstrap_groups`.

    Args:
        sources: Source of each image.
        groups: Group of each image; one that several sources share is resampled in each of them.
        compute: Gives the metrics of the images at some positions, for each row of their weights.
        num_resamples: Number of resamples.
        strata: Stratum (fold) of each image, within which the groups of a source are resampled; one that lies
            in several is resampled in each of them.
        over: What each metric is over, which decides the kind of its interval.
        kept: The images that count; None for all.

    Returns:
        By source, in the order in which they first appear.
    """
    kinds, units = separate_sources(sources, groups)
    if strata is not None:
        kinds, units = separate_sources(kinds * (strata.max() + 1) + strata, groups)
    once = np.ones((1, len(groups)), np.int64)
    weights = np.concatenate([once, resample(units, kinds, num_resamples)])
    places = {name: np.flatnonzero(sources == name) for name in dict.fromkeys(sources.tolist())}
    # Of another layout in memory, products would round differently from those of `bootstrap_groups`.
    if kept is not None:
        weights *= kept
    parts = {name: np.ascontiguousarray(weights[:, own]) for name, own in places.items()}
    counted = {
        name: {
            metric: one.count(groups, strata, (sources == name) & (True if kept is None else kept))
            for metric, one in over.items()
        }
        for name in places
    }
    return {name: Estimates(compute(own, parts[name]), counted[name]) for name, own in places.items()}


def separate_sources(
    sources: Shaped[np.ndarray, " n"], groups: Int[np.ndarray, " n"]
) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, " n"]]:
    """Number sources as strata, and the part of each group in each source as a group of its own.

    Sources are numbered in the order in which they first appear.
    """
    names = list(dict.fromkeys(sources.tolist()))
    strata = np.array([names.index(name) for name in sources.tolist()], np.int64)
    units = np.unique(np.stack([strata, groups], axis=1), axis=0, return_inverse=True)[1]
    return strata, units.astype(np.int64)


def bootstrap_groups(
    groups: Int[np.ndarray, " n"],
    compute: Callable[[Weights], Values],
    strata: Int[np.ndarray, " n"] | None = None,
    num_resamples: int = 2000,
    seed: int = 0,
) -> Estimates:
    """Compute metrics on a sample of images and on resamples of its groups.

    Images of one group (lesion) are not independent. So whole groups are resampled with replacement, within
    each stratum (fold). The interval does not contain the variance of training again.

    Source: Davison and Hinkley, "Bootstrap Methods and their Application", 1997, sections 3.2 and 3.8.

    Args:
        groups: Group of each image.
        compute: Gives the metrics for each row of the weights.
        strata: Stratum of each image; every resample has each stratum's number of groups.
        num_resamples: Number of resamples.
        seed: Equal seeds resample the same groups.

    Raises:
        ValueError: A group lies in more than one stratum.
    """
    once = np.ones((1, len(groups)), np.int64)
    return Estimates(compute(np.concatenate([once, resample(groups, strata, num_resamples, seed)])))


def resample(
    groups: Int[np.ndarray, " n"], strata: Int[np.ndarray, " n"] | None, num_resamples: int, seed: int = 0
) -> Int[np.ndarray, "{num_resamples} n"]:
    """Give the weights of bootstrap resamples of whole groups; see `bootstrap_groups`."""
    strata = np.zeros_like(groups) if strata is None else strata
    pairs, place = np.unique(np.stack([strata, groups], axis=1), axis=0, return_inverse=True)
    if len(np.unique(pairs[:, 1])) < len(pairs):
        raise ValueError("a group lies in more than one stratum: make the folds from whole groups")
    # Slot g of a resample holds one of the groups low[g]..high[g] - 1: those of its own stratum.
    low, high = (np.searchsorted(pairs[:, 0], pairs[:, 0], side=side) for side in ("left", "right"))
    rng = np.random.default_rng(seed)
    weights = np.empty((num_resamples, len(groups)), np.int64)
    for row in weights:
        row[:] = np.bincount(rng.integers(low, high), minlength=len(pairs))[place]
    return weights


def mean_of(
    values: Shaped[np.ndarray, " n"], kept: Bool[np.ndarray, " n"], weights: Weights
) -> Float[np.ndarray, " d"]:
    """Mean over the images that are kept, in each resample; NaN where a resample has none of them."""
    weights = weights[:, kept].astype(np.float64)
    with np.errstate(invalid="ignore"):  # 0 / 0 is NaN
        return np.asarray(weights @ values[kept].astype(np.float64) / weights.sum(axis=1))


def defined(value: float) -> float | None:
    """None for NaN, which JSON does not have."""
    return float(value) if np.isfinite(value) else None
