"""A submission, checked: every image predicted once, at its size, and its masks measured."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.progress import track

from busi.core import InputError, list_some
from busi.data import Problem, SharedSplit, list_problems, read_mask
from busi.figures import encode_png
from busi.metrics import measure_mask
from busi.runs import Row
from busi.submissions.case_names import CaseNames
from busi.submissions.class_tables import ClassRow, read_classes
from busi.submissions.folds import Folds, find_folds
from busi.submissions.mask_files import read_predicted
from busi.submissions.submission import MaskFile, Submission


@dataclass(frozen=True)
class Measured:
    """A submission, checked and measured.

    Attributes:
        submission: Its files.
        folds: The fold of each image.
        masks: Position of an image -> what is said of its mask.
        maps: Position of an image -> its map, as the content of a PNG file.
        classes: The rows of its table, without those of images that are left out of the data.
        not_scored: Predictions that are not scored, and why.
    """

    submission: Submission
    folds: Folds
    masks: Mapping[int, Row]
    maps: Mapping[int, bytes]
    classes: Sequence[ClassRow]
    not_scored: Sequence[str]

    @property
    def name(self) -> str:
        """Of the submission."""
        return self.submission.name

    @property
    def calibrates(self) -> bool:
        """Whether it has predictions of validation images."""
        return any(row.split == "val" for row in self.classes)


def measure_submission(one: Submission, split: SharedSplit, names: CaseNames, partial: bool) -> Measured:
    """Read and check a whole submission, and measure its masks.

    Args:
        one: Its files.
        split: The data.
        names: Of its images.
        partial: Accept that whole folds are missing.

    Raises:
        InputError: If something is missing, twice there, damaged, of another size, or no probability; or a
            fold trained on what it predicts.
    """
    files = match_masks(one, names)
    labels = split.cohort.labels()[split.cohort.folds >= 0].tolist()
    classes, unusable = read_classes(one.table, names, labels) if one.table else ([], [])
    unusable += [file.case for file in one.masks if names.is_unusable(file.case)]
    given: dict[str, Mapping[int, int | None]] = {}
    if files:
        given["mask"] = {i: file.fold for i, file in files.items()}
    if one.table:
        given["row"] = {row.image: row.fold for row in classes if row.split == "test"}
    validated: dict[int, set[int]] = {}
    for row in classes:
        if row.split == "val" and row.fold is not None:
            validated.setdefault(row.fold, set()).add(row.image)
    folds = find_folds(one, split, names, given, validated, partial)
    scored = [row for row in classes if split.cohort.folds[row.image] >= 0]
    check_calibration(one.name, folds, scored)
    annotated = {i: file for i, file in files.items() if i in folds.of and split.cohort.records[i].annotated}
    masks, maps = measure_masks(one, annotated, split)
    not_scored = list_not_scored(files, classes, split, annotated, unusable)
    return Measured(one, folds, masks, maps, scored, not_scored)


def match_masks(one: Submission, names: CaseNames) -> dict[int, MaskFile]:
    """The mask of each image.

    Raises:
        InputError: If a file is of no image, or several are of one.
    """
    files: dict[int, MaskFile] = {}
    problems = []
    for file in one.masks:
        shown = str(file.path.relative_to(one.path)) if file.path.is_relative_to(one.path) else str(file.path)
        i = names.find(file.case)
        if names.is_unusable(file.case):
            continue
        if i is None:
            problems.append(Problem(file.case, "mask of no image of the data", shown))
        elif files.setdefault(i, file) is not file:
            problems.append(Problem(file.case, "image with several masks", f"{files[i].path.name}, {shown}"))
    if problems:
        raise InputError(f"{one.name}: {list_problems(problems)}. {names.hint}: give each image one mask")
    return files


def check_calibration(name: str, folds: Folds, classes: Sequence[ClassRow]) -> None:
    """Raise `InputError` if some folds have predictions of validation images, and others have not."""
    tested = {folds.of[row.image] for row in classes if row.split == "test" and row.image in folds.of}
    validated = {row.fold for row in classes if row.split == "val"}
    if validated and validated != tested:
        lacking, more = sorted(tested - validated), sorted(x for x in validated - tested if x is not None)
        what = (
            f"fold {lacking[0]} has no rows of the split val, and others have"
            if lacking
            else f"fold {more[0]} has rows of the split val, and none that tests"
        )
        raise InputError(f"{name}: {what}: give them of every fold, or of none")


def measure_masks(
    one: Submission, files: Mapping[int, MaskFile], split: SharedSplit
) -> tuple[dict[int, Row], dict[int, bytes]]:
    """Measure the masks at the size of their images.

    Returns:
        What is said of each mask, and its map as the content of a PNG file.

    Raises:
        InputError: If a file is damaged, of another size than its image, or says no mask.
    """
    problems, rows, maps = [], dict[int, Row](), dict[int, bytes]()
    for i, file in track(sorted(files.items()), f"measuring {one.name}", transient=True):
        record, content = split.cohort.records[i], split.cohort.contents[i]
        try:
            found = read_predicted(file.path, one.said)
        except InputError as error:
            problems.append(Problem(record.id, str(error), file.path.name))
            continue
        size = (content.height, content.width)
        if found.mask.shape != size:
            kind = "mask of another size than its image"
            if found.mask.T.shape == size:
                kind = "mask with rows and columns exchanged"
                kind += ' (see "orientation" in submission.json)' * (file.path.suffix in (".nii", ".gz"))
            shown = f"{file.path.name} is {found.mask.shape[1]} x {found.mask.shape[0]}"
            problems.append(
                Problem(
                    record.id,
                    kind,
                    f"{shown}, the image {size[1]} x {size[0]}",
                )
            )
            continue
        rows[i] = dict(measure_mask(found.mask, read_mask(record, *size).astype(bool)))
        maps[i] = encode_png(found.shown)
    if problems:
        raise InputError(f"{one.name}: {list_problems(problems)}. Write these masks again")
    return rows, maps


def list_not_scored(
    files: Mapping[int, MaskFile],
    classes: Sequence[ClassRow],
    split: SharedSplit,
    annotated: Mapping[int, MaskFile],
    unusable: Sequence[str],
) -> list[str]:
    """Predictions that are not scored, and why: in words, one for each reason."""
    cohort, records = split.cohort, split.cohort.records
    predicted = {*files, *(row.image for row in classes)}
    why: dict[str, list[str]] = {}
    for i in sorted(predicted):
        if cohort.folds[i] < 0:
            why.setdefault(f"left out of the data ({cohort.reasons[i]})", []).append(records[i].id)
        elif i in files and i not in annotated:
            why.setdefault("masks of lesions that nobody annotated", []).append(records[i].id)
    if unusable:
        why["images that cannot be used"] = [*dict.fromkeys(unusable)]
    return [f"{reason}, {len(ids)}: {list_some(ids, 20)}" for reason, ids in why.items()]
