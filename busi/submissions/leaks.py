"""Whether a fold of a submission has trained on what it predicts, or on something of the same group."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from busi.core import InputError, first_error
from busi.data import SharedSplit
from busi.formats import read_json_value
from busi.submissions.case_names import CaseNames, list_names


class Part(BaseModel):
    """A fold of ``splits_final.json``: names of images."""

    model_config = ConfigDict(strict=True)

    train: Annotated[list[str | int], Field(min_length=1)]
    val: list[str | int]


PARTS = TypeAdapter(Annotated[list[Part], Field(min_length=1, strict=True)])


@dataclass(frozen=True)
class Training:
    """What trained each fold.

    Attributes:
        folds: Position of an image -> the fold that it is held out of.
        trained: Fold -> positions of the images that trained it; not of folds of which it is not said.
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
        parts = PARTS.validate_python(read_json_value(path))
    except ValidationError as error:
        raise InputError(
            f"{path} is no splits_final.json of nnU-Net, a list with lists train and val of names for each "
            f"fold: {first_error(error)}"
        ) from None
    except InputError as error:
        raise InputError(f"{path}: {error}: write it again") from error
    folds: dict[int, int] = {}
    trained: dict[int, set[int]] = {}
    unknown: list[str] = []
    for fold, part in enumerate(parts):
        train, val = (
            [name for name in map(str, some) if not names.is_unusable(name)]
            for some in (part.train, part.val)
        )
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
    stated: bool,
    split: SharedSplit,
    names: CaseNames,
    training: Training | None,
    validated: Mapping[int, Collection[int]],
) -> str:
    """Raise `InputError` if a fold trained on, or was chosen by, what it predicts or something of its group.

    What trained a fold is what the submission says; where it does not, the predictions of all other folds,
    if the folds are its own.

    Args:
        name: Of the submission.
        of: Position of a predicted image -> fold.
        stated: Whether the submission says these folds; else they are those of the data.
        split: The data.
        names: Of its images.
        training: What trained each fold, as far as that is said.
        validated: Fold -> positions of the images by which its model was chosen.

    Returns:
        What is known, as a sentence.
    """
    tested: dict[int, list[int]] = {}
    for i, fold in of.items():
        tested.setdefault(fold, []).append(i)
    said = training.trained if training else {}
    silent = [fold for fold in sorted(tested) if fold not in said]
    for fold, here in sorted(tested.items()):
        trained = said.get(fold)
        if trained is None:
            trained = {i for i, other in of.items() if other != fold} if stated else ()
        hint = "" if fold in said else '; or say what trained each fold, "splits" in submission.json'
        check_apart(f"{name}: fold {fold} trained on", here, trained, split, names, hint)
        check_apart(
            f"{name}: fold {fold} was chosen by validation images, among them",
            here,
            validated.get(fold, ()),
            split,
            names,
        )
    nothing = "It does not say which images trained it"
    if training is None:
        if not stated or len(tested) < 2:
            return f"{nothing}, and nothing here can find that out."
        return (
            f"{nothing}. If the images of the other folds did, no fold trained on an image or a group that "
            "it predicts."
        )
    more = (
        f" {len(training.unknown)} training images are not in the data, and could not be compared."
        if training.unknown
        else ""
    )
    if silent:
        which = f"fold{'s' * (len(silent) > 1)} {', '.join(map(str, silent))}"
        more += f" Of {which} it does not say what trained: taken for all images of the other folds."
    return f"No fold trained on an image that it predicts, or on one of its group, by what it says.{more}"


def check_apart(
    what: str,
    here: Collection[int],
    others: Collection[int],
    split: SharedSplit,
    names: CaseNames,
    hint: str = "",
) -> None:
    """Raise `InputError` if images are among others, or of one group with them.

    Args:
        what: What a fold did with the others, as the begin of the error.
        here: What it predicts.
        others: Positions of images.
        split: The data.
        names: Of its images.
        hint: What else a user may do about a group that is torn apart.
    """
    if both := sorted({*here} & {*others}):
        raise InputError(f"{what} {list_names(both, names)}, which it predicts")
    groups = split.cohort.groups.tolist()
    first = {groups[i]: i for i in others}
    if torn := [(i, first[groups[i]]) for i in here if groups[i] in first]:
        i, j = torn[0]
        raise InputError(
            f"{what} near-duplicates, or other images of the patient, of {len(torn)} images that it "
            f"predicts, e.g. on {names.ids[j]}, and predicts {names.ids[i]}. Train on folds of whole groups: "
            f"python -m busi.split writes them{hint}"
        )
