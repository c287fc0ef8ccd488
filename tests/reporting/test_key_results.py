"""The key results of a report say what its tables say, and no more."""

from typing import Any

from busi.reporting.key import find_key_of_left_out, find_key_results


def value(number: float | None, low: float | None = 0.1, high: float | None = 0.9) -> dict[str, float | None]:
    return {"value": number, "low": low, "high": high, "groups": 4}


def guide(recall: dict[str, float | None]) -> dict[str, Any]:
    rest = {name: value(0.8) for name in ("macro_f1", "auroc_malignant")}
    return {"metrics": {"recall_malignant": recall, **rest}}


ALL = {"dice": value(0.75), "lesion_miss_rate": value(0.12), "normal_fp_rate": value(None)}
MASKS = {"by_class": {"all": ALL}}


def test_each_part_names_its_own_images() -> None:
    content = {"segmentation": MASKS, "diagnosis": {"guides": {"empty": guide(value(0.5))}}}
    key = find_key_results(content, "Debug.", {"segmentation": 100, "empty": 40}, "patients", several=False)
    assert key.verdict == (
        "Debug. On 100 test images the masks of lesions reach a Dice of 0.75 [0.10, 0.90], and miss "
        "12% [10%, 90%] of the lesions. On 40 test images with guide empty 50% [10%, 90%] of the malignant "
        "ones are called malignant (AUROC 0.80 [0.10, 0.90])."
    )
    assert key.numbers[0] == ("lesion Dice", "0.75 [0.10, 0.90]")
    assert "normals with a false mask" not in dict(key.numbers)


def test_upper_bounds_means_and_small_samples_are_called_so() -> None:
    guides = {"empty": guide(value(1.0, None, None)), "ground_truth": guide(value(0.9))}
    key = find_key_results(
        {"diagnosis": {"guides": guides}}, "", {"empty": 8, "ground_truth": 8}, "patients", several=True
    )
    few = "nothing can be said about malignant images: too few patients in one source (4)"
    assert f"with guide empty {few}" in key.verdict
    assert "ground_truth, which gives the label away, 90%" in key.verdict
    assert key.verdict.endswith("too few images to say anything. Numbers are means over the sources.")
    assert dict(key.numbers)["recall, malignant, guide empty"].startswith("1.00")
    assert "few" in dict(key.numbers)["recall, malignant, guide empty"]


def test_nothing_measured_is_said() -> None:
    nothing = {
        "by_class": {"all": dict.fromkeys(("dice", "lesion_miss_rate", "normal_fp_rate"), value(None))}
    }
    key = find_key_results({"segmentation": nothing}, "", {"segmentation": 3}, "groups", several=False)
    assert (key.verdict, list(key.numbers)) == ("None of the 3 test images has an annotated lesion.", [])
    both = {"segmentation": 3, "empty": 8}
    key = find_key_results({"segmentation": nothing}, "", both, "groups", several=False)
    assert key.verdict == "None of the 8 test images has an annotated lesion."
    normals = {"macro_f1": value(0.8), "recall_malignant": value(None), "auroc_malignant": value(None)}
    guides = {"diagnosis": {"guides": {"empty": {"metrics": normals}}}}
    key = find_key_results(guides, "", {"empty": 9}, "groups", several=False)
    assert key.verdict == "None of the 9 test images is malignant."
    assert [title for title, _ in key.numbers] == ["macro-F1"]


def test_of_too_few_lesions_nothing_is_claimed() -> None:
    few = {"by_class": {"all": {"dice": value(0.0, None, None), "lesion_miss_rate": value(1.0, None, None)}}}
    key = find_key_results({"segmentation": few}, "", {"segmentation": 8}, "patients", several=False)
    assert "nothing can be said about masks of lesions: too few patients (4)." in key.verdict
    left_out = {"empty": {"far": {"left_out": {"metrics": {"auroc_malignant": value(0.9, None, None)}}}}}
    key = find_key_of_left_out(left_out, "")
    assert key.verdict.startswith("Nothing can be said about far: too few cases.")
