"""Which differences are larger than the noise, with a correction for how many were looked at."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import t

from busi.metrics import Estimates, holm

LEVEL = 0.05
ENOUGH_SEEDS = 3
"""Trainings of each side that a claim about a difference needs."""
LOWER_IS_BETTER = ("hd95", "lesion_miss_rate", "normal_fp_rate", "brier", "log_loss")
"""Metrics of which less is better."""

Trainings = Mapping[str, Sequence[float]]
"""Metric -> its value in each training (seed)."""


@dataclass(frozen=True)
class Difference:
    """A paired difference between two settings.

    Attributes:
        found: The difference of each metric, and its resamples.
        trainings: The metrics of both settings, training by training.
    """

    found: Estimates
    trainings: tuple[Trainings, Trainings]

    @property
    def num_trainings(self) -> int:
        """Number of trainings of the setting that has fewer."""
        return min(len(next(iter(side.values()))) for side in self.trainings)

    def p_value(self, name: str) -> float:
        """Two-sided p-value of no difference; NaN where there are too few cases.

        It is that of a t-test whose standard error has a part from the test images (of the bootstrap) and,
        for settings with several trainings, a part from training again: the variance over trainings, divided
        by their number. Degrees of freedom: Satterthwaite, Biometrics Bulletin 2, 1946.
        """
        value, cases = float(self.found.columns[name][0]), self.found.cases.get(name)
        if not np.isfinite(value) or cases is None or self.found.too_few(name):
            return float("nan")
        parts = [(self.found.standard_error(name) ** 2, cases.groups - 1)]
        for side in self.trainings:
            if len(side[name]) > 1:
                parts.append((float(np.var(side[name], ddof=1)) / len(side[name]), len(side[name]) - 1))
        total = sum(variance for variance, _ in parts)
        if not total:
            return 1.0 if value == 0 else 0.0
        freedom = total**2 / sum(variance**2 / number for variance, number in parts)
        return float(2 * t.sf(abs(value) / np.sqrt(total), freedom))


@dataclass(frozen=True)
class Verdict:
    """What is said of a difference in one metric.

    Attributes:
        p: Its p-value, corrected for the number of differences; NaN where there are too few cases.
        larger: Whether it is larger than the noise.
        better: Whether the first of both is the better one.
    """

    p: float
    larger: bool
    better: bool


def judge(differences: Mapping[str, Difference], names: Sequence[str]) -> dict[str, dict[str, Verdict]]:
    """Say which differences are larger than the noise, corrected for their number.

    It takes a corrected p-value below 0.05 and an interval without 0.

    Args:
        differences: All that a reader sees side by side.
        names: The metrics that are looked at.
    """
    places = [(key, name) for key in differences for name in names if name in differences[key].found.columns]
    raw = {place: differences[place[0]].p_value(place[1]) for place in places}
    known = [place for place in places if np.isfinite(raw[place])]
    adjusted = dict(zip(known, holm([raw[place] for place in known]), strict=True))
    verdicts: dict[str, dict[str, Verdict]] = {key: {} for key in differences}
    for key, name in places:
        value, low, high = differences[key].found[name]
        p = adjusted.get((key, name), float("nan"))
        larger = bool(p < LEVEL and (low > 0 or high < 0))
        verdicts[key][name] = Verdict(p, larger, (value < 0) == (name in LOWER_IS_BETTER) and value != 0)
    return verdicts


def say(verdicts: Mapping[str, Verdict], titles: Mapping[str, str]) -> str:
    """What is said of the difference to one setting, in words.

    Args:
        verdicts: By metric.
        titles: Metric -> its title.
    """
    known = {name: one for name, one in verdicts.items() if np.isfinite(one.p)}
    if not known:
        return "too few cases: nothing can be said"
    parts = []
    for word, better in (("better", True), ("worse", False)):
        if listed := [titles[name] for name, one in known.items() if one.larger and one.better == better]:
            parts.append(f"{word}: {', '.join(listed)}")
    if not parts:
        return "within the noise"
    rest = sum(not one.larger for one in known.values())
    return "; ".join(parts) + (", the rest within the noise" if rest else "")


def explain(differences: Mapping[str, Difference], names: Sequence[str]) -> str:
    """How verdicts are made, and what they cannot claim."""
    number = sum(np.isfinite(one.p_value(name)) for one in differences.values() for name in names)
    fewest = min((one.num_trainings for one in differences.values()), default=0)
    text = (
        "Differences are paired: the same images and the same resamples for both. "
        f"A difference is larger than the noise if its interval leaves out 0 and its p-value, corrected for "
        f"all {number} differences that are shown (Holm), is below 0.05. "
    )
    if fewest >= 2:
        text += "The p-values contain what another training would change; the intervals do not. "
    if fewest < ENOUGH_SEEDS:
        count = "one training" if fewest == 1 else f"{fewest} trainings"
        text += (
            f"A claim needs at least {ENOUGH_SEEDS} seeds of each side, and one has {count}: what is larger "
            "than the noise of the test images may still be the luck of a training."
        )
    return text.strip()
