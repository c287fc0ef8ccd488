"""A submission as the runs that a report reads: written as the tables and maps of a run."""

from dataclasses import asdict
from pathlib import Path

import numpy as np

from busi.core import CLASSES, write_json, write_table, write_whole
from busi.data import SharedSplit
from busi.models import Postprocess
from busi.reporting import SUBMITTED, StandInRun, stand_in_config, stand_in_provenance
from busi.runs import (
    Predictions,
    Row,
    Variant,
    describe_classes,
    describe_image,
    map_path,
    read_columns,
    take,
)
from busi.submissions.class_tables import ClassRow
from busi.submissions.measured import Measured

GUIDE = "unknown"
"""The guide of a classifier of which nobody says how it was guided."""


class Truth:
    """What the data says of its images, as columns of ``predictions.csv``; each is read once."""

    def __init__(self, split: SharedSplit) -> None:
        self.split = split
        self._rows: dict[int, Row] = {}

    def __call__(self, i: int) -> Row:
        """The columns of an image."""
        if i not in self._rows:
            self._rows[i] = describe_image(self.split.cohort, i)
        return self._rows[i]


def write_variants(one: Measured, truth: Truth, folder: Path, place: Path) -> list[Variant]:
    """Write the tables and maps of a submission, and give what a report reads.

    Args:
        one: Checked and measured.
        truth: The data.
        folder: Where ``predictions.csv``, ``split.csv``, ``postprocess.json`` and ``maps/`` go.
        place: Where this folder will be once all is written.
    """
    cohort, of = truth.split.cohort, one.folds.of
    tested = {row.image: row for row in one.classes if row.split == "test" and row.image in of}
    rows = [truth(i) | {"fold": of[i], "split": "test"} | fill(one, i, tested.get(i)) for i in sorted(of)]
    for row in one.classes:
        if row.split == "val":
            rows.append(truth(row.image) | {"fold": row.fold, "split": "val"} | fill(one, None, row))
    write_table(folder / "predictions.csv", rows)
    write_table(folder / "split.csv", [mark(row, i in of) for i, row in enumerate(cohort.rows())])
    write_json(folder / "postprocess.json", asdict(Postprocess(one.submission.said.threshold)))
    for i, content in one.maps.items():
        path = map_path(folder, cohort.records[i].id)
        write_whole(path, lambda part, content=content: part.write_bytes(content), durable=False)
    variants = []
    for stage, there in (("seg", one.masks), ("cls", tested)):
        if there:
            columns = read_columns(folder / "predictions.csv", stage)
            kept = np.isfinite(columns["dice" if stage == "seg" else "logit_benign"])
            columns = take(columns, kept)
            runs = []
            for fold in sorted(set(columns["fold"].tolist())):
                here = columns["fold"] == fold
                run = make_run(one, truth.split, folder, place, stage, fold)
                runs.append(Predictions(run, take(columns, here)))
            name = "segmentation" if stage == "seg" else GUIDE
            variants.append(Variant(name, (tuple(runs),), one.name))
    return variants


def fill(one: Measured, i: int | None, row: ClassRow | None) -> Row:
    """The columns of both stages; those of one that is not there are undefined."""
    nothing: Row = dict.fromkeys(("dice", "iou", "hd95", "area", "pred_area"), float("nan"))
    said = one.masks.get(i, nothing) if i is not None else nothing
    if row is None:
        columns = [f"{kind}_{name}" for kind in ("logit", "prob") for name in CLASSES]
        return {**said, "pred": "", **dict.fromkeys(columns, float("nan"))}
    return {**said, **describe_classes(row.logits)}


def mark(row: Row, scored: bool) -> Row:
    """A row of ``split.csv``, which says which images the submission predicted."""
    reason = "" if scored else row["reason"] or "not predicted"
    return {**row, "split": "test" if scored else "dropped", "reason": reason}


def make_run(
    one: Measured,
    split: SharedSplit,
    folder: Path,
    place: Path,
    stage: str,
    fold: int,
) -> StandInRun:
    """A fold of a submission, with what is known of it."""
    provenance = stand_in_provenance("busi.score", split.cohort, stage, fold)
    provenance["guide"] = GUIDE if stage == "cls" else None
    provenance[SUBMITTED] = str(one.submission.path)
    config = stand_in_config(split.data, stage, GUIDE, fold, one.folds.number)
    return StandInRun(folder, provenance, config, place)
