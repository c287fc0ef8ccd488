"""What the page of a review asks for: the list, an image, a draft, a correction."""

from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool
from PIL import Image

from busi.core import CLASSES, NORMAL, InputError, printable, writing_to
from busi.data import pixel_hash, read_one, to_lesion, to_mask
from busi.formats import from_runs, to_runs
from busi.review.drafts import drafts_of, others_at_work, read_draft
from busi.review.original import Original, read_original
from busi.review.queue import Predictions, find_doubts, sort_by_doubt
from busi.review.store import MANIFEST, ReviewFolder
from busi.review.work import PREDICTION, Correction, Work, name_drafts, name_files, same_name, suggest_patient


class Begun(NamedTuple):
    """What a person sees first of an image.

    Attributes:
        runs: The mask.
        label: The class, if one is known.
        patient: May be empty.
        started_from: `PREDICTION`, or the name of a correction.
        version: Of the draft, or empty.
        said: Where this comes from, in words.
    """

    runs: list[int]
    label: str | None
    patient: str
    started_from: str
    version: str
    said: str


class Session:
    """The images of a prediction folder, and their corrections in a review folder.

    Args:
        predictions: Of the images.
        store: Of the corrections.
        in_order: Show the images in their order, and not the most doubtful first.
    """

    def __init__(self, predictions: Predictions, store: ReviewFolder, in_order: bool = False) -> None:
        self.store, self._arrange = store, find_doubts if in_order else sort_by_doubt
        self.renew(predictions)
        self.read = lru_cache(maxsize=4)(self._read)

    def renew(self, predictions: Predictions) -> None:
        """Take over predictions that have become more, at their end: with `in_order`, no place changes."""
        self.predictions, self.queue = predictions, self._arrange(predictions.rows)

    def _read(self, place: int) -> Original:
        return read_original(self.predictions.folder, self.queue[place][0])

    def list_images(self, reviewer: str) -> dict[str, Any]:
        """The images in their order, each with why it is doubtful, and what was done about it."""
        done = {(one.id, one.sha256): one.reviewer for one in self.store.corrections().values()}
        folder = self.store.folder
        drafts, others = drafts_of(folder, reviewer), others_at_work(folder, reviewer)
        images = [
            {
                "id": row.id,
                "pred": row.pred,
                "confidence": row.confidence,
                "why": doubt.why,
                "corrected_by": done.get((row.id, row.sha256)),
                "draft": name_drafts(row.id) in drafts,
                "draft_by": others.get(name_drafts(row.id)),
            }
            for row, doubt in self.queue
        ]
        return {
            "images": images,
            "classes": list(CLASSES),
            "model": self.predictions.model,
            "manifest": printable(str(self.store.folder / MANIFEST)),
            "num_failed": self.predictions.num_failed,
        }

    def open_image(self, place: int, reviewer: str) -> dict[str, Any]:
        """An image, and the mask and class that this person goes on with.

        Raises:
            InputError: If the image or something about it is gone, damaged or has changed.
        """
        row, doubt = self.queue[place]
        original = self.read(place)
        height, width = original.gray.shape
        return {
            "id": row.id,
            "image": name_files(row.id, pixel_hash(original.gray)),
            "why": doubt.why,
            "width": width,
            "height": height,
            "pred": row.pred,
            "predicted_runs": to_runs(original.mask),
            **self._begin(place, original, reviewer)._asdict(),
        }

    def _begin(self, place: int, original: Original, reviewer: str) -> Begun:
        row, _ = self.queue[place]
        digest = pixel_hash(original.gray)
        height, width = original.gray.shape
        draft = read_draft(self.store.folder, reviewer, row.id, digest)
        if draft is not None:
            read_runs(draft.runs, height, width)
            return Begun(
                draft.runs, draft.label, draft.patient, draft.started_from, draft.version, "your draft"
            )
        done = list(self.store.corrections_of(row.id, digest).items())
        if not done:
            patient = suggest_patient(row)
            return Begun(to_runs(original.mask), row.pred, patient, PREDICTION, "", "the prediction")
        name, last = next(
            (pair for pair in reversed(done) if same_name(pair[1].reviewer, reviewer)), done[-1]
        )
        mask = self._read_mask(last, height, width)
        said = f"the correction of {last.reviewer}, {last.time[:16].replace('T', ' ')} UTC"
        if done[-1][0] != name:
            said += f"; {done[-1][1].reviewer} corrected it later, and the manifest has that"
        return Begun(to_runs(mask), last.label, last.patient, name, "", said)

    def _read_mask(self, one: Correction, height: int, width: int) -> Bool[np.ndarray, "h w"]:
        if one.mask is None:
            return np.zeros((height, width), bool)
        mask = read_one(self.store.folder / one.mask, to_lesion)
        if mask.shape != (height, width):
            raise InputError(f"{self.store.folder / one.mask} has another size than its image: put it back")
        return mask

    def keep_draft(self, place: int, work: Work) -> dict[str, Any]:
        """Keep what a person has painted so far.

        Raises:
            InputError: If it is no mask of this image, or cannot be written.
        """
        original, digest = self._read_shown(place, work)
        read_runs(work.runs, *original.gray.shape)
        return {"version": self.store.keep_draft(self.queue[place][0].id, digest, work)}

    def _read_shown(self, place: int, work: Work) -> tuple[Original, str]:
        """The image that the page shows, and the fingerprint of its pixels.

        Raises:
            InputError: If the page shows another one: of a folder that was predicted again since.
        """
        original = self.read(place)
        digest = pixel_hash(original.gray)
        if work.image != name_files(self.queue[place][0].id, digest):
            raise InputError("these are other images than when the page was opened: reload it")
        return original, digest

    def correct(self, place: int, work: Work) -> dict[str, Any]:
        """Keep what a person has confirmed; it is on the disk once this returns.

        Raises:
            InputError: If class and mask do not go together, or it cannot be written.
        """
        original, digest = self._read_shown(place, work)
        mask = read_runs(work.runs, *original.gray.shape)
        label = check_mask(mask, work.label)
        row, _ = self.queue[place]
        keep = self.store.keep
        with writing_to(self.store.folder):
            files: dict[str, Any] = {
                "image": keep("images", row.id, original.gray),
                "mask": keep("masks", row.id, mask * np.uint8(255)) if mask.any() else None,
                "was_mask": keep("predicted", row.id, original.mask * np.uint8(255)),
            }
        correction = Correction(
            id=row.id,
            **files,
            label=label,
            patient=work.patient,
            spacing=None if original.spacing is None else list(original.spacing),
            reviewer=work.reviewer,
            time=datetime.now(UTC).isoformat(),
            model=self.predictions.model,
            file=row.file,
            number=row.number,
            sha256=row.sha256,
            was_label=row.pred,
            changed_pixels=int((mask != original.mask).sum()),
            started_from=work.started_from,
        )
        return self.store.confirm(correction, digest, work)._asdict()


def read_runs(runs: list[int], height: int, width: int) -> Bool[np.ndarray, "{height} {width}"]:
    """The mask that the page sends.

    Raises:
        InputError: If it is none of an image of this size.
    """
    try:
        return from_runs(runs, height, width)
    except InputError as error:
        raise InputError(f"the mask has not {width} x {height} pixels: reload the page") from error


def check_mask(mask: Bool[np.ndarray, "h w"], label: str | None) -> Any:
    """The class, if training takes a mask of it.

    Raises:
        InputError: If it does not.
    """
    if label is None:
        raise InputError("choose a class first")
    if label == CLASSES[NORMAL] and mask.any():
        raise InputError("a normal image has no lesion: clear the mask, or choose another class")
    if label != CLASSES[NORMAL] and not mask.any():
        raise InputError(f"{label}, and no mask: paint the lesion, or choose {CLASSES[NORMAL]}")
    try:
        to_mask(Image.fromarray(mask * np.uint8(255)))
    except InputError as error:
        raise InputError(f"{error} Training would refuse it") from error
    return label
