"""A review folder: the drafts, corrections and PNG files in it, and the manifest of all of them.

Nothing there is written twice but drafts and the manifest. A correction is a file of its own, so that no
person and no process can overwrite that of another.
"""

import logging
import secrets
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8
from pydantic import BaseModel, ConfigDict

from busi.core import (
    InputError,
    check_writable,
    file_hash,
    hold,
    make_folder,
    write_json,
    write_table,
    writing_to,
)
from busi.data import pixel_hash, read_gray
from busi.figures import write_png
from busi.review.drafts import draft_path, read_draft
from busi.review.manifest import make_rows
from busi.review.work import PREDICTION, Correction, Work, name_files, read_as, same_name

log = logging.getLogger(__name__)

LOCK = threading.RLock()
"""Of all review folders: the locks of files keep processes apart, not threads."""
MARK, MANIFEST = "review.json", "corrections.csv"
FOLDERS = ("images", "masks", "predicted")
"""Of PNG files: images, corrected masks, and predicted masks."""


class OtherWindow(InputError):
    """A draft was written in another window of the same person since this one read it."""


class Mark(BaseModel):
    """What says that a folder is a review's.

    Attributes:
        kind: Of folder.
        manifest: Fingerprint of the manifest as it was written; empty before.
    """

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    kind: str = "busi review"
    manifest: str = ""


class Saved(NamedTuple):
    """What became of a correction.

    Attributes:
        name: Of it.
        note: What else the person should know; may be empty.
    """

    name: str
    note: str


