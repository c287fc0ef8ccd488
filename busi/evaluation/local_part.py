"""The part of a data set that calibrates a model anew: drawn from its groups, or listed images."""

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import numpy as np
from jaxtyping import Bool, Int

from busi.core import CLASSES, InputError, Record, expand, is_file
from busi.data import Cohort, read_contents, read_csv

log = logging.getLogger(__name__)

NEEDED = 9
"""Images of a class from which a conformal set at 90 % can leave it out; fewer fit nothing."""
SET_ASIDE = "belongs to images that calibrate"
"""Why an image is neither judged nor calibrates: a near-duplicate, or of a patient, of one that does."""


def set_aside(
    cohort: Cohort, part: str, seed: int, cache_dir: Path, labels: Mapping[str, str] = MappingProxyType({})
) -> Cohort:
    """Take the images that calibrate out of the test images of a cohort; they become its split ``val``.

    Args:
        cohort: With test images alone.
        part: A share of the patients, e.g. ``0.2``; about how many images, e.g. ``200``; or a CSV manifest of
            images, which are matched by pixels.
        seed: Of the draw.
        cache_dir: Where decoded data is kept.
        labels: Other words for the classes in the manifest.

    Returns:
        The cohort. What is in a group with an image that calibrates (a near-duplicate, or of the same
        patient) is dropped if it does not calibrate itself.

    Raises:
        InputError: If the number is neither, the manifest is missing or names other images, too few images of
            a class calibrate, or none is left to judge.
    """
    number = parse_number(part)
    test = cohort.indices("test")
    if number is None:
        chosen = find_listed(cohort, expand(part), cache_dir, labels)
    else:
        if number >= len(test):
            raise InputError(
                f"--calibrate-on {part}: there are only {len(test)} images that the model has not seen. Give "
                "fewer"
            )
        share = number if number < 1 else number / len(test)
        records = [cohort.records[i] for i in test]
        chosen = np.zeros(len(cohort.records), np.bool_)
        chosen[test] = draw_share(records, cohort.groups[test], share, seed)
    beside = np.isin(cohort.groups, cohort.groups[chosen]) & ~chosen
    splits, reasons = list(cohort.splits), list(cohort.reasons)
    for i in test.tolist():
        if chosen[i]:
            splits[i] = "val"
        elif beside[i]:
            splits[i], reasons[i] = "dropped", SET_ASIDE
    made = replace(cohort, splits=splits, reasons=reasons)
    check_part(made, part)
    return made


def parse_number(part: str) -> float | None:
    """The share, or the number of images, that ``--calibrate-on`` names; None if it names a file.

    Raises:
        InputError: If it is a number, but neither.
    """
    try:
        number = float(part)
    except ValueError:
        return None
    if not (0 < number < 1 or (number >= 2 and number.is_integer())):
        raise InputError(
            f"--calibrate-on {part}: give a share between 0 and 1, e.g. 0.2, or a number of images from 2, "
            "e.g. 200"
        )
    return number


def draw_share(
    records: Sequence[Record], groups: Int[np.ndarray, " n"], share: float, seed: int
) -> Bool[np.ndarray, " n"]:
    """Draw whole groups until they have a share of the images of each class of each source.

    Args:
        records: The images.
        groups: Of each image; a group counts as of the gravest class in it.
        share: Between 0 and 1.
        seed: Of the draw.
    """
    rng = np.random.default_rng(seed)
    names, first, place = np.unique(groups, return_index=True, return_inverse=True)
    sizes = np.bincount(place)
    gravest = np.zeros(len(names), np.int64)
    np.maximum.at(gravest, place, [record.label for record in records])
    strata = [(records[i].source, int(k)) for i, k in zip(first.tolist(), gravest, strict=True)]
    drawn = np.zeros(len(names), np.bool_)
    for stratum in sorted(set(strata)):
        members = rng.permutation([k for k, one in enumerate(strata) if one == stratum])
        middles = sizes[members].cumsum() - sizes[members] / 2
        drawn[members] = middles < share * sizes[members].sum()
    return np.asarray(drawn[place])


def find_listed(
    cohort: Cohort, manifest: Path, cache_dir: Path, words: Mapping[str, str]
) -> Bool[np.ndarray, " n"]:
    """The test images of a cohort whose pixels are those of an image of a manifest.

    Raises:
        InputError: If the manifest is missing or has unusable rows, an image of it is not in the data or has
            another label there, or the model has seen all of them.
    """
    if not is_file(manifest):
        raise InputError(
            f"--calibrate-on {manifest}: give a share, e.g. 0.2, a number of images, or a CSV file "
            "with image,label"
        )
    records, contents, problems = read_contents(read_csv(manifest, words), cache_dir)
    if problems:
        raise InputError(
            f"{manifest}: {len(problems)} rows cannot be used, e.g. {problems[0].file} ({problems[0].kind})"
        )
    if not records:
        raise InputError(f"{manifest} names no image: list those that calibrate, or give a share, e.g. 0.2")
    labels = {content.pixel_hash: record.label for record, content in zip(records, contents, strict=True)}
    hashes = [content.pixel_hash for content in cohort.contents]
    strangers = [
        record.id
        for record, content in zip(records, contents, strict=True)
        if content.pixel_hash not in set(hashes)
    ]
    if strangers:
        raise InputError(
            f"{manifest}: {len(strangers)} of its {len(records)} images are not in the data, e.g. "
            f"{strangers[0]}. Leave them out, or add them to --data"
        )
    other = [
        f"{record.id} is {CLASSES[record.label]} in the data, and {CLASSES[labels[name]]} here"
        for record, name in zip(cohort.records, hashes, strict=True)
        if labels.get(name, record.label) != record.label
    ]
    if other:
        raise InputError(
            f"{manifest}: {len(other)} images have another label than in the data, e.g. {other[0]}. "
            "Correct one of them"
        )
    chosen = np.isin(hashes, list(labels)) & (np.array(cohort.splits) == "test")
    if not chosen.any():
        raise InputError(
            f"{manifest}: none of its {len(records)} images can be used, the model has seen them, or they "
            "were left out for another reason. Give others"
        )
    if unused := int(np.isin(hashes, list(labels)).sum() - chosen.sum()):
        log.warning("%s: %d of its images were left out, as seen or unusable", manifest, unused)
    return np.asarray(chosen)


def check_part(cohort: Cohort, part: str) -> None:
    """Raise `InputError` if too few images calibrate, or none is left to judge.

    Of each class of which the data has twice `NEEDED`, that many must calibrate.
    """
    labels = cohort.labels()
    val, usable = cohort.indices("val"), cohort.indices("val", "test")
    if not len(val):
        raise InputError(f"--calibrate-on {part}: no image is in it. Give a larger share, or more images")
    if not len(cohort.indices("test")):
        raise InputError(f"--calibrate-on {part}: no image is left to judge the model on. Name fewer")
    counts, totals = (np.bincount(labels[places], minlength=len(CLASSES)) for places in (val, usable))
    few = [k for k in range(len(CLASSES)) if counts[k] < NEEDED and totals[k] >= 2 * NEEDED]
    if few:
        listed = " and ".join(f"{counts[k]} {CLASSES[k]}" for k in few)
        share = math.ceil(100 * max((NEEDED + 1) / totals[k] for k in few)) / 100
        number = math.ceil(share * len(usable))
        raise InputError(
            f"--calibrate-on {part} has {listed} images, and {NEEDED} of each class are needed: give a share "
            f"of {share:.2f} or more, {number} images or more, or a manifest with more of them"
        )
