"""Which differences are larger than the noise, with a correction for how many were looked at."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from scipy.stats import t

from busi.metrics import Estimates, defined, holm
from busi.reporting.cells import JsonObject, to_json

ALPHA = 0.05
ENOUGH_SEEDS = 3
"""Trainings of each side that a claim about a difference needs."""
LOWER_IS_BETTER = ("hd95", "lesion_miss_rate", "normal_fp_rate", "brier", "log_loss")
"""Metrics of which less is better."""

Key = TypeVar("Key", bound=Hashable)
Trainings = Mapping[str, Sequence[float]]
"""Metric -> its value in each training (seed)."""


@dataclass(frozen=True)
class Difference:
    """A paired difference between two settings.

    Attributes:
        found: The difference of each metric, and its resamples.
        trainings: Number of trainings of each of the two; an ensemble is one.
        members: Number of trainings inside of each ensemble of the two; 0 where there is none.
        training_variance: What another training changes, see `measure_training_variance`.
    """

    found: Estimates
    trainings: tuple[int, int]
    training_variance: Mapping[str, tuple[float, int]]
    members: tuple[int, int] = (0, 0)

    @property
    def claims(self) -> bool:
        """Whether there are enough trainings of both to claim anything; an ensemble is one model."""
        sides = zip(self.trainings, self.members, strict=True)
        return all(members or number >= ENOUGH_SEEDS for number, members in sides)

    def p_value(self, name: str) -> float:
        """Two-sided p-value of no difference; NaN where there are too few cases.

        It is that of a t-test whose variance has a part from the test images (of the bootstrap) and, where
        there are settings of several trainings, a part from training again. Degrees of freedom:
        Satterthwaite, Biometrics Bulletin 2, 1946.
        """
        value, cases = float(self.found.columns[name][0]), self.found.cases.get(name)
        if not np.isfinite(value) or cases is None or self.found.too_few(name):
            return float("nan")
        parts = [(self.found.standard_error(name) ** 2, cases.groups - 1)]
        variance, freedom = self.training_variance[name]
        if freedom:
            parts.append((variance * sum(1 / number for number in self.trainings), freedom))
        total = sum(variance for variance, _ in parts)
        if not total:
            return 1.0 if value == 0 else 0.0
        together = total**2 / sum(variance**2 / number for variance, number in parts)
        return float(2 * t.sf(abs(value) / np.sqrt(total), together))


def measure_training_variance(settings: Sequence[Trainings]) -> dict[str, tuple[float, int]]:
    """Variance of a metric from training to training, and its degrees of freedom; one for all settings."""
    training_variance = {}
    for name in settings[0]:
        each = [np.array(one[name]) for one in settings]
        freedom = sum(len(values) - 1 for values in each)
        spread = sum(float(((values - values.mean()) ** 2).sum()) for values in each)
        training_variance[name] = (spread / freedom if freedom else 0.0, freedom)
    return training_variance


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


def judge(differences: Mapping[Key, Difference], names: Sequence[str]) -> dict[Key, dict[str, Verdict]]:
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
    verdicts: dict[Key, dict[str, Verdict]] = {key: {} for key in differences}
    for key, name in places:
        value, low, high = differences[key].found[name]
        p = adjusted.get((key, name), float("nan"))
        larger = bool(p < ALPHA and (low > 0 or high < 0))
        verdicts[key][name] = Verdict(p, larger, (value < 0) == (name in LOWER_IS_BETTER) and value != 0)
    return verdicts


def say(verdicts: Mapping[str, Verdict], titles: Mapping[str, str], claims: bool) -> str:
    """What is said of the difference to one setting, in words.

    Args:
        verdicts: By metric.
        titles: Metric -> its title.
        claims: See `Difference.claims`.
    """
    known = {name: one for name, one in verdicts.items() if np.isfinite(one.p)}
    if not known:
        return "too few cases: nothing can be said"
    parts = []
    for word, better in (("better", True), ("worse", False)):
        listed = [name for name, one in known.items() if one.larger and one.better == better]
        if listed:
            parts.append(f"{word} in {' and '.join(titles[name].replace(',', '') for name in listed)}")
    if not parts:
        return "within the noise"
    rest = sum(not one.larger for one in known.values())
    said = ", ".join(parts) + (", else within the noise" if rest else "")
    return said if claims else f"no claim, too few seeds (these trainings: {said})"


def difference_to_json(
    one: Difference, verdicts: Mapping[str, Verdict], names: Mapping[str, str]
) -> JsonObject:
    """A difference and what is said of it, as plain values."""
    return {
        **to_json(one.found, names),
        "p_holm": {name: defined(verdict.p) for name, verdict in verdicts.items()},
        "larger_than_noise": [name for name, verdict in verdicts.items() if verdict.larger],
        "enough_seeds": one.claims,
    }


def explain(differences: Mapping[Any, Difference], names: Sequence[str]) -> str:
    """How verdicts are made, and what they cannot claim."""
    number = sum(np.isfinite(one.p_value(name)) for one in differences.values() for name in names)
    sides = {side for one in differences.values() for side in zip(one.trainings, one.members, strict=True)}
    few = [number for number, members in sides if not members and number < ENOUGH_SEEDS]
    ensembles = sorted(members for number, members in sides if members and number < ENOUGH_SEEDS)
    known = any(freedom for one in differences.values() for _, freedom in one.training_variance.values())
    text = (
        "Differences are paired: the same images and the same resamples for both. "
        f"A difference is larger than the noise if its interval leaves out 0 and its p-value, corrected for "
        f"all {number} differences that are judged here (Holm), is below 0.05. "
    )
    if known:
        text += "The p-values contain what another training changes, as the seeds show it; intervals do not. "
    if few:
        text += (
            f"A claim needs at least {ENOUGH_SEEDS} seeds of each side. One has {min(few)}: no claim can be "
            "made, since what is larger than the noise of the test images may be the luck of a training. "
        )
    if ensembles:
        text += (
            f"An ensemble of {' or '.join(map(str, dict.fromkeys(ensembles)))} trainings is one model: a "
            "difference is of this ensemble on these images. What the next ensemble of the same recipe would "
            f"change is not known, and a claim about the recipe needs at least {ENOUGH_SEEDS} ensembles. "
        )
        if known:
            text += (
                "The p-values take an ensemble for a training, which changes more: they are cautious here. "
            )
    return text.strip()
