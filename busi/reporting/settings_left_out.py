"""The page that compares settings where several hospitals were left out, on the images of each hospital."""

import logging
from collections.abc import Sequence

from busi.core import InputError
from busi.figures import Block, Cell, Section, Table
from busi.reporting.cells import JsonObject, cell, to_json
from busi.reporting.left_out import trained_on
from busi.reporting.settings import (
    DIAGNOSIS,
    MASKS,
    Measured,
    by_kind,
    measure_settings,
    name_setting,
    subtract_first,
)
from busi.reporting.verdicts import Difference, difference_to_json, explain, judge, say
from busi.runs import Variant

log = logging.getLogger(__name__)

IN_TRAINING = "in training"
"""The end of a row's name, of a hospital that was not left out."""

EXPLANATION = (
    "Each hospital in turn took part in no training, choice or calibration, and all of its images tested. "
    "Rows with the same hospital are of the same images, and only these are compared: numbers of different "
    "hospitals are of different images. Hospitals in training, if such runs were given, are measured on "
    "their test folds."
)


def describe_settings_left_out(variants: Sequence[Variant]) -> tuple[list[Section], JsonObject]:
    """A section for masks and one for the diagnosis, as far as there are such runs, and their content.

    Args:
        variants: Of several settings, and of several hospitals that are left out, or none; see
            `busi.reporting.settings.share_settings`.

    Raises:
        InputError: If a hospital was not left out with the first setting, or settings did not test the same
            images.
    """
    sections, content = [], JsonObject()
    for kind, some in by_kind(variants).items():
        log.info("Comparing settings of the %s on each hospital that was left out", kind)
        section, content[kind] = compare_left_out(kind, some)
        sections.append(section)
    return sections, content


def compare_left_out(kind: str, variants: Sequence[Variant]) -> tuple[Section, JsonObject]:
    """The section about settings of one kind, and its content as JSON."""
    names = MASKS if kind == "segmentation" else DIAGNOSIS
    order = list(dict.fromkeys((one.name, one.setting) for one in variants))
    ranked = sorted(variants, key=lambda one: order.index((one.name, one.setting)))
    measured = measure_hospitals(kind, ranked)
    first = name_setting(ranked[0], variants)
    differences: dict[tuple[str, str], Difference] = {}
    for hospital, some in measured.items():
        if first not in some and hospital.endswith(IN_TRAINING):
            continue
        if first not in some:
            raise InputError(
                f"{hospital}: no run of {first}, with which the other settings are compared. Run it, leave "
                "these runs out, or name first a setting that has all hospitals"
            )
        found = subtract_first(list(some.values()), list(some))
        differences |= {(hospital, setting): one for setting, one in found.items()}
    verdicts = judge(differences, list(names))
    titles = list(names.values())
    rows: list[list[Cell]] = [
        [
            *(hospital, setting, " and ".join(trained_on(one.variant)), one.variant.trainings),
            len(one.columns["id"]),
            *(cell(name, one.mean()) for name in names),
        ]
        for hospital, some in measured.items()
        for setting, one in some.items()
    ]
    apart: list[list[Cell]] = [
        [*key, say(verdicts[key], names, one.claims), *(cell(name, one.found) for name in names)]
        for key, one in differences.items()
    ]
    blocks: list[Block] = [
        EXPLANATION,
        Table(
            ["hospital", "setting", "trained on", "trainings", "images", *titles],
            rows,
            f"Hospitals and settings, {kind}, with 95 % intervals",
        ),
    ]
    if differences:
        blocks += [
            explain(differences, list(names)),
            Table(
                ["hospital", "setting", "verdict", *titles],
                apart,
                f"Differences: from {first}, within each hospital; above 0 is higher than there",
            ),
        ]
    hospitals: JsonObject = {
        hospital: {
            setting: {
                "trained_on": trained_on(one.variant),
                "trainings": len(one.variant.seeds),
                "num_images": len(one.columns["id"]),
                "metrics": to_json(one.mean()),
            }
            for setting, one in some.items()
        }
        for hospital, some in measured.items()
    }
    content: JsonObject = {
        "compared_with": first,
        "hospitals": hospitals,
        "differences": [
            {
                "hospital": key[0],
                "setting": key[1],
                **difference_to_json(one, verdicts[key], names),
            }
            for key, one in differences.items()
        ],
    }
    return Section("Masks" if kind == "segmentation" else "Diagnosis", blocks), content


def measure_hospitals(kind: str, variants: Sequence[Variant]) -> dict[str, dict[str, Measured]]:
    """Hospital, left out or in training -> setting -> its metrics there.

    Args:
        kind: ``segmentation`` or ``diagnosis``.
        variants: The first setting first.
    """
    measured: dict[str, dict[str, Measured]] = {}
    sources = sorted({one.held_out for one in variants if one.held_out})
    for source in (*sources, None):
        some = [one for one in variants if one.held_out == source]
        if not some:
            continue
        labels = [name_setting(one, variants) for one in some]
        found = measure_settings(kind, some, labels)
        for own in [source] if source else [x for x in sources if x in found[0].found]:
            place = f"{own}, {'left out' if source else IN_TRAINING}"
            measured[place] = {label: one.only(own) for label, one in zip(labels, found, strict=True)}
    return measured
