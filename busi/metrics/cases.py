"""Which images a metric is over, and how many independent cases these are."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Int, Shaped

from busi.core import BENIGN, CLASSES, MALIGNANT

SHARE, AREA, BOUNDED, FREE = "share", "area", "bounded", "free"
"""What a metric is: a share of images, an area under an ROC curve, any other value between 0 and 1, any other
value."""


@dataclass(frozen=True)
class Cases:
    """How many cases a metric is over.

    Attributes:
        form: `SHARE`, `AREA`, `BOUNDED` or `FREE`.
        images: Number of images.
        groups: Number of groups with images, of the kind that has the fewest.
        effective: Of each kind that is told apart, the number of groups of equal size that would tell as
            much if images of a group all agreed: ``(sum w)^2 / sum w^2`` over the weights ``w`` of the groups
            (Kish, "Survey Sampling", 1965).
    """

    form: str
    images: int
    groups: int
    effective: tuple[float, ...]


@dataclass(frozen=True)
class Over:
    """Which images a metric is over.

    Attributes:
        form: See `SHARE`.
        kinds: The images of each kind that the metric needs: of an AUROC positives and negatives.
        by_fold: Whether it is the mean over folds, each of which counts the same.
        mean: Whether it is the mean of the values of those kinds that have images, each against the rest.
    """

    form: str
    kinds: tuple[Bool[np.ndarray, " n"], ...]
    by_fold: bool = False
    mean: bool = False

    def count(
        self,
        groups: Int[np.ndarray, " n"],
        folds: Int[np.ndarray, " n"] | None,
        kept: Bool[np.ndarray, " n"],
    ) -> Cases:
        """Count the cases among the images that are kept."""
        place, numbers, effective = np.unique(groups, return_inverse=True)[1], [], []
        for kind in self.kinds:
            weights = (kind & kept).astype(np.float64)
            if self.by_fold and folds is not None:
                strata = np.unique(folds, return_inverse=True)[1]
                weights /= np.maximum(np.bincount(strata, weights), 1)[strata]
            of_group = np.bincount(place, weights)
            numbers.append(int((of_group > 0).sum()))
            effective.append(float(of_group.sum() ** 2 / max((of_group**2).sum(), 1e-300)))
        if self.mean:
            numbers, effective = [x for x in numbers if x], [x for x in effective if x]
            # Areas under curves of the same images vary together: no more is known than of the rarest class.
            rarest = min(effective, default=0.0)
            effective = [combine(effective)] if self.form == SHARE else [rarest, sum(effective) - rarest]
        images = int((np.any(self.kinds, axis=0) & kept).sum())
        return Cases(self.form, images, min(numbers, default=0), tuple(effective))


def combine(numbers: Iterable[float]) -> float:
    """Effective number of cases of a mean of values that count the same, from that of each."""
    each = list(numbers)
    return len(each) ** 2 / sum(1 / x for x in each) if each and min(each) > 0 else 0.0


def combine_sources(parts: Iterable[Cases]) -> Cases:
    """The cases of a mean over sources; with too few in one source, there are too few for the mean."""
    each = list(parts)
    return replace(
        each[0],
        images=sum(one.images for one in each),
        groups=min(one.groups for one in each),
        effective=tuple(map(combine, zip(*(one.effective for one in each), strict=True))),
    )


def find_cases(columns: Mapping[str, Shaped[np.ndarray, " n"]], by_fold: bool = False) -> dict[str, Over]:
    """Which images the metrics of masks and of classes are over.

    Args:
        columns: `label`, positions in `CLASSES`; of a diagnosis `pred` too, their names; of masks `area`.
        by_fold: Whether ranking is measured in each fold and averaged.

    Returns:
        By the names that `busi.metrics.segmentation.segmentation_metrics` and
        `busi.metrics.classification.classification_metrics` give.
    """
    labels = columns["label"]
    every = np.ones(len(labels), np.bool_)
    of = {name: labels == k for k, name in enumerate(CLASSES)}
    malignant = (of[CLASSES[MALIGNANT]], ~of[CLASSES[MALIGNANT]])
    found = {
        "accuracy": Over(SHARE, (every,)),
        "balanced_accuracy": Over(SHARE, tuple(of.values()), mean=True),
        "macro_f1": Over(SHARE, tuple(of.values()), mean=True),
        **{f"recall_{name}": Over(SHARE, (kind,)) for name, kind in of.items()},
        **{f"f1_{name}": Over(BOUNDED, (kind,)) for name, kind in of.items()},
        **{f"auroc_{name}": Over(AREA, (kind, ~kind), by_fold) for name, kind in of.items()},
        "auroc": Over(AREA, tuple(of.values()), by_fold, mean=True),
        "brier": Over(FREE, (every,)),
        "log_loss": Over(FREE, (every,)),
        "calibration_error": Over(FREE, (every,)),
        "calibration_slope": Over(FREE, malignant),
    }
    if "pred" in columns:
        found |= {f"precision_{name}": Over(SHARE, (columns["pred"] == name,)) for name in CLASSES}
    if "area" in columns:
        lesion = columns["area"] > 0
        found |= {
            **{name: Over(BOUNDED, (lesion,)) for name in ("dice", "iou")},
            "dice_benign": Over(BOUNDED, (lesion & (labels == BENIGN),)),
            "dice_malignant": Over(BOUNDED, (lesion & (labels == MALIGNANT),)),
            "dice_all": Over(BOUNDED, (every,)),
            "hd95": Over(FREE, (lesion,)),
            "normal_fp_rate": Over(SHARE, (~lesion,)),
            "lesion_miss_rate": Over(SHARE, (lesion,)),
        }
    return found
