"""The images of a prediction folder, most doubtful first."""

import json
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from busi.core import CLASSES, InputError, first_error
from busi.inference import JOURNAL

SMALL = 0.1
"""Share of the median area of a folder's masks below which a mask is small."""
CONTRADICTION, UNDECIDED, ODD_MASK, CLEAR = range(4)
"""Ranks, most doubtful first."""


def check_inside(text: str) -> str:
    """A name of a file below a folder: relative, and with no way out.

    Raises:
        ValueError: If it is anything else.
    """
    path = Path(text)
    if not text.isprintable() or path.is_absolute() or not path.name or ".." in path.parts:
        raise ValueError(f"{text!r} leads out of the folder")
    return text


Inside = Annotated[str, AfterValidator(check_inside)]
Label = Literal["normal", "benign", "malignant"]
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]
Digest = Annotated[str, Field(pattern="^[0-9a-f]{16}$")]
"""First digits of a file's SHA-256, as prediction writes them."""


class Written(BaseModel):
    """Fingerprints of what was written of an image.

    Attributes:
        masks: Of its mask.
    """

    model_config = ConfigDict(strict=True, frozen=True)

    masks: Digest


class Prediction(BaseModel):
    """A row of ``predictions.json`` without an error, as far as a review depends on it.

    Attributes:
        id: Of the image; its mask is ``masks/<id>.png``.
        file: What it was read from.
        source: Id of that file.
        number: Of the image in its file, from 1; None if that holds one.
        sha256: Of the file.
        pred: The class; None of a model of masks alone.
        prob_normal: Its probability, as that of the others.
        conformal_set: Classes that cannot be excluded; None without calibration.
        refer: Whether that is another number of classes than one.
        pred_area: Of the mask, in pixels.
        num_components: Parts of the mask.
        written: Fingerprints of what was written.
        header_PatientID: Where ``--header PatientID`` asked for it.
    """

    model_config = ConfigDict(strict=True, frozen=True, allow_inf_nan=False)

    id: Inside
    file: str
    source: str
    number: Annotated[int, Field(ge=1)] | None
    sha256: Digest
    pred: Label | None
    prob_normal: Share | None
    prob_benign: Share | None
    prob_malignant: Share | None
    conformal_set: list[Label] | None
    refer: bool | None
    pred_area: Count
    num_components: Count | None
    written: Written
    header_PatientID: str | None = None  # noqa: N815  DICOM's own spelling

    @property
    def confidence(self) -> float | None:
        """The highest probability of a class."""
        probs = [getattr(self, f"prob_{name}") for name in CLASSES]
        return max((p for p in probs if p is not None), default=None)


class Predictions(NamedTuple):
    """What `busi.predict` left in a folder.

    Attributes:
        folder: The folder.
        model: Names and fingerprints of the models.
        rows: Of the images, in the order of the table; without those that could not be predicted.
        num_failed: How many those are.
    """

    folder: Path
    model: str
    rows: list[Prediction]
    num_failed: int


def read_predictions(folder: Path) -> Predictions:
    """Read what was predicted.

    Raises:
        InputError: If nothing was, the prediction was stopped, or its table is damaged.
    """
    path = folder / "predictions.json"
    if (folder / JOURNAL).exists():
        raise InputError(f"the prediction in {folder} is not finished: let the same busi.predict go on first")
    if not path.is_file():
        raise InputError(f"{folder} holds no predictions.json: give a folder that busi.predict has written")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        model = name_models(content["made_by"]["models"])
        rows = content["predictions"]
        good = [Prediction.model_validate(row) for row in rows if not row["error"]]
        if len({row.id for row in good}) != len(good):
            raise ValueError
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        where = f" ({first_error(error)})" if isinstance(error, ValidationError) else ""
        raise InputError(f"{path} is damaged, or of another program{where}: predict again") from error
    return Predictions(folder, model, good, len(rows) - len(good))


def name_models(models: Sequence[dict[str, Any]]) -> str:
    """The models of a prediction in one line: each with its name and the first digits of its checkpoint."""
    names = []
    for model in models:
        name, digits = str(model.get("name", "unnamed")), str(model.get("checkpoint", ""))[:8]
        names.append(f"{name} ({digits})" if digits else name)
    return "; ".join(names)


class Doubt(NamedTuple):
    """How doubtful a prediction is.

    Attributes:
        rank: `CONTRADICTION`, `UNDECIDED`, `ODD_MASK` or `CLEAR`.
        why: In words; empty if clear.
    """

    rank: int
    why: str


def find_doubt(row: Prediction, small_area: float) -> Doubt:
    """Why a person should look at a prediction.

    Args:
        row: The prediction.
        small_area: Pixels below which a mask is small.
    """
    area = row.pred_area
    if row.pred == "normal" and area:
        return Doubt(CONTRADICTION, "has a mask")
    if row.pred != "normal" and not area:
        return Doubt(CONTRADICTION, "no mask")
    if row.refer:
        names = " or ".join(row.conformal_set or ())
        return Doubt(UNDECIDED, f"undecided: {names or 'no class fits'}")
    if (row.num_components or 0) > 1:
        return Doubt(ODD_MASK, f"mask in {row.num_components} parts")
    if 0 < area < small_area:
        return Doubt(ODD_MASK, f"small mask: {area} pixels")
    return Doubt(CLEAR, "")


def find_doubts(rows: Sequence[Prediction]) -> list[tuple[Prediction, Doubt]]:
    """Predictions in their order, each with its doubt."""
    areas = [row.pred_area for row in rows if row.pred_area]
    small_area = SMALL * median(areas) if areas else 0.0
    return [(row, find_doubt(row, small_area)) for row in rows]


def sort_by_doubt(rows: Sequence[Prediction]) -> list[tuple[Prediction, Doubt]]:
    """Sort predictions, most doubtful first.

    1. Class and mask contradict each other: a lesion without a mask, a normal image with one. Of a model of
       masks alone: no mask.
    2. ``refer``: the conformal set holds another number of classes than one.
    3. The mask is in several parts, or smaller than `SMALL` of the median area of the folder's masks.
    4. All others.

    Within each: the lowest probability of the predicted class first, then the smaller mask, then the order of
    the table.
    """

    def key(pair: tuple[Prediction, Doubt]) -> tuple[float, ...]:
        row, doubt = pair
        return float(doubt.rank), 1.0 if row.confidence is None else row.confidence, float(row.pred_area)

    return sorted(find_doubts(rows), key=key)
