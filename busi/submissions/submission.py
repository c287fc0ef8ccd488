"""A submission: predictions of any tool as files, and what is said of them in ``submission.json``."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from busi.core import InputError, expand, first_error, printable
from busi.formats import read_json_value
from busi.inference import is_bundle

FILE, TABLE = "submission.json", "classes.csv"
"""What is looked for in the folder of a submission."""
SUFFIXES = (".png", ".npy", ".nii", ".nii.gz")
FOLD = re.compile(r"fold_(\d{1,3})", re.ASCII)
"""Of a folder with the masks of a fold."""
VALIDATION, PROGRESS = "validation", "progress.png"
"""Where nnU-Net keeps the masks of a fold, in the folder of that fold, and its training curves there."""


class Said(BaseModel):
    """``submission.json``. Files and folders are named relative to it, and lie beside or below it.

    Attributes:
        name: Of the submission.
        masks: The folder with the masks.
        values: What the values of the masks are; without it, the files tell.
        threshold: Probability from which a pixel belongs to a lesion.
        orientation: How the axes of NIfTI files become rows and columns, see `busi.formats.orientation`;
            without it, as their header says.
        classes: The table of class probabilities.
        folds: A table with the columns ``id`` and ``fold``.
        splits: ``splits_final.json`` of nnU-Net: what trained each fold.
        trained_on: In words, what else trained it.
    """

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)

    name: Annotated[str, Field(min_length=1, max_length=100)] | None = None
    masks: str | None = None
    values: Literal["labels", "probabilities"] | None = None
    threshold: Annotated[float, Field(gt=0, le=1)] = 0.5
    orientation: Literal["header", "itk", "numpy"] | None = None
    classes: str | None = None
    folds: str | None = None
    splits: str | None = None
    trained_on: list[str] = []


class MaskFile(NamedTuple):
    """A file with the mask of an image, and the fold whose folder it lies in, if it lies in one."""

    path: Path
    fold: int | None

    @property
    def case(self) -> str:
        """What names the image."""
        name = self.path.name
        suffix = next(x for x in sorted(SUFFIXES, key=len, reverse=True) if name.lower().endswith(x))
        return name[: -len(suffix)]


@dataclass(frozen=True)
class Submission:
    """Predictions of any tool.

    Attributes:
        path: As it was given.
        name: Of the submission.
        said: What ``submission.json`` says.
        masks: The files of masks; none if there are only classes.
        table: The table of class probabilities, if there is one.
        folds: The table of folds, if there is one.
        splits: What trained each fold, if that is said.
        passed_over: Files and folders that are no masks, as far as they are not named above.
    """

    path: Path
    name: str
    said: Said
    masks: tuple[MaskFile, ...]
    table: Path | None
    folds: Path | None
    splits: Path | None
    passed_over: tuple[str, ...]


def open_submission(path: Path) -> Submission:
    """Find the files of a submission; none is read but ``submission.json``.

    Args:
        path: A folder of masks, which may hold `FILE` and `TABLE`; a table of class probabilities; or a JSON
            file in the form of `FILE`.

    Raises:
        InputError: If there is nothing to score, or what is said is wrong.
    """
    path = expand(path)
    if is_bundle(path):
        raise InputError(f"{path} is a bundle and no prediction: python -m busi.evaluate scores it")
    if path.is_dir():
        base, name = path, path.resolve().name
        said = read_said(path / FILE) if (path / FILE).is_file() else Said()
        masks: Path | None = path
    elif path.suffix.lower() == ".json":
        base, said, name = path.parent, read_said(path), path.stem
        masks = base if path.name == FILE else None
        name = base.resolve().name if path.name == FILE else name
    else:
        base, said, name, masks = path.parent, Said(classes=path.name), path.stem, None
    given = {key: find_inside(base, text, path) for key, text in named_files(said).items()}
    masks, table = given.get("masks", masks), given.get("classes")
    if table is None and path.is_dir() and (path / TABLE).is_file():
        table = path / TABLE
    known = {FILE, TABLE, path.name, *(one.name for one in given.values())}
    found, passed_over = list_masks(masks, known) if masks else ([], [])
    if not found and table is None:
        raise InputError(
            f"{path} has nothing to score: give a folder with a mask an image (PNG, NPY or NIfTI), which may "
            f"lie in folders fold_0, fold_1 and so on; a table {TABLE} of class probabilities; or both"
        )
    return Submission(
        path,
        said.name or name,
        said,
        tuple(found),
        table,
        given.get("folds"),
        given.get("splits"),
        tuple(passed_over),
    )


def read_said(path: Path) -> Said:
    """Read a file in the form of ``submission.json``.

    Raises:
        InputError: If it is missing, damaged, or says something that is not known.
    """
    try:
        return Said.model_validate(read_json_value(path))
    except ValidationError as error:
        first = error.errors()[0]
        known = f" (it may have {', '.join(Said.model_fields)})" if first["type"] == "extra_forbidden" else ""
        raise InputError(f"{path}: {first_error(error)}{known}") from None
    except InputError as error:
        raise InputError(f"{path}: {error}: write it again") from error


def named_files(said: Said) -> Mapping[str, str]:
    """The files and folders that are named."""
    given = {name: getattr(said, name) for name in ("masks", "classes", "folds", "splits")}
    return {name: text for name, text in given.items() if text is not None}


def find_inside(base: Path, text: str, source: Path) -> Path:
    """A file or folder that is named in a file.

    Raises:
        InputError: If it is not there, or does not lie in the folder of that file.
    """
    inner = Path(text)
    if not text.strip() or inner.is_absolute() or ".." in inner.parts:
        raise InputError(f"{source}: {text!r}: name files relative to it, beside or below it")
    try:
        (base / inner).stat()
    except (OSError, ValueError) as error:  # too long, a loop of links, a zero byte
        raise InputError(f"{source}: there is no {base / printable(text)}") from error
    return base / inner


def list_masks(folder: Path, known: set[str]) -> tuple[list[MaskFile], list[str]]:
    """The masks in a folder, or in its folders ``fold_K``, and what else lies there.

    Args:
        folder: The folder.
        known: Names of files that are something else.

    Raises:
        InputError: If it is no folder, or a folder ``fold_K`` has no masks.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder: give the folder of the masks")
    inside = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    folds = {int(found[1]): path for path in inside if (found := FOLD.fullmatch(path.name)) and path.is_dir()}
    if not folds:
        masks = [MaskFile(path, None) for path in inside if is_mask(path)]
        used = {one.path for one in masks}
    else:
        masks, used, beside = [], set(folds.values()), list[Path]()
        for fold, path in sorted(folds.items()):
            at = path / VALIDATION if (path / VALIDATION).is_dir() else path
            here = [MaskFile(one, fold) for one in sorted(at.iterdir()) if is_mask(one)]
            if not here:
                raise InputError(f"{at} has no masks (PNG, NPY or NIfTI): predict this fold, or move it away")
            masks += here
            kept = {at, *(one.path for one in here)}
            beside += sorted(one for place in {path, at} for one in place.iterdir() if one not in kept)
        inside += [one for one in beside if not one.name.startswith(".")]
    rest = [path for path in inside if path not in used and path.name not in known]
    names = [str(path.relative_to(folder)) for path in rest]
    return masks, [f"{name}/" if path.is_dir() else name for name, path in zip(names, rest, strict=True)]


def is_mask(path: Path) -> bool:
    """Whether a file is taken for a mask."""
    name = path.name.lower()
    return name.endswith(SUFFIXES) and name != PROGRESS and not name.startswith(".") and path.is_file()
