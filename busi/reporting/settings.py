"""The page that compares settings: runs of different models, losses or augmentations, on the same images."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from busi.core import CLASSES, InputError
from busi.figures import Block, Cell, Section, Table
from busi.metrics import Estimates, Values, Weights, average_sources, mean_of
from busi.reporting.cells import JsonObject, cell, to_json
from busi.reporting.estimates import estimate, estimate_masks, measure_classes, subtract
from busi.reporting.metric_titles import SHORT, entitle
from busi.reporting.pooling import Columns, Fit, Scored, join, rows_by_source, score
from busi.reporting.sources import explain_mean
from busi.reporting.verdicts import (
    Difference,
    Trainings,
    difference_to_json,
    explain,
    judge,
    measure_training_variance,
    say,
)
from busi.reporting.words import name_test_images
from busi.runs import Variant, take

log = logging.getLogger(__name__)

MASKS = entitle(("dice", "hd95", "lesion_miss_rate", "normal_fp_rate"), SHORT)
"""Metrics of the masks that are compared, and their titles."""
DIAGNOSIS = entitle(("auroc_malignant", "recall_malignant", "macro_f1", "brier"), SHORT)
"""The same of the diagnosis."""
BySource = Mapping[str, Estimates]


def describe_settings(variants: Sequence[Variant], fit: Fit | None) -> tuple[list[Section], JsonObject]:
    """A section for masks and one for the diagnosis, as far as there are such runs, and their content.

    Args:
        variants: Of the settings, the one that the others are compared with first; see `share_settings`.
        fit: Gives the calibration; None where the validation images of the runs do.

    Raises:
        InputError: If the settings of a section did not test the same images.
    """
    sections, content = [], JsonObject()
    for kind, some in by_kind(variants).items():
        log.info("Comparing %d settings of the %s", len(some), kind)
        section, content[kind] = compare(kind, some, fit)
        sections.append(section)
    return sections, content


def share_settings(variants: Sequence[Variant]) -> list[Variant]:
    """The variants with those folds alone that all of their kind have, in their order.

    Raises:
        InputError: If some have no fold in common.
    """
    apart = {one.held_out for one in variants}
    shared = [
        one
        for source in apart
        for some in by_kind([one for one in variants if one.held_out == source]).values()
        for one in share_folds(some)
    ]
    order = [(one.held_out, one.name, one.setting) for one in variants]
    return sorted(shared, key=lambda one: order.index((one.held_out, one.name, one.setting)))


def by_kind(variants: Sequence[Variant]) -> dict[str, list[Variant]]:
    """The variants of masks and those of the diagnosis, as far as there are any."""
    kinds: dict[str, list[Variant]] = {"segmentation": [], "diagnosis": []}
    for one in variants:
        kinds["segmentation" if one.name == "segmentation" else "diagnosis"].append(one)
    return {kind: some for kind, some in kinds.items() if some}


def share_folds(variants: Sequence[Variant]) -> list[Variant]:
    """The variants with the folds alone that all of them have.

    Raises:
        InputError: If there is none.
    """
    if variants[0].held_out:
        return list(variants)
    shared = [fold for fold in variants[0].folds if all(fold in one.folds for one in variants)]
    if not shared:
        listed = "; ".join(f"{name_setting(one, variants)}: {list(one.folds)}" for one in variants)
        raise InputError(f"these settings have no fold in common ({listed}): run them on the same folds")
    return [one.only(shared) for one in variants]


def compare(kind: str, variants: Sequence[Variant], fit: Fit | None = None) -> tuple[Section, JsonObject]:
    """The section about settings of one kind, and its content as JSON."""
    names = MASKS if kind == "segmentation" else DIAGNOSIS
    labels = [name_setting(one, variants) for one in variants]
    word = "submission" if any(one.submitted for one in variants) else "setting"
    measured = measure_settings(kind, variants, labels, fit)
    columns = measured[0].columns
    whole = [one.mean() for one in measured]
    differences = subtract_first(measured, labels)
    verdicts = judge(differences, list(names))
    words = {label: say(verdicts[label], names, one.claims) for label, one in differences.items()}
    images, about = len(columns["id"]), name_test_images(variants[0])
    titles = list(names.values())
    values: list[list[Cell]] = [
        [label, variant.trainings, images, *(cell(name, one) for name in names)]
        for label, variant, one in zip(labels, variants, whole, strict=True)
    ]
    apart: list[list[Cell]] = [
        [label, words[label], *(cell(name, one.found) for name in names)]
        for label, one in differences.items()
    ]
    blocks: list[Block] = [
        f"{f'One {word}' if len(labels) == 1 else f'{len(labels)} {word}s on the same images'}: {about}.",
        *explain_mean(columns),
        Table([word, "trainings", "images", *titles], values, f"{kind.capitalize()}, with 95 % intervals"),
    ]
    if differences:
        blocks += [
            summarize(labels[0], words),
            explain(differences, list(names)),
            Table(
                [word, "verdict", *titles],
                apart,
                f"Differences: from {labels[0]}, on {images} images; above 0 is higher than there",
            ),
        ]
    content: JsonObject = {
        "settings": {
            label: {"folds": list(one.folds), "seeds": [seed[0].seeds for seed in one.seeds], **to_json(its)}
            for label, one, its in zip(labels, variants, whole, strict=True)
        },
        "compared_with": labels[0],
        "num_images": images,
        "differences": {
            label: difference_to_json(one, verdicts[label], names) for label, one in differences.items()
        },
    }
    return Section("Masks" if kind == "segmentation" else "Diagnosis", blocks), content


def name_setting(variant: Variant, variants: Sequence[Variant]) -> str:
    """The name of a setting; of a classifier with its guide, where guides differ."""
    guide = f"guide={variant.title}" if len({one.name for one in variants}) > 1 else ""
    return ", ".join(filter(None, (guide, variant.setting))) or variant.title


@dataclass(frozen=True)
class Measured:
    """What is known of a setting.

    Attributes:
        variant: Its runs.
        found: Its metrics by source.
        each: The same of each training, without resamples.
        columns: The test images.
    """

    variant: Variant
    found: BySource
    each: Sequence[BySource]
    columns: Columns

    def only(self, source: str) -> "Measured":
        """The same of one source."""
        kept = rows_by_source(self.columns)[source]
        each = [{source: one[source]} for one in self.each]
        return Measured(self.variant, {source: self.found[source]}, each, take(self.columns, kept))

    def mean(self) -> Estimates:
        """The mean over sources."""
        return average_sources(list(self.found.values()))

    def trainings(self) -> Trainings:
        """Metric -> its value in each training."""
        each = [average_sources(list(one.values())) for one in self.each]
        return {name: [float(one.columns[name][0]) for one in each] for name in each[0].columns}


def measure_settings(
    kind: str, variants: Sequence[Variant], labels: Sequence[str], fit: Fit | None = None
) -> list[Measured]:
    """Measure settings of one kind on the same images.

    Raises:
        InputError: If they did not test the same images.
    """
    measure = measure_masks if kind == "segmentation" else partial(measure_diagnosis, fit=fit)
    measured = [measure(one) for one in variants]
    check_images(labels, [one.columns for one in measured])
    return measured


def subtract_first(measured: Sequence[Measured], labels: Sequence[str]) -> dict[str, Difference]:
    """By label, the paired differences from the first setting."""
    training_variance = measure_training_variance([one.trainings() for one in measured])
    first = measured[0]
    return {
        label: Difference(
            subtract(one.found, first.found),
            (len(one.variant.seeds), len(first.variant.seeds)),
            training_variance,
            (one.variant.num_members, first.variant.num_members),
        )
        for label, one in zip(labels[1:], measured[1:], strict=True)
    }


def measure_masks(variant: Variant) -> Measured:
    """The metrics of masks."""
    seeds = [join(seed) for seed in variant.seeds]
    each = [estimate_masks([one], num_resamples=0) for one in seeds]
    return Measured(variant, estimate_masks(seeds), each, seeds[0])


def measure_diagnosis(variant: Variant, fit: Fit | None) -> Measured:
    """The same of the diagnosis."""
    seeds = [score(seed, fit) for seed in variant.seeds]
    each = [estimate([one], measure_compared, num_resamples=0) for one in seeds]
    return Measured(variant, estimate(seeds, measure_compared), each, seeds[0].columns)


def measure_compared(scored: Scored, weights: Weights) -> Values:
    """The metrics of classes, and the Brier score, which is all of the calibration that is compared."""
    truth = scored.labels[:, None] == np.arange(len(CLASSES))
    losses = ((scored.probs - truth) ** 2).sum(axis=1)
    brier = mean_of(losses, np.ones(len(losses), np.bool_), weights)
    return {**measure_classes(scored, weights), "brier": brier}


def check_images(labels: Sequence[str], columns: Sequence[Columns]) -> None:
    """Raise `InputError` unless all settings tested the same images."""
    for label, other in zip(labels[1:], columns[1:], strict=True):
        if columns[0]["id"].tolist() != other["id"].tolist():
            raise InputError(
                f"{labels[0]} and {label} did not test the same images ({len(columns[0]['id'])} and "
                f"{len(other['id'])}): report each alone"
            )


def summarize(first: str, said: Mapping[str, str]) -> str:
    """In a sentence, which settings differ from the first by more than the noise.

    Args:
        first: Its name.
        said: Name of each other -> what is said of its difference.
    """
    within = [label for label, words in said.items() if words == "within the noise"]
    if len(within) == len(said):
        return f"Compared with {first}, all others are within the noise."
    parts = [f"{label}: {words}." for label, words in said.items() if label not in within]
    rest = f" Within the noise: {'; '.join(within)}." if within else ""
    return f"Compared with {first}: {' '.join(parts)}{rest}"
