"""What the runs of a pool say of the shortcut: means of their probes, and what they call normal."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from busi.core import NORMAL
from busi.metrics import Estimate, Values, Weights, mean_of
from busi.reporting.estimates import estimate
from busi.reporting.pooling import Scored, rows_by_source
from busi.runs import Interval, Shortcut

MEASURES = {"balanced_accuracy": "balanced accuracy", "auroc": "AUROC"}
KINDS = {"features": "features", "pixels": "size and gray levels", "label": "true class"}
"""From what a probe tells the source -> its title."""
NORMALS = {"normal_recall": "recall of normals", "lesions_called_normal": "lesions called normal"}


@dataclass(frozen=True)
class MeanProbe:
    """How well the source of some images is told: means over runs.

    Attributes:
        sources: Those that are told from each other.
        runs: Number of runs.
        num_judged: Images that a run judges it on, on average.
        chance: Balanced accuracy of guessing.
        told: By one of `KINDS` and one of `MEASURES`; kinds without a value are not there.
    """

    sources: tuple[str, ...]
    runs: int
    num_judged: int
    chance: float
    told: Mapping[str, Mapping[str, Estimate]]


@dataclass(frozen=True)
class CalledNormal:
    """What is called normal in a source.

    Attributes:
        source: Its name.
        split: Whether its test images are meant, or its validation images.
        counts: Number of normals and of lesions.
        shares: Of each of `NORMALS`.
    """

    source: str
    split: str
    counts: tuple[int, int]
    shares: Mapping[str, Estimate]


def mean_probe(found: Sequence[Shortcut], part: str) -> MeanProbe | None:
    """Means over the runs whose probe of some images tells the same sources, those of the most runs.

    Args:
        found: Of the runs.
        part: One of `PARTS`.

    Returns:
        None where no run has numbers.
    """
    probes = [one.probes[part] for one in found if part in one.probes and not one.probes[part].skipped]
    if not probes:
        return None
    ((sources, _),) = Counter(tuple(one.sources) for one in probes).most_common(1)
    same = [one for one in probes if tuple(one.sources) == sources]
    return MeanProbe(
        sources,
        len(same),
        round(float(np.mean([one.num_judged for one in same]))),
        float(np.mean([one.chance.get("balanced_accuracy", np.nan) for one in same])),
        {kind: told for kind in KINDS if (told := mean_told([getattr(one, kind) for one in same]))},
    )


def mean_told(values: Sequence[Mapping[str, Interval] | None]) -> dict[str, Estimate]:
    """Means over the runs that have each measure; empty where none has any."""
    given = [one for one in values if one]
    return {name: mean_interval([one[name] for one in given if name in one]) for name in MEASURES if given}


def mean_interval(intervals: Sequence[Interval]) -> Estimate:
    """Mean of values and of limits, each where all runs with a value have it; NaN elsewhere."""
    rows = np.array([one for one in intervals if one[0] is not None], np.float64).reshape(-1, 3)
    value, low, high = rows.mean(axis=0).tolist() if len(rows) else (np.nan,) * 3
    return Estimate(value, low, high)


def of_tested(seeds: Sequence[Scored]) -> list[CalledNormal]:
    """What is called normal of the test images of each source."""
    columns = seeds[0].columns
    return [
        CalledNormal(
            source,
            "test",
            _count(columns["label"][here]),
            {name: found[name] for name in NORMALS},
        )
        for (source, found), here in zip(
            estimate(seeds, measure_normals).items(), rows_by_source(columns).values(), strict=True
        )
    ]


def of_validated(seeds: Sequence[Scored], found: Sequence[Shortcut]) -> list[CalledNormal]:
    """What is called normal of the sources that validate and do not test: means over runs."""
    tested = rows_by_source(seeds[0].columns)
    rows = []
    for source in dict.fromkeys(name for one in found for name in one.normals if name not in tested):
        every = [one.normals[source] for one in found if source in one.normals]
        counts = np.mean([(one.num_normals, one.num_lesions) for one in every], axis=0).round()
        shares = {name: mean_interval([getattr(one, name) for one in every]) for name in NORMALS}
        rows.append(CalledNormal(source, "val", (int(counts[0]), int(counts[1])), shares))
    return rows


def measure_normals(scored: Scored, weights: Weights) -> Values:
    """`NORMALS` of the images of a source."""
    normal, called = scored.labels == NORMAL, scored.probs.argmax(axis=1) == NORMAL
    shares = (mean_of(called, rows, weights) for rows in (normal, ~normal))
    return dict(zip(NORMALS, shares, strict=True))


def _count(labels: Int[np.ndarray, " n"]) -> tuple[int, int]:
    return int((labels == NORMAL).sum()), int((labels != NORMAL).sum())
