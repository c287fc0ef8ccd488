"""Drafts: what persons have painted and not confirmed yet, in ``drafts/`` of a review folder."""

import time
from contextlib import suppress
from pathlib import Path

from busi.core import InputError
from busi.review.work import Work, name_drafts, name_folder, read_as

AT_WORK = 3600
"""Seconds for which a draft says that a person is at work on an image."""


def draft_path(folder: Path, reviewer: str, name: str, digest: str) -> Path:
    """The file of a person's draft of an image.

    Args:
        folder: Of the review.
        reviewer: The person.
        name: Id of the image.
        digest: Of its pixels.
    """
    return folder / "drafts" / name_folder(reviewer) / name_drafts(name) / f"{digest[:12]}.json"


def read_draft(folder: Path, reviewer: str, name: str, digest: str) -> Work | None:
    """A person's draft of an image, if there is one; see `draft_path`.

    Raises:
        InputError: If it is damaged.
    """
    path = draft_path(folder, reviewer, name, digest)
    return read_as(Work, path, "delete this draft to begin again") if path.exists() else None


def drafts_of(folder: Path, reviewer: str) -> set[str]:
    """Names of the folders that hold drafts of a person; see `name_drafts`."""
    return {path.parent.name for path in (folder / "drafts" / name_folder(reviewer)).glob("*/[!.]*")}


def others_at_work(folder: Path, reviewer: str) -> dict[str, str]:
    """Who else painted within the last hour, by the names of the folders of their drafts."""
    own, found = name_folder(reviewer), dict[str, str]()
    for path in (folder / "drafts").glob("*/*/[!.]*"):
        with suppress(OSError, InputError):  # confirmed meanwhile, or damaged, which its owner is told
            if path.parts[-3] != own and time.time() - path.stat().st_mtime < AT_WORK:
                found[path.parent.name] = read_as(Work, path, "").reviewer
    return found
