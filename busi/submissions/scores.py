"""Scores of what any tool predicted: the report that our runs get, and a comparison with each other."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from busi.core import InputError, check_new, expand, list_some, printable, whole_folder, writing_to
from busi.data import DataSet, SharedSplit, file_name, share_split
from busi.figures import Section, Table
from busi.metrics import Calibration
from busi.reporting import (
    about_split,
    fit_nothing,
    fit_validation,
    share_settings,
    title_of,
    write_comparison,
    write_report,
)
from busi.runs import Predictions, Variant
from busi.submissions.case_names import CaseNames
from busi.submissions.measured import Measured, measure_submission
from busi.submissions.own_runs import open_submissions, read_own
from busi.submissions.submitted import Truth, write_variants

log = logging.getLogger(__name__)

SUBMISSIONS = "submissions"
"""The folder of the reports on several submissions, one each in a folder of its name."""


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
    data: DataSet,
    output: Path,
    *,
    cache_dir: Path,
    num_folds: int | None = None,
    split_seed: int = 0,
    folds: str | None = None,
    exclude: Path | None = None,
    on_bad: str = "error",
    partial: bool = False,
) -> Path:
    """Score predictions of any tools, and runs of our own, and compare them where there are several.

    Args:
        paths: See `busi.submissions.submission.open_submission`; or run folders. What is given twice counts
            once.
        data: The data set.
        output: The folder; new, and appears once it is whole. With several submissions, each has its own
            report in `SUBMISSIONS`.
        cache_dir: Where decoded data is kept.
        num_folds: See `busi.data.share_split`, as the next three.
        split_seed: Of the folds of the data.
        folds: ``grouped`` or ``published``.
        exclude: CSV file with the column ``id``: more images to leave out, of the data and of submissions.
        on_bad: ``error``, or ``skip`` to go on without unusable files.
        partial: Accept that whole folds are missing.

    Returns:
        The page.

    Raises:
        InputError: If the data or a submission is missing or wrong, or `output` is there already.
    """
    output = expand(output)
    check_output(output, paths)
    opened = open_submissions(paths)
    names = [one.resolve().name if isinstance(one, Path) else one.name for one in opened]
    check_names(names)
    split = share_split(
        data,
        cache_dir=expand(cache_dir),
        num_folds=num_folds,
        split_seed=split_seed,
        folds=folds,
        exclude=exclude,
        on_bad=on_bad,
    )
    kept, every = int((split.cohort.folds >= 0).sum()), len(split.cohort.records)
    log.info("%d images of %s in %d folds, %d left out", kept, data.name, split.num_folds, every - kept)
    cases, truth = CaseNames(split.cohort.records, split.cohort.unusable), Truth(split)
    # All of them are checked before anything is written.
    checked = [
        read_own(one, truth, cases, partial)
        if isinstance(one, Path)
        else measure_submission(one, split, cases, partial)
        for one in opened
    ]
    check_same_folds(dict(zip(names, checked, strict=True)), cases)
    with writing_to(output), whole_folder(output) as part:
        several = len(names) > 1
        entries = []
        for name, one in zip(names, checked, strict=True):
            inner = Path(SUBMISSIONS, file_name(name)) if several else Path()
            entries.append(make_entry(name, one, truth, part / inner, output / inner))
            report(entries[-1], part / inner, output / inner)
        if several:
            compare(entries, part, output, split)
    return output / "index.html"


def check_output(output: Path, paths: Sequence[Path]) -> None:
    """Raise `InputError` if the folder is there already, cannot be made, or lies in a submission."""
    for path in paths:
        if output.resolve().is_relative_to(expand(path).resolve()):
            raise InputError(f"--output {output} lies in the submission {path}: give another folder")
    check_new(output)


def check_names(names: Sequence[str]) -> None:
    """Raise `InputError` if a name names no folder, or two submissions have one name."""
    how = '(that of its folder, or "name" in submission.json)'
    seen = set[str]()
    for name in names:
        key = file_name(name).casefold()
        if not key.strip(" .") or printable(name) != name:
            raise InputError(f"a submission is called {name!r}: give it a name with letters or digits {how}")
        if key in seen:
            raise InputError(f"two submissions are called {name}: give each a name of its own {how}")
        seen.add(key)


def make_entry(name: str, one: Measured | list[Variant], truth: Truth, folder: Path, place: Path) -> Entry:
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
    return Entry(name, write_variants(one, truth, folder, place), title, about, facts)


def describe(one: Measured, split: SharedSplit) -> dict[str, str]:
    """What is known of a submission, by titles."""
    said, of = one.submission.said, one.folds.of
    folds = f"{len(set(of.values()))} of {one.folds.number}"
    masks = "labels or probabilities, as the files tell" if said.values is None else said.values
    passed_over = one.submission.passed_over
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
        "passed over": list_some(passed_over, 20) or "nothing",
    }
    for title in ("not scored", "passed over"):
        if facts[title] != "nothing":
            log.warning("%s: %s: %s", one.name, title, facts[title])
    return facts


def report(one: Entry, folder: Path, place: Path) -> None:
    """Write the report on a submission into a folder, which will be in its place once all is written."""
    found = [run for variant in one.variants for seed in variant.seeds for run in seed]
    calibrated = all("val" in run.columns["split"] for run in found if run.variant != "segmentation")
    table = Table(["", ""], [[title, text] for title, text in one.facts.items()])
    first = [Section("The submission", [table])] if one.facts else []
    write_report(
        one.variants,
        folder,
        one.title,
        one.about,
        fit=None if calibrated else fit_submitted,
        first=first,
        extra={"submission": one.facts} if one.facts else {},
        place=place,
    )


def fit_submitted(one: Predictions, source: str) -> Calibration:
    """Calibrate on predictions of validation images where there are any."""
    fit = fit_validation if "val" in one.columns["split"] else fit_nothing
    return fit(one, source)


def compare(entries: Sequence[Entry], folder: Path, place: Path, split: SharedSplit) -> None:
    """Write the page that compares several submissions with the first of them."""
    variants = share_settings([variant for one in entries for variant in one.variants])
    rows = [[one.name, *(one.facts.get(key, "") for key in ("folds", "masks", "classes"))] for one in entries]
    table = Table(["submission", "folds", "masks", "classes"], rows)
    listed = ", ".join(f"{SUBMISSIONS}/{file_name(one.name)}/index.html" for one in entries)
    write_comparison(
        variants,
        folder,
        f"Comparison of {', '.join(one.name for one in entries)} on {split.data.name}",
        " ".join(one.about for one in entries),
        f"The report on each: {listed}.",
        fit=fit_submitted,
        first=[Section("The submissions", [table])],
        extra={"submissions": {one.name: one.facts for one in entries}},
        place=place,
    )


def check_same_folds(checked: Mapping[str, Measured | list[Variant]], cases: CaseNames) -> None:
    """Raise `InputError` if two submissions have an image in different folds, so that they are not paired.

    Args:
        checked: What was read, by the names of submissions.
        cases: Names of the images of the data.
    """
    first: dict[tuple[bool, str], tuple[int, str]] = {}
    for name, one in checked.items():
        for masks, image, fold in list_folds(one, cases):
            before, other = first.setdefault((masks, image), (fold, name))
            if fold != before:
                raise InputError(
                    f"{image} is in fold {before} of {other}, and in fold {fold} of {name}: submissions are "
                    "compared on the same folds (python -m busi.split writes them; --num-folds, of one that "
                    "states none). Else score each alone"
                )


def list_folds(one: Measured | list[Variant], cases: CaseNames) -> Iterator[tuple[bool, str, int]]:
    """Whether the mask is predicted, or the class; id; and fold of each prediction that is compared."""
    if isinstance(one, Measured):
        yield from ((True, cases.ids[i], one.folds.of[i]) for i in one.masks)
        rows = {row.image for row in one.classes if row.split == "test"}
        yield from ((False, cases.ids[i], one.folds.of[i]) for i in rows)
        return
    for variant in one:
        for run in variant.seeds[0]:
            for name in run.part("test")["id"].tolist():
                yield variant.name == "segmentation", name, run.fold