class ReviewFolder:
    """A folder of corrections, which may be used by several people and processes at once.

    Args:
        folder: Made if it is not there.

    Raises:
        InputError: If it cannot be written, holds files of another program, or is damaged.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._known: dict[str, Correction] = {}
        check_writable(folder)
        with self._writing():
            mine = [path.name for path in folder.iterdir() if not path.name.startswith(".")]
            if mine and not (folder / MARK).exists():
                raise InputError(
                    f"{folder} holds {sorted(mine)[0]} and no {MARK}: give another folder, or, if a review "
                    f"left it there, write {{}} into {MARK}"
                )
            if not mine:
                write_json(folder / MARK, Mark().model_dump())
            self._read_mark()
            if (every := self.corrections()) or (folder / MANIFEST).exists():
                self._write_manifest(every)

    def corrections(self) -> dict[str, Correction]:
        """All corrections by name, the oldest first; each is read once, and its files are looked for then.

        Raises:
            InputError: If one is damaged, or its image or mask is gone.
        """
        with LOCK:
            paths = {path.stem: path for path in sorted((self.folder / "corrections").glob("[!.]*.json"))}
            fix = "move it out of the folder, and the other corrections count without it"
            for name, path in paths.items():
                if name in self._known:
                    continue
                one = read_as(Correction, path, fix)
                for file in (one.image, one.mask):
                    if file and not (self.folder / file).is_file():
                        raise InputError(
                            f"{self.folder / file} is gone, and {path} needs it: put it back, or {fix}"
                        )
                self._known[name] = one
            self._known = {name: self._known[name] for name in paths}
            return dict(self._known)

    def corrections_of(self, name: str, digest: str | None = None) -> dict[str, Correction]:
        """Those of one image, the oldest first.

        Args:
            name: Id of the image.
            digest: Of its pixels, where an image of this id may have been another one before.
        """
        own = None if digest is None else f"images/{name_files(name, digest)}.png"
        return {
            key: one for key, one in self.corrections().items() if one.id == name and own in (None, one.image)
        }

    def keep_draft(self, name: str, digest: str, work: Work) -> str:
        """Write a draft; its version, which no other write has.

        Raises:
            OtherWindow: If another window of the same person has written one that this one does not follow.
            InputError: If it cannot be written.
        """
        path = draft_path(self.folder, work.reviewer, name, digest)
        with self._writing():
            old = read_draft(self.folder, work.reviewer, name, digest)
            if old is not None and old.window != work.window and old.version != work.version:
                raise OtherWindow(
                    f"{work.reviewer} has painted on this image in another window since: reload the page to "
                    "see that, or save here, and both are kept"
                )
            version = secrets.token_hex(8)
            write_json(path, work.model_copy(update={"version": version}).model_dump())
        return version

    def keep(self, kind: str, name: str, pixels: UInt8[np.ndarray, "h w"]) -> str:
        """Keep an image or a mask as PNG, once; where it lies below the folder."""
        digest = pixel_hash(pixels)
        relative = f"{kind}/{name_files(name, digest)}.png"
        path = self.folder / relative
        try:
            whole = path.exists() and pixel_hash(read_gray(path)) == digest
        except InputError:
            whole = False
        if not whole:
            write_png(path, pixels)
        return relative

    def confirm(self, correction: Correction, digest: str, work: Work) -> Saved:
        """Write a correction, and the manifest with it. Once this returns, it is on the disk.

        A correction that was sent before is not written again, but all else is: the page may not have had the
        answer, or the manifest could not be written.

        Args:
            correction: Its time becomes later than that of all others: the newest counts, and clocks go back.
            digest: Of the image's pixels.
            work: That it was made of; its draft is removed.

        Raises:
            InputError: If something cannot be written.
        """
        with self._writing():
            name = find_sent(self.corrections(), correction, work.save)
            if name is None:
                name = self._write_correction(correction, digest, work.save)
            notes = [self._write_manifest(self.corrections())]
            people = [one.reviewer for one in self.corrections_of(correction.id, digest).values()]
            if others := {one for one in people if not same_name(one, work.reviewer)}:
                notes.append(
                    f"{', '.join(sorted(others))} corrected this image, too: all corrections are kept, and "
                    f"the manifest takes the newest, that of {people[-1]}"
                )
            draft = read_draft(self.folder, work.reviewer, correction.id, digest)
            if draft is not None and (draft.window == work.window or draft.version == work.version):
                draft_path(self.folder, work.reviewer, correction.id, digest).unlink(missing_ok=True)
        return Saved(name, ". ".join(filter(None, notes)))

    def _write_correction(self, correction: Correction, digest: str, save: str) -> str:
        """Write a correction that is newer than all others; its name."""
        times = (datetime.fromisoformat(one.time).astimezone(UTC) for one in self.corrections().values())
        later = (one + timedelta(microseconds=1) for one in times)
        when = max([datetime.fromisoformat(correction.time).astimezone(UTC), *later])
        name = f"{when:%Y%m%dT%H%M%S.%fZ}-{save or secrets.token_hex(6)}"
        changes = {"time": when.isoformat(timespec="microseconds")}
        if correction.started_from not in self.corrections_of(correction.id, digest):
            changes["started_from"] = PREDICTION
        done = correction.model_copy(update=changes)
        make_folder(self.folder / "corrections")
        write_json(self.folder / "corrections" / f"{name}.json", done.model_dump())
        self._known[name] = done
        return name

    @contextmanager
    def _writing(self) -> Iterator[None]:
        with LOCK, hold(self.folder, wait=True), writing_to(self.folder):
            yield

    def _read_mark(self) -> Mark:
        mark = read_as(Mark, self.folder / MARK, "write {} into it to go on, or give another folder")
        if mark.kind != Mark().kind:
            raise InputError(f"{self.folder / MARK} is of another program: give another folder")
        return mark

    def _write_manifest(self, every: Mapping[str, Correction]) -> str:
        """Write the manifest of all corrections, none without any; says what became of an edited one."""
        path, note = self.folder / MANIFEST, ""
        # First, so that a full disk changes nothing.
        part = write_table(path.with_name(f".{MANIFEST}"), make_rows(every)) if every else None
        digest = file_hash(part) if part else ""
        if path.exists() and file_hash(path) not in (digest, self._read_mark().manifest):
            now = datetime.now(UTC)
            edited = path.with_name(f"corrections.edited-{now:%Y%m%dT%H%M%S.%fZ}.csv")
            path.rename(edited)
            note = f"{MANIFEST} had been edited: it is kept as {edited.name}"
            log.warning("%s, in %s", note, self.folder)
        if part:
            part.replace(path)
        else:
            path.unlink(missing_ok=True)
        write_json(self.folder / MARK, Mark(manifest=digest).model_dump())
        return note


def find_sent(every: Mapping[str, Correction], one: Correction, save: str) -> str | None:
    """The name of a correction that was sent before, see `Work.save`; None of a new one."""
    names = [name for name in every if save and name.endswith(f"-{save}")]
    changed = {"time", "started_from"}  # by `ReviewFolder.confirm`
    content = one.model_dump(exclude=changed)
    return next((name for name in names if every[name].model_dump(exclude=changed) == content), None)
