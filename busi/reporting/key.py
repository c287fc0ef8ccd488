"""The key results of a report: one sentence, and a few numbers with their intervals."""

from collections.abc import Mapping
from typing import Any

from busi.figures import KeyResults
from busi.reporting.cells import TOO_FEW
from busi.reporting.metric_titles import KEY_MASK_METRICS, SHORT, entitle

MASKS = entitle(KEY_MASK_METRICS, SHORT)
FEW_IMAGES = "Some of these numbers are of too few images to say anything."
DIAGNOSIS = entitle(("macro_f1", "recall_malignant", "auroc_malignant"), SHORT)


def find_key_results(
    content: Mapping[str, Any], warning: str, num_images: Mapping[str, int], groups: str, several: bool
) -> KeyResults:
    """The key results.

    Args:
        content: Of ``report.json``.
        warning: Why the numbers mean nothing, if they do.
        num_images: Name of a variant -> its test images.
        groups: What intervals resample: ``patients`` or ``groups of near-duplicates``.
        several: Whether they are of several sources, so that numbers are means over these.
    """
    said: list[str] = []
    numbers: list[tuple[str, str]] = []
    groups = f"{groups} in one source" if several else groups
    if masks := content.get("segmentation"):
        found = masks["by_class"]["all"]
        numbers += list_numbers(found, MASKS)
        said += say_masks(found, num_images["segmentation"], max(num_images.values()), groups)
    guides: Mapping[str, Any] = content["diagnosis"]["guides"] if "diagnosis" in content else {}
    for guide, part in guides.items():
        found, name = part["metrics"], f", guide {guide}" if len(guides) > 1 else ""
        numbers += [(f"{title}{name}", value) for title, value in list_numbers(found, DIAGNOSIS)]
        said += say_classes(found, guide, num_images[guide], groups)
    if any(value.endswith(TOO_FEW) for _, value in numbers):
        said.append(FEW_IMAGES)
    if "recalibration" in content:
        said.append("This is the model as it came. What the local calibration changes stands below.")
    if numbers and several:
        said.append("Numbers are means over the sources.")
    return KeyResults(f"{warning} {' '.join(dict.fromkeys(said))}".lstrip(), numbers)


def find_key_of_left_out(content: Mapping[str, Any], warning: str) -> KeyResults:
    """The key results of hospitals that were left out, beside the same hospitals in training.

    Args:
        content: Of `busi.reporting.left_out.describe_left_out`.
        warning: Why the numbers mean nothing, if they do.
    """
    said, numbers = [], []
    for variant, sources in content.items():
        name = "dice" if variant == "segmentation" else "auroc_malignant"
        title = SHORT[name]
        guide = "" if variant == "segmentation" or len(content) == 1 else f", guide {variant}"
        parts, few = [], []
        for source, kinds in sources.items():
            out, inside = (kinds.get(kind, {}) for kind in ("left_out", "in_training"))
            found = out.get("metrics", {})
            if value_of(found, name) is None:
                continue
            numbers += [
                (f"{title}, {source} left out{guide}", shown)
                for _, shown in list_numbers(found, {name: title})
            ]
            if not (value := with_interval(found, name)):
                few.append(source)
                continue
            beside = with_interval(inside.get("metrics", {}), name)
            then = f" ({beside} when it was in training)" if beside else ""
            parts.append(f"{value} on {source}, {out['num_images']} images{then}")
        reach = (
            "Where a hospital was left out, the masks of lesions reach a Dice of"
            if variant == "segmentation"
            else f"Where a hospital was left out, the diagnosis with guide {variant} reaches an AUROC of"
        )
        if parts:
            said.append(f"{reach} {'; '.join(parts)}.")
        if few:
            said.append(f"Nothing can be said about {' and '.join(few)}{guide}: too few cases.")
    if any(value.endswith(TOO_FEW) for _, value in numbers):
        said.append(FEW_IMAGES)
    return KeyResults(f"{warning} {' '.join(said)}".strip(), numbers)


def say_masks(found: Mapping[str, Any], number: int, whole: int, groups: str) -> list[str]:
    """How good the masks are; `whole` counts lesions without a mask, too."""
    if value_of(found, "dice") is None:
        return [f"None of the {whole} test images has an annotated lesion."]
    if not (dice := with_interval(found, "dice")):
        few = f"too few {groups} ({found['dice']['groups']})"
        return [f"On {number} test images nothing can be said about masks of lesions: {few}."]
    missed = with_interval(found, "lesion_miss_rate", ".0%")
    more = f", and miss {missed} of the lesions" if missed else ""
    return [f"On {number} test images the masks of lesions reach a Dice of {dice}{more}."]


def say_classes(found: Mapping[str, Any], guide: str, number: int, groups: str) -> list[str]:
    """How good the diagnosis is."""
    if value_of(found, "recall_malignant") is None:
        return [f"None of the {number} test images is malignant."]
    bound = ", which gives the label away," if guide == "ground_truth" else ""
    recall, auroc = with_interval(found, "recall_malignant", ".0%"), with_interval(found, "auroc_malignant")
    ranked = f" (AUROC {auroc})" if auroc else ""
    if recall:
        said = f"{recall} of the malignant ones are called malignant{ranked}"
    else:
        few = f"too few {groups} ({found['recall_malignant']['groups']})"
        said = f"nothing can be said about malignant images: {few}"
    return [f"On {number} test images with guide {guide}{bound} {said}."]


def with_interval(found: Mapping[str, Any], name: str, form: str = ".2f") -> str:
    """The value of a metric with its interval; empty if there are too few cases for one."""
    one = found.get(name) or {}
    low, high = one.get("low"), one.get("high")
    return "" if low is None or high is None else f"{one['value']:{form}} [{low:{form}}, {high:{form}}]"


def list_numbers(found: Mapping[str, Any], titles: Mapping[str, str]) -> list[tuple[str, str]]:
    """Titles of metrics that are defined, and their values with intervals."""
    numbers = []
    for name, title in titles.items():
        if (value := value_of(found, name)) is not None:
            numbers.append((title, with_interval(found, name) or f"{value:.2f}{TOO_FEW}"))
    return numbers


def value_of(found: Mapping[str, Any], name: str) -> float | None:
    """The value of a metric; None if it is not defined."""
    value: float | None = (found.get(name) or {}).get("value")
    return value
