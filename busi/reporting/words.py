"""What a page says of its images: which folds, how many trainings, and what its groups are."""

from collections.abc import Sequence

import numpy as np

from busi.core import CLASSES
from busi.metrics import FEW
from busi.reporting.pooling import join, rows_by_source
from busi.reporting.sources import name_folds
from busi.runs import Predictions, Variant, read_split

DUPLICATES, PATIENTS, MIXED, UNKNOWN = (
    "groups of near-duplicates",
    "patients",
    "groups: patients where the data names them, else near-duplicates",
    "groups: near-duplicates, and images of one patient where the data names it",
)
"""What the groups of test images are."""


def name_test_images(variant: Variant) -> str:
    """Which test images a variant has: ``test images of fold 0``, ``test images of all 5 folds``."""
    if is_evaluation(variant):
        return "images that the model has not seen"
    if variant.held_out:
        return f"all images of {variant.held_out}"
    number, folds = int(variant.seeds[0][0].config.data.num_folds), variant.folds
    if len(folds) == number > 1:
        return f"test images of all {number} folds"
    return f"test images of {name_folds(folds)}"


def is_evaluation(variant: Variant) -> bool:
    """Whether the images are of other data than the run was made with."""
    return bool(variant.seeds[0][0].run.provenance.get("evaluated"))


def of_trainings(variant: Variant) -> str:
    """``one seed``, ``means over 3 seeds``: what a number of a variant is of."""
    return variant.trainings if len(variant.seeds) == 1 else f"means over {variant.trainings}"


def name_groups(one: Predictions) -> str:
    """What the groups of the test images of a run are, see `DUPLICATES`."""
    rows = [row for row in read_split(one.run) if row["split"] == "test"]
    if not rows or "has_patient" not in rows[0]:
        return UNKNOWN
    known = [row["has_patient"] == "1" for row in rows]
    return PATIENTS if all(known) else MIXED if any(known) else DUPLICATES


def count_groups(variant: Variant) -> int:
    """Number of groups of test images; one of several sources counts in each."""
    columns = join(variant.seeds[0])
    return sum(len(np.unique(columns["group"][here])) for here in rows_by_source(columns).values())


def warn_of_few(variants: Sequence[Variant]) -> str:
    """Which classes have too few cases, as a sentence; empty if none has."""
    few: dict[str, int] = {}
    tested = [join(variant.seeds[0]) for variant in variants]
    several = len({source for columns in tested for source in rows_by_source(columns)}) > 1
    for columns in tested:
        for source, here in rows_by_source(columns).items():
            for k, name in enumerate(CLASSES):
                of_class = np.unique(columns["group"][here & (columns["label"] == k)])
                if 0 < len(of_class) < FEW:
                    title = f"{name} of {source}" if several else name
                    few[title] = min(few.get(title, FEW), len(of_class))
    if not few:
        return ""
    listed = ", ".join(f"{title} ({number})" for title, number in few.items())
    return (
        f"Nothing can be said about classes with fewer than {FEW} independent cases: {listed}. Where "
        'a number needs more cases than there are, "(too few)" stands in place of its interval.'
    )
