"""Whether a fold of a submission has trained on what it predicts, or on something of the same group."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from busi.core import InputError
from busi.data import SharedSplit
from busi.evaluation.case_names import CaseNames, list_names


@dataclass(frozen=True)
class Training:
    """What trained each fold.

    Attributes:
        folds: Position of an image -> the fold that it is held out of.
        trained: Fold -> positions of the images that trained it.
        unknown: Names of training images that the data does not have.
    """

    folds: Mapping[int, int]
    trained: Mapping[int, Collection[int]]
    unknown: Sequence[str]


def read_splits(path: Path, names: CaseNames) -> Training:
    """Read ``splits_final.json`` of nnU-Net: a list of ``train`` and ``val``, each a list of names.

    Raises:
        InputError: If it is none; an image is held out of two folds; or one is that the data does not have.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        parts = [(list(map(str, one["train"])), list(map(str, one["val"]))) for one in content]
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise InputError(f"{path} is no splits_final.json of nnU-Net: {error!r}") from error
    folds: dict[int, int] = {}
    trained: dict[int, set[int]] = {}
    unknown: list[str] = []
    for fold, (train, val) in enumerate(parts):
        places = [names.find(name) for name in train]
        trained[fold] = {i for i in places if i is not None}
        unknown += [name for name, i in zip(train, places, strict=True) if i is None]
        for name in val:
            i = names.find(name)
            if i is None:
                raise InputError(f"{path}: the data has no image {name}. {names.hint}")
            if folds.setdefault(i, fold) != fold:
                raise InputError(f"{path}: {name} is held out of folds {folds[i]} and {fold}: correct one")
    return Training(folds, trained, list(dict.fromkeys(unknown)))


def check_leaks(
    name: str,
    of: Mapping[int, int],
    split: SharedSplit,
    names: CaseNames,
    training: Training | None,
    validated: Mapping[int, Collection[int]],
) -> str:
    """Raise `InputError` if a fold trained on an image that it predicts, or on one of its group.

    What trained a fold is what the submission says, or else the predictions of all its other folds.

    Args:
        name: Of the submission.
        of: Position of a predicted image -> fold, as the submission says it; empty where it does not.
        split: The data.
        names: Of its images.
        training: What trained each fold, if that is said.
        validated: Fold -> positions of the images by which its model was chosen.

    Returns:
        What is known, as a sentence.
    """
    tested: dict[int, list[int]] = {}
    for i, fold in of.items():
        tested.setdefault(fold, []).append(i)
    if training is None and len(tested) < 2 and not validated:
        return "It does not say which images trained it, and nothing here can find that out."
    groups = split.cohort.groups.tolist()
    for fold, here in sorted(tested.items()):
        if training is None:
            trained = {i for i, other in of.items() if other != fold}
        else:
            trained = set(training.trained.get(fold, ()))
        trained |= set(validated.get(fold, ()))
        both = sorted(trained & set(here))
        if both:
            raise InputError(f"{name}: fold {fold} trained on {list_names(both, names)}, which it predicts")
        first = {groups[i]: i for i in trained}
        torn = [(i, first[groups[i]]) for i in here if groups[i] in first]
        if torn:
            i, j = torn[0]
            raise InputError(
                f"{name}: fold {fold} trained on near-duplicates, or other images of the patient, of "
                f"{len(torn)} images that it predicts, e.g. on {names.ids[j]}, and predicts {names.ids[i]}. "
                "Train on folds of whole groups: python -m busi.split writes them"
                + ("" if training else '; or say what trained each fold, "splits" in submission.json')
            )
    if training is None:
        return (
            "It does not say which images trained it. If the images of the other folds did, no fold trained "
            "on an image or a group that it predicts."
        )
    more = (
        f" {len(training.unknown)} training images are not in the data, and could not be compared."
        if training.unknown
        else ""
    )
    return f"No fold trained on an image that it predicts, or on one of its group, by what it says.{more}"
