"""The manifest of a review, as `data=csv` reads it."""

from collections.abc import Mapping
from pathlib import Path

from busi.core import CLASSES, EMPTY_WORDS, Record
from busi.data import file_name, keep_spacing, to_row
from busi.review.work import Correction


def make_rows(corrections: Mapping[str, Correction]) -> list[dict[str, object]]:
    """The rows of a manifest: of each image the newest correction.

    Columns whose names begin with ``_`` are for people; training passes them over.

    Args:
        corrections: By name, the oldest first.
    """
    newest: dict[tuple[str, str], str] = {}
    names: dict[tuple[str, str], list[str]] = {}
    for name, one in corrections.items():
        newest[one.id, one.image] = name
        names.setdefault((one.id, one.image), []).append(name)
    ids = name_rows([image for image, _ in sorted(newest.items(), key=lambda pair: pair[1], reverse=True)])
    rows: list[dict[str, object]] = []
    for image, name in newest.items():
        one = corrections[name]
        rows.append(
            {
                **to_row(to_record(ids[image], one)),
                "_reviewer": one.reviewer,
                "_time": one.time,
                "_model": one.model,
                "_was_label": one.was_label,
                "_was_mask": one.was_mask,
                "_changed_pixels": one.changed_pixels,
                "_started_from": one.started_from,
                "_correction": name,
                "_older": "; ".join(f"{old} by {corrections[old].reviewer}" for old in names[image][:-1]),
                "_file": one.file,
                "_number": one.number,
                "_sha256": one.sha256,
            }
        )
    return rows


def to_record(name: str, one: Correction) -> Record:
    """What a correction says about its image."""
    masks = (Path(one.mask),) if one.mask else ()
    label, spacing = CLASSES.index(one.label), keep_spacing(one.spacing)
    return Record(name, Path(one.image), masks, label, patient=one.patient or None, spacing=spacing)


def name_rows(images: list[tuple[str, str]]) -> dict[tuple[str, str], str]:
    """An id for each image that a manifest takes, and that differs from all others.

    Args:
        images: Ids of predictions, and the images' files; of two with one id, the first keeps it.
    """
    used: set[str] = set()
    given: dict[tuple[str, str], str] = {}
    for name, file in images:
        chosen = name.strip()
        if chosen.lower() in EMPTY_WORDS or file_name(chosen).lower() in used:
            chosen = f"{chosen}-{file[-16:].removesuffix('.png')}"
        used.add(file_name(chosen).lower())
        given[name, file] = chosen
    return given
