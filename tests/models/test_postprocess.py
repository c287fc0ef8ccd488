from dataclasses import asdict

import numpy as np
import pytest
from scipy import ndimage

from busi.core.types import InputError
from busi.metrics.segmentation import dice
from busi.models.postprocess import PEAKS, MaskRule, choose_rule, fixed_rule, mean_rule


def make_map(seed: int, size: int = 60) -> np.ndarray:
    """Blobs of different heights and sizes, from 0 to 1."""
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal((size, size)), 3)
    return np.asarray((noise - noise.min()) / np.ptp(noise), np.float32)


@pytest.mark.parametrize(("threshold", "peak"), [(0.5, 0.8), (0.3, 0.95), (0.6, 0.6), (0.5, 0.0)])
def test_two_thresholds_are_hysteresis(threshold: float, peak: float) -> None:
    """What grows from the sure pixels within the possible ones."""
    for seed in range(5):
        probs = make_map(seed)
        possible, sure = probs >= threshold, probs >= max(threshold, peak)
        expected = ndimage.binary_propagation(sure, np.ones((3, 3), bool), mask=possible)
        np.testing.assert_array_equal(MaskRule(threshold, peak)(probs), expected)


def test_small_parts_are_dropped_at_any_size_of_the_picture() -> None:
    for side in (50, 200):
        probs = np.zeros((side, side), np.float32)
        probs[: side // 5, : side // 5] = 0.9  # 4 %
        probs[-side // 10 :, -side // 10 :] = 0.9  # 1 %
        mask = MaskRule(0.5, 0.0, 0.02)(probs)
        assert mask.mean() == pytest.approx(0.04)
        assert MaskRule(0.5, 0.0, 0.05)(probs).sum() == 0


def test_the_simplest_rule_is_a_threshold() -> None:
    probs = make_map(1)
    np.testing.assert_array_equal(MaskRule(0.4)(probs), probs >= 0.4)


def test_the_chosen_rule_is_the_best_of_all() -> None:
    pairs = [(make_map(seed), make_map(seed + 1) > 0.7) for seed in range(6)]
    pairs += [(make_map(20), np.zeros((60, 60), bool))]

    def mean_dice(rule: MaskRule) -> float:
        return float(np.mean([dice(rule(probs), mask) for probs, mask in pairs]))

    rules = [MaskRule(peak=peak) for peak in PEAKS]
    assert mean_dice(choose_rule(pairs)) == pytest.approx(max(map(mean_dice, rules)), abs=1e-9)
    assert choose_rule(pairs) in rules


def test_of_equal_rules_the_simplest_is_chosen() -> None:
    mask = np.zeros((40, 40), bool)
    mask[10:30, 10:30] = True
    assert choose_rule([(mask.astype(np.float32), mask)]) == MaskRule()


def test_false_mask_on_a_normal_picture_raises_the_peak() -> None:
    lesion, normal = np.zeros((40, 40), np.float32), np.zeros((40, 40), np.float32)
    lesion[10:30, 10:30], normal[5:25, 5:25] = 0.99, 0.7
    rule = choose_rule([(lesion, lesion > 0), (normal, np.zeros((40, 40), bool))])
    assert not rule(normal).any()
    np.testing.assert_array_equal(rule(lesion), lesion > 0)


def test_a_fixed_rule_looks_at_nothing() -> None:
    assert fixed_rule(iter([]), 0.4, 0.9, 0.01) == MaskRule(0.4, 0.9, 0.01)


def test_the_rule_of_an_average_is_the_average_rule() -> None:
    found = mean_rule([MaskRule(0.4, 0.8, 0.0), MaskRule(0.6, 0.9, 0.002)])
    assert asdict(found) == pytest.approx({"threshold": 0.5, "peak": 0.85, "min_share": 0.001})


@pytest.mark.parametrize("values", [(1.5, 0.0, 0.0), (0.5, -0.1, 0.0), (0.5, 0.0, 2.0)])
def test_impossible_rules_are_refused(values: tuple[float, float, float]) -> None:
    with pytest.raises(InputError, match="from 0 to 1"):
        MaskRule(*values)
