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
    content: Mapping[str, Any], warning: str, num_images: Mapping[str, int], several: bool
) -> KeyResults:
    """The key results.

    Args:
        content: Of ``report.json``.
        warning: Why the numbers mean nothing, if they do.
        num_images: Name of a variant -> its test images.
        several: Whether they are of several sources, so that numbers are means over these.
    """
    said: list[str] = []
    numbers: list[tuple[str, str]] = []
    if masks := content.get("segmentation"):
        found = masks["by_class"]["all"]
        numbers += list_numbers(found, MASKS)
        said += say_masks(found, num_images["segmentation"])
    guides: Mapping[str, Any] = content["diagnosis"]["guides"] if "diagnosis" in content else {}
    for guide, part in guides.items():
        found, name = part["metrics"], f", guide {guide}" if len(guides) > 1 else ""
        numbers += [(f"{title}{name}", value) for title, value in list_numbers(found, DIAGNOSIS)]
        said += say_classes(found, guide, num_images[guide])
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
        parts = []
        for source, kinds in sources.items():
            out, inside = (kinds.get(kind, {}) for kind in ("left_out", "in_training"))
            found = out.get("metrics", {})
            if (value := value_of(found, name)) is None:
                continue
            numbers += [
                (f"{title}, {source} left out{guide}", shown)
                for _, shown in list_numbers(found, {name: title})
            ]
            beside = value_of(inside.get("metrics", {}), name)
            then = "" if beside is None else f" ({beside:.2f} when it was in training)"
            parts.append(f"{value:.2f} on {source}, {out['num_images']} images{then}")
        reach = (
            "Where a hospital was left out, the masks of lesions reach a Dice of"
            if variant == "segmentation"
            else f"Where a hospital was left out, the diagnosis with guide {variant} reaches an AUROC of"
        )
        if parts:
            said.append(f"{reach} {'; '.join(parts)}.")
    if any(value.endswith(TOO_FEW) for _, value in numbers):
        said.append(FEW_IMAGES)
    return KeyResults(f"{warning} {' '.join(said)}".strip(), numbers)


def say_masks(found: Mapping[str, Any], number: int) -> list[str]:
    """How good the masks are."""
    dice, missed = value_of(found, "dice"), value_of(found, "lesion_miss_rate")
    if dice is None:
        return [f"None of the {number} test images has an annotated lesion."]
    more = "" if missed is None else f", and miss {missed:.0%} of the lesions"
    return [f"On {number} test images the masks of lesions reach a Dice of {dice:.2f}{more}."]


def say_classes(found: Mapping[str, Any], guide: str, number: int) -> list[str]:
    """How good the diagnosis is."""
    recall, auroc = value_of(found, "recall_malignant"), value_of(found, "auroc_malignant")
    if recall is None:
        return [f"None of the {number} test images is malignant."]
    bound = ", which gives the label away," if guide == "ground_truth" else ""
    ranked = "" if auroc is None else f" (AUROC {auroc:.2f})"
    called = f"{recall:.0%} of the malignant ones are called malignant{ranked}"
    return [f"On {number} test images with guide {guide}{bound} {called}."]


def list_numbers(found: Mapping[str, Any], titles: Mapping[str, str]) -> list[tuple[str, str]]:
    """Titles of metrics that are defined, and their values with intervals."""
    numbers = []
    for name, title in titles.items():
        if (value := value_of(found, name)) is not None:
            low, high = found[name].get("low"), found[name].get("high")
            interval = TOO_FEW if low is None or high is None else f" [{low:.2f}, {high:.2f}]"
            numbers.append((title, f"{value:.2f}{interval}"))
    return numbers


def value_of(found: Mapping[str, Any], name: str) -> float | None:
    """The value of a metric; None if it is not defined."""
    value: float | None = (found.get(name) or {}).get("value")
    return value
