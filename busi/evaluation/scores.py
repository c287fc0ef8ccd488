"""The referee: predictions of any tool get the report that our runs get, and are compared with each other."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from busi.core import InputError, expand, write_json, writing_to
from busi.data import SharedSplit, describe_cohort, file_name, find_data, share_split
from busi.evaluation.case_names import CaseNames
from busi.evaluation.measured import Measured, measure_submission
from busi.evaluation.own_runs import holds_runs, read_own
from busi.evaluation.submission import open_submission
from busi.evaluation.submitted import Truth, write_variants
from busi.figures import Section, Table
from busi.reporting import (
    Fitted,
    about_split,
    fit_nothing,
    fit_validation,
    share_settings,
    title_of,
    write_comparison,
    write_report,
)
from busi.runs import Predictions, Variant

log = logging.getLogger(__name__)

OWN = "scores.json"
"""By which a folder is known that an earlier score may be written over."""


@dataclass(frozen=True)
class Entry:
    """A submission, ready for its report.

    Attributes:
        name: Of the submission.
        variants: What a report reads.
        title: Of its page.
        about: How test images were kept apart from training images.
        facts: What is known of it; none of runs of our own, whose report says more.
    """

    name: str
    variants: list[Variant]
    title: str
    about: str
    facts: dict[str, str]


def score_submissions(
    paths: Sequence[Path],
    data: str,
    output: Path,
    *,
    cache_dir: Path,
    num_folds: int | None = None,
    split_seed: int = 0,
    folds: str | None = None,
    on_bad: str = "error",
    partial: bool = False,
) -> Path:
    """Score predictions of any tools, and runs of our own, and compare them where there are several.

    Args:
        paths: See `busi.evaluation.submission.open_submission`; or run folders.
        data: A name, a folder or a manifest, see `busi.data.find_data`.
        output: The folder; with several submissions, each has its own report in it.
        cache_dir: Where decoded data is kept.
        num_folds: See `busi.data.share_split`, as the next two.
        split_seed: Of the folds of the data.
        folds: ``grouped`` or ``published``.
        on_bad: ``error``, or ``skip`` to go on without unusable files.
        partial: Accept that whole folds are missing.

    Returns:
        The page.

    Raises:
        InputError: If the data or a submission is missing or wrong, or `output` holds something else.
    """
    output = expand(output)
    check_output(output, paths)
    opened = [expand(path) if holds_runs(expand(path)) else open_submission(path) for path in paths]
    names = [one.resolve().name if isinstance(one, Path) else one.name for one in opened]
    check_names(names)
    split = share_split(
        find_data(data),
        cache_dir=expand(cache_dir),
        num_folds=num_folds,
        split_seed=split_seed,
        folds=folds,
        on_bad=on_bad,
    )
    log.info("%s", describe_cohort(split.cohort))
    cases, truth = CaseNames([*split.cohort.records]), Truth(split)
    # All of them are checked before anything is written.
    checked = [
        read_own(one, truth, partial)
        if isinstance(one, Path)
        else measure_submission(one, split, cases, partial)
        for one in opened
    ]
    folders = [output / file_name(name) if len(names) > 1 else output for name in names]
    with writing_to(output):
        entries = [
            make_entry(name, one, truth, folder)
            for name, one, folder in zip(names, checked, folders, strict=True)
        ]
        check_same_folds([variant for one in entries for variant in one.variants])
        pages = [report(one, folder) for one, folder in zip(entries, folders, strict=True)]
        page = compare(entries, output, split) if len(entries) > 1 else pages[0]
        write_json(output / OWN, {one.name: one.facts for one in entries})
    return page


def check_output(output: Path, paths: Sequence[Path]) -> None:
    """Raise `InputError` if the folder holds something else, or lies in a submission."""
    if output.exists() and not output.is_dir():
        raise InputError(f"{output} is a file: give a folder")
    for path in paths:
        if output.resolve().is_relative_to(expand(path).resolve()):
            raise InputError(f"--output {output} lies in the submission {path}: give another folder")
    if output.is_dir() and any(output.iterdir()) and not (output / OWN).is_file():
        raise InputError(f"{output} holds something else: give another --output")


def check_names(names: Sequence[str]) -> None:
    """Raise `InputError` if two submissions have one name."""
    seen: dict[str, str] = {}
    for name in names:
        if (other := seen.setdefault(file_name(name).casefold(), name)) is not name:
            raise InputError(
                f"two submissions are called {other}: give each a name of its own (that of its folder, or "
                '"name" in submission.json)'
            )


def make_entry(name: str, one: Measured | list[Variant], truth: Truth, folder: Path) -> Entry:
    """What is reported of a submission; that of another tool is written as a run."""
    if not isinstance(one, Measured):
        return Entry(name, one, title_of(one), about_split(one), {})
    facts, split = describe(one, truth.split), truth.split
    text = (
        "Its folds are those that it states."
        if one.folds.stated
        else "It states no folds: images have those of the data, and AUROC is computed in each of them."
    )
    about = (
        f"{name}: predictions in {one.submission.path}. {text} {one.folds.words} The split of the data has "
        f"the fingerprint {split.cohort.split_fingerprint}."
    )
    title = f"Score of {name} on {split.data.name}"
    return Entry(name, write_variants(one, truth, folder), title, about, facts)


def describe(one: Measured, split: SharedSplit) -> dict[str, str]:
    """What is known of a submission, by titles."""
    said, of = one.submission.said, one.folds.of
    folds = f"{len(set(of.values()))} of {one.folds.number}"
    masks = "labels or probabilities, as the files tell" if said.values is None else said.values
    passed_over = one.submission.passed_over
    more = f" and {len(passed_over) - 20} more" if len(passed_over) > 20 else ""
    calibrated = "with" if one.calibrates else "without"
    facts = {
        "predictions": str(one.submission.path),
        "data": f"{split.data.name}, fingerprint {split.cohort.data_fingerprint}",
        "images": str(len(of)),
        "folds": f"{folds}, {'as it states' if one.folds.stated else 'those of the data'}",
        "masks": f"{len(one.masks)}: {masks}, threshold {said.threshold:g}" if one.masks else "none",
        "classes": f"{calibrated} predictions of validation images" if one.classes else "none",
        "trained on": "; ".join([*said.trained_on, one.folds.words]),
        "not scored": "; ".join(one.not_scored) or "nothing",
        "passed over": ", ".join(passed_over[:20]) + more or "nothing",
    }
    for title in ("not scored", "passed over"):
        if facts[title] != "nothing":
            log.warning("%s: %s: %s", one.name, title, facts[title])
    return facts


def report(one: Entry, folder: Path) -> Path:
    """Write the report on a submission."""
    found = [run for variant in one.variants for seed in variant.seeds for run in seed]
    calibrated = all("val" in run.columns["split"] for run in found if run.variant != "segmentation")
    table = Table(["", ""], [[title, text] for title, text in one.facts.items()])
    first = [Section("The submission", [table])] if one.facts else []
    return write_report(
        one.variants,
        folder,
        one.title,
        one.about,
        fit=None if calibrated else fit_submitted,
        first=first,
        extra={"submission": one.facts} if one.facts else {},
    )


def fit_submitted(one: Predictions, source: str) -> Fitted:
    """Calibrate on predictions of validation images where there are any."""
    fit = fit_validation if "val" in one.columns["split"] else fit_nothing
    return fit(one, source)


def compare(entries: Sequence[Entry], output: Path, split: SharedSplit) -> Path:
    """Write the page that compares several submissions with the first of them."""
    variants = share_settings([variant for one in entries for variant in one.variants])
    rows = [[one.name, *(one.facts.get(key, "") for key in ("folds", "masks", "classes"))] for one in entries]
    table = Table(["submission", "folds", "masks", "classes"], rows)
    listed = ", ".join(f"{file_name(one.name)}/index.html" for one in entries)
    return write_comparison(
        variants,
        output,
        f"Comparison of {', '.join(one.name for one in entries)} on {split.data.name}",
        " ".join(one.about for one in entries),
        f"The report on each: {listed}.",
        fit=fit_submitted,
        first=[Section("The submissions", [table])],
        extra={"submissions": {one.name: one.facts for one in entries}},
    )


def check_same_folds(variants: Sequence[Variant]) -> None:
    """Raise `InputError` if two submissions have an image in different folds, so that they are not paired."""
    first: dict[tuple[bool, str], tuple[int, str]] = {}
    for variant in variants:
        for one in variant.seeds[0]:
            for name in one.part("test")["id"].tolist():
                key = (variant.name == "segmentation", name)
                fold, other = first.setdefault(key, (one.fold, variant.setting))
                if fold != one.fold:
                    raise InputError(
                        f"{name} is in fold {fold} of {other}, and in fold {one.fold} of {variant.setting}: "
                        "submissions are compared on the same folds (python -m busi.split writes them; "
                        "--num-folds, of one that states none). Else score each alone"
                    )
