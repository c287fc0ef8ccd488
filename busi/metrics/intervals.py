"""95 % intervals of shares and of areas under an ROC curve, also near 0 and 1, where the bootstrap collapses.

A sample without a mistake has none in any resample, so the percentile interval of its error rate is a point.
The intervals here come from the variance that the true value would have.
"""

import math
from collections.abc import Callable

import numpy as np
from scipy.optimize import brentq
from scipy.stats import norm

FEW = 10
"""Groups of each kind of case that a metric needs: with fewer nothing is said about it."""


def wilson(share: float, number: float, level: float = 0.95) -> tuple[float, float]:
    """Score interval of a share.

    Source: Wilson, Journal of the American Statistical Association 22, 1927. An effective number of
    independent cases in place of their number: Korn and Graubard, Survey Methodology 24, 1998.

    Args:
        share: Observed, between 0 and 1.
        number: Of independent cases; it need not be whole.
        level: Of the interval.
    """
    z2 = float(norm.ppf((1 + level) / 2)) ** 2
    middle = (share + z2 / (2 * number)) / (1 + z2 / number)
    half = math.sqrt(z2 * (share * (1 - share) / number + z2 / (4 * number**2))) / (1 + z2 / number)
    # The exact limits at 0 and 1 are these, whatever rounding says.
    return 0.0 if share == 0 else max(middle - half, 0.0), 1.0 if share == 1 else min(middle + half, 1.0)


def auroc_interval(
    area: float, num_positive: float, num_negative: float, level: float = 0.95
) -> tuple[float, float]:
    """Interval of an area under the ROC curve: the areas whose own standard error makes it plausible.

    It stays within 0 and 1, and is not a point at a perfect ranking.

    Source: Newcombe, Statistics in Medicine 25, 2006, pages 559-573, method 5. The variance is that of Hanley
    and McNeil, Radiology 143, 1982, with the mean of both numbers in its terms.

    Args:
        area: Observed, between 0 and 1.
        num_positive: Of independent cases; it need not be whole.
        num_negative: The same.
        level: Of the interval.
    """
    z = float(norm.ppf((1 + level) / 2))
    mean = (num_positive + num_negative) / 2 - 1

    def excess(true: float) -> float:
        terms = 1 + mean * ((1 - true) / (2 - true) + true / (1 + true))
        return (area - true) ** 2 - z**2 * true * (1 - true) * terms / (num_positive * num_negative)

    low = 0.0 if area <= 0 else _root(excess, 0.0, max(area - 1e-9, 0.0))
    return low, 1.0 if area >= 1 else _root(excess, min(area + 1e-9, 1.0), 1.0)


def difference_interval(
    one: tuple[float, float, float], other: tuple[float, float, float], correlation: float
) -> tuple[float, float]:
    """Interval of the difference of two values from the interval of each.

    Source: Zou and Donner, Statistics in Medicine 27, 2008 (method of variance estimates recovery); for
    proportions of the same cases it is method 10 of Newcombe, Statistics in Medicine 17, 1998.

    Args:
        one: Value, low and high.
        other: What is subtracted.
        correlation: Between the two values, as the same resamples change both.
    """
    (a, low_a, high_a), (b, low_b, high_b) = one, other
    return (
        a - b - _distance(a - low_a, high_b - b, correlation),
        a - b + _distance(high_a - a, b - low_b, correlation),
    )


def holm(p_values: list[float]) -> list[float]:
    """Adjust p-values for their number, so that any of them below 0.05 is wrong in 5 % of such families.

    Source: Holm, Scandinavian Journal of Statistics 6, 1979.
    """
    number = len(p_values)
    order = np.argsort(p_values, kind="stable")
    scaled = np.array(p_values)[order] * (number - np.arange(number))
    adjusted = np.empty(number)
    adjusted[order] = np.minimum(np.maximum.accumulate(scaled), 1.0)
    return [float(x) for x in adjusted]


def _distance(one: float, other: float, correlation: float) -> float:
    return math.sqrt(max(one**2 - 2 * correlation * one * other + other**2, 0.0))


def _root(function: Callable[[float], float], low: float, high: float) -> float:
    if function(low) * function(high) > 0:  # the ends are the same number, as far as rounding goes
        return low if abs(function(low)) < abs(function(high)) else high
    return float(brentq(function, low, high))
