"""The runs that share a row of a report."""

from collections.abc import Sequence
from dataclasses import dataclass

from busi.runs.predictions import Predictions
from busi.runs.run import name_guide

VARIANTS = ("segmentation", "crossfit", "predicted", "empty", "ground_truth")
"""Names of the variants, in the order of a report: segmentation, then each guide; others come last."""


@dataclass(frozen=True)
class Variant:
    """The runs that share a row of a report: segmentation, or diagnosis with one guide.

    Attributes:
        name: ``segmentation``, or the guide of the classifier.
        seeds: The runs of each seed, fold by fold; every seed has the same folds. With a source that is held
            out every run stands alone, because each of them tests the same images.
        setting: What sets it apart from other variants of this name; empty where there are none.
    """

    name: str
    seeds: tuple[tuple[Predictions, ...], ...]
    setting: str = ""

    @property
    def folds(self) -> tuple[int, ...]:
        """The folds of the runs, which tested them unless a source was held out."""
        return tuple(dict.fromkeys(one.fold for seed in self.seeds for one in seed))

    @property
    def held_out(self) -> str | None:
        """The source that tests alone in each run (``data.hold_out``), if there is one."""
        return held_out(self.seeds[0][0])

    @property
    def title(self) -> str:
        """The name, with a warning if the guide gives the label away."""
        return name_guide(self.name)

    @property
    def submitted(self) -> bool:
        """Whether another tool predicted, of whose trainings nothing is known."""
        return bool(self.seeds[0][0].run.provenance.get("submitted"))

    @property
    def num_members(self) -> int:
        """Number of trainings in each ensemble; 0 where the runs are none."""
        return len(self.seeds[0][0].run.members)

    @property
    def trainings(self) -> str:
        """In words, the number of seeds or ensembles that a metric is the mean of."""
        if self.submitted:
            return "as submitted"
        if self.num_members:
            count = "an ensemble" if len(self.seeds) == 1 else f"{len(self.seeds)} ensembles"
            return f"{count} of {self.num_members} trainings"
        first = self.seeds[0][0]
        if first.run.provenance.get("evaluated"):  # of a bundle, only an ensemble knows its seeds
            number = len(first.seeds)
            return f"an ensemble of {number} trainings" if number > 1 else "one model"
        if self.held_out:
            return "one training" if len(self.seeds) == 1 else f"{len(self.seeds)} trainings"
        return "one seed" if len(self.seeds) == 1 else f"{len(self.seeds)} seeds"

    def only(self, folds: Sequence[int]) -> "Variant":
        """The same variant with these folds alone."""
        seeds = (tuple(one for one in seed if one.fold in folds) for seed in self.seeds)
        return Variant(self.name, tuple(filter(None, seeds)), self.setting)


def held_out(one: Predictions) -> str | None:
    """The source that a run tests alone, if there is one."""
    source: str | None = one.config.data.hold_out
    return source


def rank_variant(name: str) -> tuple[int, str]:
    """Where a variant comes in a report: a key to sort by."""
    return (VARIANTS.index(name) if name in VARIANTS else len(VARIANTS)), name
