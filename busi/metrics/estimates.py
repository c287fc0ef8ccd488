"""Metrics of a sample of images and of its resamples: their intervals, differences and means."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from busi.metrics.cases import AREA, BOUNDED, SHARE, Cases, combine_sources
from busi.metrics.intervals import FEW, auroc_interval, difference_interval, wilson

Values = Mapping[str, Float[np.ndarray, " d"]]
"""Name of a metric -> its value in each resample; NaN where undefined."""


class Estimate(NamedTuple):
    """The value of a metric and its interval; NaN where undefined."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Estimates:
    """Metrics of a sample of images, and of bootstrap resamples of it.

    Attributes:
        columns: Of each metric, the value on the sample itself, then those of the resamples.
        cases: Of each metric, what it is over, as far as that is known.
        operands: What this is the difference of.
    """

    columns: Values
    cases: Mapping[str, Cases] = field(default_factory=dict)
    operands: "tuple[Estimates, Estimates] | None" = None

    def __getitem__(self, name: str) -> "Estimate":
        """The value on the sample and its 95 % interval."""
        return self.at(name, 0.95)

    def at(self, name: str, level: float) -> "Estimate":
        """The value on the sample and the interval of a level.

        It is the percentile interval of the resamples. A share or an area under an ROC curve that is expected
        to have less than `FEW` independent cases on its rarer side has the interval of `wilson` or
        `auroc_interval`, and their difference that of `difference_interval`. The difference of two shares
        that agree on each image has the interval of `wilson` around 0. Both limits are NaN with fewer than
        `FEW` groups of a kind that the metric needs, and where more than half of the resamples lack it,
        because the rest does not represent the population.
        """
        value = float(self.columns[name][0])
        low, high = self._adjusted(name, level) or self._percentiles(name, level)
        return Estimate(value, low, high)

    def where(self, other: "Estimates") -> "Estimates":
        """The same without the metrics that another sample has not."""
        columns = {
            name: x if np.isfinite(other.columns[name][0]) else np.full_like(x, np.nan)
            for name, x in self.columns.items()
        }
        return Estimates(columns, self.cases)

    def too_few(self, name: str) -> bool:
        """Whether so few cases are known of that nothing can be said."""
        return name in self.cases and self.cases[name].groups < FEW

    def standard_error(self, name: str) -> float:
        """Standard deviation of the resamples, corrected for the number of groups where that is known."""
        kept = self.columns[name][1:]
        kept = kept[np.isfinite(kept)]
        groups = self.cases[name].groups if name in self.cases else 0
        return (
            float(kept.std() * np.sqrt(groups / (groups - 1) if groups > 1 else 1)) if len(kept) else np.nan
        )

    def __sub__(self, other: "Estimates") -> "Estimates":
        """Differences resample by resample: a paired comparison if both resampled the same groups."""
        apart = {name: x - other.columns[name] for name, x in self.columns.items()}
        fewer = {
            name: min(one, other.cases[name], key=lambda cases: cases.groups)
            for name, one in self.cases.items()
            if name in other.cases
        }
        return Estimates(apart, fewer, (self, other))

    def _percentiles(self, name: str, level: float) -> tuple[float, float]:
        resamples = self.columns[name][1:]
        kept = resamples[np.isfinite(resamples)]
        if not len(kept) or 2 * len(kept) < len(resamples):
            return np.nan, np.nan
        low, high = np.quantile(kept, [(1 - level) / 2, (1 + level) / 2]).tolist()
        return low, high

    def _adjusted(self, name: str, level: float) -> tuple[float, float] | None:
        """The interval where it is not that of the percentiles."""
        cases, value = self.cases.get(name), float(self.columns[name][0])
        if cases is None or not np.isfinite(value):
            return None
        if cases.groups < FEW:
            return np.nan, np.nan
        if self.operands is not None:
            if cases.form == SHARE and not np.any(self.columns[name][np.isfinite(self.columns[name])]):
                # Both agree on each image: they can differ by no more than the share on which they disagree.
                most = wilson(0.0, cases.effective[0], level)[1]
                return -most, most
            if not any(one._adjusted(name, level) for one in self.operands):
                return None
            one, other = self.operands
            return difference_interval(one.at(name, level), other.at(name, level), self._correlation(name))
        low, high = self._percentiles(name, level)
        near = min(value, 1 - value) * min(cases.effective) < FEW or not np.isfinite(low)
        if cases.form == AREA and near:
            num_positive, num_negative = cases.effective
            return auroc_interval(value, num_positive, num_negative, level)
        if (cases.form == SHARE and near) or (cases.form == BOUNDED and low == high):
            return wilson(value, cases.effective[0], level)
        return (np.nan, np.nan) if low == high else None

    def _correlation(self, name: str) -> float:
        """Of the resamples of both operands; 0 where one of them is the same in all."""
        assert self.operands is not None
        both = np.stack([one.columns[name][1:] for one in self.operands])
        both = both[:, np.isfinite(both).all(axis=0)]
        if both.shape[1] < 2 or not both.std(axis=1).all():
            return 0.0
        return float(np.corrcoef(both)[0, 1])


def average(parts: Sequence[Estimates]) -> Estimates:
    """Mean of each metric over trainings, resample by resample; undefined where one of them is."""
    columns = {name: np.mean([part.columns[name] for part in parts], axis=0) for name in parts[0].columns}
    return Estimates(columns, parts[0].cases)


def average_sources(parts: Sequence[Estimates]) -> Estimates:
    """Mean of each metric over the sources in whose sample it is defined, resample by resample.

    A resample in which one of these sources lacks it is undefined. Where no source has it, all are averaged.
    """
    columns, cases = {}, {}
    for name in parts[0].columns:
        having = [part for part in parts if np.isfinite(part.columns[name][0])] or parts
        columns[name] = np.mean([part.columns[name] for part in having], axis=0)
        if name in having[0].cases:
            cases[name] = combine_sources(part.cases[name] for part in having)
    return Estimates(columns, cases)
