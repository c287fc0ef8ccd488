"""What a review writes of an image: a draft while a person paints, and a correction once it is confirmed."""

import hashlib
import json
import re
from datetime import datetime
from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from busi.core import EMPTY_WORDS, InputError
from busi.data import file_name
from busi.review.queue import Inside, Label, Prediction

MAX_NAME, MAX_PATIENT = 60, 100
"""Characters."""
PREDICTION = "prediction"
"""What a person begins with, unless it is a correction."""
Runs = list[Annotated[int, Field(ge=0)]]
T = TypeVar("T", bound=BaseModel)


class Work(BaseModel):
    """What the page sends, and what is kept of an image that is not confirmed yet.

    Attributes:
        reviewer: Name of the person.
        runs: The mask; see `busi.formats.run_lengths`.
        label: The class; None until one is chosen.
        patient: May be empty.
        started_from: `PREDICTION`, or the name of a correction.
        window: A random text that tells the person's browser windows apart.
        version: Of the draft that this one follows: a random text of each write; empty if there is none.
        image: What the page shows: id and pixels, see `name_files`.
        save: A random text of the page for what it wants to be kept as one correction, however often it is
            sent; empty in a draft.
    """

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    reviewer: str
    runs: Runs
    label: Label | None
    patient: str
    started_from: str
    window: str
    version: str
    image: str
    save: Annotated[str, Field(pattern="^([0-9a-f]{12})?$")] = ""


def check_time(text: str) -> str:
    """A time with its zone, as text, of years that leave room for later ones.

    Raises:
        ValueError: If it is anything else.
    """
    time = datetime.fromisoformat(text)
    if time.tzinfo is None or not 2000 <= time.year < 9000:
        raise ValueError(f"{text} is no time with its zone")
    return text


class Correction(BaseModel):
    """An image that a person has confirmed. It is written once and never changed.

    Attributes:
        id: Of the image, as prediction named it.
        image: Its pixels as a PNG file, below the review folder.
        mask: The corrected mask; empty for a normal image.
        label: The class that the person set.
        patient: May be empty.
        spacing: Millimeters a pixel, down and across, if known.
        reviewer: Who.
        time: When: UTC, ISO 8601.
        model: What predicted.
        file: What the image was read from.
        number: Of the image in that file, from 1; None if that holds one.
        sha256: Of that file, 16 digits.
        was_label: The predicted class.
        was_mask: The predicted mask, below the review folder.
        changed_pixels: In which the two masks differ.
        started_from: `PREDICTION`, or the correction that the person went on from.
    """

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", allow_inf_nan=False)

    id: Inside
    image: Inside
    mask: Inside | None
    label: Label
    patient: str
    spacing: list[float] | None
    reviewer: str
    time: Annotated[str, AfterValidator(check_time)]
    model: str
    file: str
    number: int | None
    sha256: str
    was_label: Label | None
    was_mask: Inside
    changed_pixels: int
    started_from: str


def read_as(kind: type[T], path: Path, what_to_do: str) -> T:
    """Read a JSON file of one of these types.

    Raises:
        InputError: If it cannot be read or is damaged.
    """
    try:
        return kind.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:  # ValidationError, too
        raise InputError(f"{path} is damaged: {what_to_do}") from error


def parse_work(body: bytes) -> Work:
    """What the page has sent, with its texts cleaned.

    Raises:
        InputError: If the name or the patient cannot be used, or it comes from something else than the page.
    """
    try:
        work = Work.model_validate_json(body)
    except ValidationError as error:
        raise InputError("this is not what the page sends: reload it") from error
    cleaned = {"reviewer": clean_name(work.reviewer), "patient": clean_patient(work.patient)}
    return work.model_copy(update=cleaned)


def clean_name(text: str) -> str:
    """A reviewer's name without needless spaces.

    Raises:
        InputError: If it is empty, too long, or holds what cannot be printed.
    """
    name = " ".join(text.split())
    if not name:
        raise InputError("give your name first: it stands beside every correction of yours")
    if len(name) > MAX_NAME or not name.isprintable():
        raise InputError(f"give a name of at most {MAX_NAME} letters, without control characters")
    return name


def clean_patient(text: str) -> str:
    """A patient as a manifest takes it, or an empty text.

    Raises:
        InputError: If a manifest would refuse it.
    """
    patient = " ".join(text.split())
    if len(patient) > MAX_PATIENT or not patient.isprintable():
        raise InputError(f"give a patient of at most {MAX_PATIENT} letters, without control characters")
    if patient.lower() in EMPTY_WORDS:
        raise InputError(f"the patient is '{patient}': leave empty what is unknown")
    return patient


def suggest_patient(row: Prediction) -> str:
    """What must not be split between folds: the patient, or else the file if it has several images.

    Returns:
        What `clean_patient` takes: too long texts are cut, and told apart by a fingerprint.
    """
    patient = " ".join((row.header_PatientID or "").split())
    if not patient or patient.lower() in EMPTY_WORDS:
        patient = f"file {row.source}" if row.number else ""
    if len(patient) <= MAX_PATIENT and patient.isprintable():
        return patient
    plain = "".join(sign for sign in patient if sign.isprintable())
    digits = hashlib.sha256(patient.encode(errors="surrogatepass")).hexdigest()[:8]
    return f"{plain[: MAX_PATIENT - 9]}~{digits}"


def same_name(one: str, other: str) -> bool:
    """Whether two names mean one reviewer: case does not tell them apart."""
    return one.casefold() == other.casefold()


def name_folder(reviewer: str) -> str:
    """The name of a reviewer's folder on any file system; case does not tell two reviewers apart."""
    digits = hashlib.sha256(reviewer.casefold().encode()).hexdigest()[:8]
    plain = re.sub(r"[^a-z0-9]+", "-", reviewer.casefold())[:24].strip("-")
    return f"{plain}-{digits}" if plain else digits


def name_files(name: str, digest: str) -> str:
    """The name of files about an image: its id on any file system, and a fingerprint."""
    return f"{file_name(name)}-{digest[:12]}"


def name_drafts(name: str) -> str:
    """The name of the folder of the drafts of an image, which no other id has."""
    return name_files(name, hashlib.sha256(name.encode()).hexdigest())
