"""A model as it came beside the same model calibrated on local images, on images that took no part."""

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from busi.core import CLASSES
from busi.evaluation.recalibration import DecisionRule
from busi.figures import Block, Cell, Section, Table
from busi.metrics import OPERATING_POINTS, Calibration, Estimates, average_sources, defined
from busi.reporting import (
    CALIBRATION,
    MASK_METRICS,
    Columns,
    cell,
    entitle,
    estimate,
    estimate_masks,
    score,
    to_json,
)
from busi.runs import Predictions

NAMES = entitle(
    (
        *("accuracy", "auroc_malignant", *CALIBRATION),
        *(f"{rate}_at_{name}" for name in OPERATING_POINTS for rate in ("sensitivity", "specificity")),
        *(f"coverage_{name}" for name in CLASSES),
        "set_size",
    )
)
"""Metrics of the diagnosis that are compared, and their titles."""
MASK_NAMES = entitle(name for name in MASK_METRICS if name != "dice_all")
"""The same of the masks."""

BySource = Mapping[str, Estimates]


class FitAs:
    """Gives the same calibration for every run, and for every source that has none of its own.

    Args:
        rule: Its calibration.
        words: What it was fitted on.
        own: Source -> its own one.
    """

    def __init__(
        self, rule: DecisionRule, words: str, own: Mapping[str, Calibration] = MappingProxyType({})
    ) -> None:
        self.fitted = replace(rule.calibration, fitted_on=(words,))
        self.own = own

    def __call__(self, one: Predictions, source: str) -> Calibration:
        """The calibration."""
        del one
        return self.own.get(source, self.fitted)


def compare_diagnosis(one: Predictions, frozen: DecisionRule, local: DecisionRule) -> dict[str, BySource]:
    """Metrics of the diagnosis before and after, from the same resamples."""
    rules = {"before": frozen, "after": local}
    return {key: estimate([score([one], FitAs(x, key))]) for key, x in rules.items()}


def compare_masks(before: Columns, after: Columns) -> dict[str, BySource]:
    """Metrics of the masks before and after, from the same resamples."""
    return {"before": estimate_masks([before]), "after": estimate_masks([after])}


def describe_comparison(
    about: str, frozen: DecisionRule, local: DecisionRule, found: Mapping[str, Mapping[str, BySource]]
) -> tuple[Section, dict[str, object]]:
    """The section about the recalibration, and its content as JSON.

    Args:
        about: Which images calibrated.
        frozen: What the model came with.
        local: What was fitted.
        found: ``diagnosis`` and ``segmentation``, as far as there are any -> what `compare_diagnosis` and
            `compare_masks` give.
    """
    blocks: list[Block] = [about]
    if local.kept:
        blocks.append(
            f"Too few of these images tell: {'; '.join(local.kept)}. A quantile that stays was set under the "
            "model's own temperature and biases."
        )
    blocks.append(rules_table(frozen, local, "diagnosis" in found, "segmentation" in found))
    content: dict[str, object] = {"kept": list(local.kept), "decision_rules": rules_to_json(frozen, local)}
    for key, names in (("diagnosis", NAMES), ("segmentation", MASK_NAMES)):
        if key in found:
            blocks += comparison_tables(key, names, found[key])
            content[key] = {
                when: {source: to_json(x) for source, x in one.items()} for when, one in found[key].items()
            }
    return Section("Calibrated on local images", blocks), content


def comparison_tables(key: str, names: Mapping[str, str], found: Mapping[str, BySource]) -> list[Block]:
    """A table a source: before, after, and the difference."""
    tables: list[Block] = []
    for source in found["before"]:
        before, after = found["before"][source], found["after"][source]
        change = after - before
        rows: list[list[Cell]] = [
            [title, cell(name, before), cell(name, after), cell(name, change)]
            for name, title in names.items()
            if defined(before[name].value) is not None
        ]
        number = max((cases.images for cases in before.cases.values()), default=0)
        header = ["", "frozen", "recalibrated", "difference"]
        tables.append(
            Table(
                header,
                rows,
                f"{key.capitalize()}, {source or 'all images'}: {number} images that did not calibrate",
            )
        )
    return tables


def rules_table(frozen: DecisionRule, local: DecisionRule, classes: bool, masks: bool) -> Table:
    """What was fitted, beside what the model came with."""
    one, other = frozen.calibration, local.calibration
    rows: list[list[Cell]] = []
    if classes:
        rows.append(["temperature", one.temperature, other.temperature])
        rows += [[f"bias of {name}", one.biases[k], other.biases[k]] for k, name in enumerate(CLASSES)]
        rows += [
            [
                f"threshold of malignant for {100 * level:.0f} % {rate}",
                one.thresholds[name],
                other.thresholds[name],
            ]
            for name, (rate, level) in OPERATING_POINTS.items()
        ]
        rows += [
            [f"conformal quantile, {name}", one.quantiles[k], other.quantiles[k]]
            for k, name in enumerate(CLASSES)
        ]
    if masks:
        rows += [
            [
                f"{name} of masks".replace("_", " "),
                getattr(frozen.postprocess, name),
                getattr(local.postprocess, name),
            ]
            for name in ("threshold", "high_threshold")
        ]
    return Table(["", "frozen", "recalibrated"], rows, "What was fitted")


def rules_to_json(frozen: DecisionRule, local: DecisionRule) -> dict[str, object]:
    """Both as plain values."""
    return {
        when: {
            "temperature": one.calibration.temperature,
            "biases": list(one.calibration.biases),
            "quantiles": list(one.calibration.quantiles),
            "level": one.calibration.level,
            "malignant_thresholds": dict(one.calibration.thresholds),
            "postprocess": vars(one.postprocess),
        }
        for when, one in (("frozen", frozen), ("recalibrated", local))
    }


def bundle_numbers(found: Mapping[str, Mapping[str, BySource]]) -> dict[str, dict[str, list[float | None]]]:
    """The numbers for the model card: means over sources, with their intervals."""
    names = {"diagnosis": NAMES, "segmentation": MASK_NAMES}
    return {
        when: {
            name: [defined(x) for x in mean[name]]
            for key in found
            for mean in [average_sources(list(found[key][when].values()))]
            for name in names[key]
        }
        for when in ("before", "after")
    }
