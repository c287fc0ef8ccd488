"""Runs of busi among submissions: the same predictions, in the order and the groups of the data."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from busi.core import CLASSES, InputError, expand, real
from busi.data import SharedSplit
from busi.runs import Predictions, Variant, list_run_folders, read_split, read_variants, take
from busi.submissions.case_names import CaseNames, list_images
from busi.submissions.folds import check_complete
from busi.submissions.leaks import Training, check_leaks
from busi.submissions.submission import FILE, Submission, open_submission
from busi.submissions.submitted import Truth


def open_submissions(paths: Sequence[Path]) -> list[Path | Submission]:
    """Open submissions, each once, whether it is given by its folder, its `FILE` or a link.

    Returns:
        In their order, a submission, or the folder of runs of busi.

    Raises:
        InputError: See `open_submission`; or a run is in two of them, and would be compared with itself.
    """
    given: dict[Path, Path] = {}
    for path in map(expand, paths):
        given.setdefault(real(path.parent if path.name == FILE else path), path)
    first: dict[Path, Path] = {}
    opened: list[Path | Submission] = []
    for path in given.values():
        if not holds_runs(path):
            opened.append(open_submission(path))
            continue
        opened.append(path)
        for folder in list_run_folders(path):
            other = first.setdefault(real(folder), path)
            if other is not path:
                raise InputError(f"{folder} is in {other} and in {path}: give the runs of each setting once")
    return opened


def holds_runs(path: Path) -> bool:
    """Whether a submission is a run folder, or a folder of them."""
    return path.is_dir() and not (path / FILE).exists() and bool(list_run_folders(path))


def read_own(path: Path, truth: Truth, cases: CaseNames, partial: bool) -> list[Variant]:
    """Read finished runs as a report does.

    Args:
        path: A run folder, or a folder of them.
        truth: The data.
        cases: Names of its images.
        partial: Accept fewer folds than the split has.

    Raises:
        InputError: See `busi.runs.read_variants`; or they tested other images, not all of
            them, or were trained on what they tested.
    """
    variants = read_variants([path], partial)
    if held_out := [one.held_out for one in variants if one.held_out]:
        raise InputError(f"{path} holds out {held_out[0]}: python -m busi.report reports such runs")
    if settings := [one.setting for one in variants if one.setting]:
        raise InputError(
            f"{path} has runs of several settings ({'; '.join(settings[:5])}): give the folder of each as a "
            "submission of its own"
        )
    places = {record.id: i for i, record in enumerate(truth.split.cohort.records)}
    aligned = [
        replace(
            one,
            seeds=tuple(tuple(align(run, truth, places) for run in seed) for seed in one.seeds),
            setting=path.resolve().name,
        )
        for one in variants
    ]
    for one in aligned:
        for seed in one.seeds:
            check_runs(seed, truth.split, cases, places, partial)
    return aligned


def check_runs(
    runs: Sequence[Predictions],
    split: SharedSplit,
    cases: CaseNames,
    places: Mapping[str, int],
    partial: bool,
) -> None:
    """Check the folds of one training as those of any submission.

    Args:
        runs: One for each fold.
        split: The data.
        cases: Names of its images.
        places: Id of an image -> its position.
        partial: Accept that whole folds are missing.

    Raises:
        InputError: If images of the data are not tested; or a run was trained on, or chosen by, what it tests
            or something of its group, as the data knows groups.
    """
    name, config = str(runs[0].run.folder), runs[0].config.data
    folds: dict[int, int] = {}
    of: dict[int, int] = {}
    trained: dict[int, set[int]] = {}
    validated: dict[int, set[int]] = {}
    unknown: list[str] = []
    for run in runs:
        ids: dict[str, list[str]] = {}
        for row in read_split(run.run):
            ids.setdefault(row["split"], []).append(row["id"])
            if row["id"] in places and row["fold"]:
                folds[places[row["id"]]] = int(row["fold"])
        of |= {places[one]: run.fold for one in run.part("test")["id"].tolist()}
        trained[run.fold] = {places[one] for one in ids.get("train", ()) if one in places}
        validated[run.fold] = {places[one] for one in ids.get("val", ()) if one in places}
        unknown += [one for one in ids.get("train", ()) if one not in places]
    annotated = runs[0].variant == "segmentation" or bool(config.get("need_masks"))
    check_complete(name, "prediction", of, split, cases, {**folds, **of}, partial, annotated)
    check_leaks(name, of, True, split, cases, Training(folds, trained, unknown), validated)


def align(one: Predictions, truth: Truth, places: dict[str, int]) -> Predictions:
    """The predictions of a run with its test images in the order of the data, and with the groups of these.

    Those of images that ``--exclude`` names, and of images that cannot be used, are left out.

    Raises:
        InputError: If one is no image of the data, or has another class or annotation there.
    """
    columns, split = one.columns, truth.split
    excluded = {name for name, i in places.items() if split.cohort.reasons[i] == "excluded"}
    excluded |= {problem.id for problem in split.cohort.unusable}
    test = np.flatnonzero((columns["split"] == "test") & ~np.isin(columns["id"], [*excluded]))
    ids = columns["id"][test].tolist()
    if unknown := [name for name in ids if name not in places]:
        raise InputError(
            f"{one.run.folder} tested images that the data does not have: {list_images(unknown)}"
        )
    if dropped := [name for name in ids if split.cohort.folds[places[name]] < 0]:
        raise InputError(
            f"{one.run.folder} tested images that are left out of the data: {list_images(dropped)}"
        )
    known = [truth(places[name]) for name in ids]
    labels = np.array([CLASSES.index(str(row["label"])) for row in known])
    shares = np.array([row["lesion_share"] for row in known], np.float64)
    same = (columns["label"][test] == labels) & np.isclose(
        columns["lesion_share"][test], shares, rtol=1e-9, equal_nan=True
    )
    if not same.all():
        other = [name for name, x in zip(ids, same.tolist(), strict=True) if not x]
        raise InputError(f"{one.run.folder} tested other images or annotations of {list_images(other)}")
    changed = {name: column.copy() for name, column in columns.items()}
    changed["group"][test] = [row["group"] for row in known]
    sources = {name: str(truth.split.cohort.records[i].source) for name, i in places.items()}
    changed["source"] = np.array(
        [sources.get(name, own) for name, own in zip(columns["id"], columns["source"], strict=True)]
    )
    order = np.concatenate(
        [np.flatnonzero(columns["split"] != "test"), test[np.argsort([places[name] for name in ids])]]
    )
    return replace(one, columns=take(changed, order))
