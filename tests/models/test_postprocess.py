from dataclasses import asdict

import numpy as np
import pytest
from scipy import ndimage

from busi.core.types import InputError
from busi.metrics.segmentation import dice
from busi.models.postprocess import (
    HIGH_THRESHOLDS,
    Postprocess,
    bounding_box,
    find_parts,
    fixed_postprocess,
    mean_postprocess,
    tune_postprocess,
)


def make_map(seed: int, size: int = 60) -> np.ndarray:
    """Blobs of different heights and sizes, from 0 to 1."""
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal((size, size)), 3)
    return np.asarray((noise - noise.min()) / np.ptp(noise), np.float32)


@pytest.mark.parametrize(("threshold", "high_threshold"), [(0.5, 0.8), (0.3, 0.95), (0.6, 0.6), (0.5, 0.0)])
def test_two_thresholds_are_hysteresis(threshold: float, high_threshold: float) -> None:
    """What grows from the sure pixels within the possible ones."""
    for seed in range(5):
        probs = make_map(seed)
        possible, sure = probs >= threshold, probs >= max(threshold, high_threshold)
        expected = ndimage.binary_propagation(sure, np.ones((3, 3), bool), mask=possible)
        np.testing.assert_array_equal(Postprocess(threshold, high_threshold)(probs), expected)


def scatter(rng: np.random.Generator) -> np.ndarray:
    """A map of any shape whose values often are the thresholds, and the float32 below and above them."""
    exact = np.array([0.0, 0.3, 0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 1.0], np.float32)
    levels = np.concatenate([exact, np.nextafter(exact[1:], exact[0]), np.nextafter(exact[:-1], exact[-1])])
    shape = tuple(rng.integers(1, 40, 2).tolist())
    probs = rng.choice(levels, shape).astype(np.float32)
    probs[rng.random(shape) < rng.random()] = 0
    return probs


def test_parts_are_those_of_ndimage_and_so_is_what_they_reach() -> None:
    rng = np.random.default_rng(0)
    for _ in range(150):
        probs = scatter(rng)
        step = Postprocess(float(rng.choice([0.3, 0.5])), float(rng.choice(HIGH_THRESHOLDS)))
        mask = probs >= step.threshold
        parts, count = find_parts(mask)
        expected, same_count = ndimage.label(mask, np.ones((3, 3)))
        pairs = set(zip(parts[mask].tolist(), expected[mask].tolist(), strict=True))
        assert count == same_count == len(pairs)
        assert not parts[~mask].any()
        highest = np.asarray(ndimage.maximum(probs, expected, np.arange(1, count + 1)), np.float64)
        if step.high_threshold > step.threshold:
            mask = np.concatenate([[False], highest >= step.high_threshold])[expected]
        np.testing.assert_array_equal(step(probs), mask)


def test_the_box_of_a_mask_is_that_of_ndimage() -> None:
    rng = np.random.default_rng(1)
    for _ in range(50):
        mask = scatter(rng) > 0.9
        found = ndimage.find_objects(mask.astype(int))
        assert bounding_box(mask) == (found[0] if found else (slice(0, 0), slice(0, 0)))


def test_a_large_noisy_map_has_all_its_parts() -> None:
    """More of them than 16 bits can number."""
    mask = np.zeros((800, 800), bool)
    mask[::2, ::2] = True
    assert find_parts(mask)[1] == 160_000
    assert Postprocess(0.5, 0.9)(mask.astype(np.float32)).sum() == 160_000


def test_without_a_high_threshold_it_is_a_plain_threshold() -> None:
    probs = make_map(1)
    np.testing.assert_array_equal(Postprocess(0.4)(probs), probs >= 0.4)


def test_the_tuned_threshold_is_the_best_of_all() -> None:
    pairs = [(make_map(seed), make_map(seed + 1) > 0.7) for seed in range(6)]
    pairs += [(make_map(20), np.zeros((60, 60), bool))]

    def mean_dice(step: Postprocess) -> float:
        return float(np.mean([dice(step(probs), mask) for probs, mask in pairs]))

    steps = [Postprocess(high_threshold=high_threshold) for high_threshold in HIGH_THRESHOLDS]
    assert mean_dice(tune_postprocess(pairs)) == pytest.approx(max(map(mean_dice, steps)), abs=1e-9)
    assert tune_postprocess(pairs) in steps


def test_of_equal_thresholds_the_simplest_is_taken() -> None:
    mask = np.zeros((40, 40), bool)
    mask[10:30, 10:30] = True
    assert tune_postprocess([(mask.astype(np.float32), mask)]) == Postprocess()


def test_false_mask_on_a_normal_image_raises_the_high_threshold() -> None:
    lesion, normal = np.zeros((40, 40), np.float32), np.zeros((40, 40), np.float32)
    lesion[10:30, 10:30], normal[5:25, 5:25] = 0.99, 0.7
    step = tune_postprocess([(lesion, lesion > 0), (normal, np.zeros((40, 40), bool))])
    assert not step(normal).any()
    np.testing.assert_array_equal(step(lesion), lesion > 0)


def test_fixed_thresholds_look_at_nothing() -> None:
    assert fixed_postprocess(iter([]), 0.4, 0.9) == Postprocess(0.4, 0.9)


def test_the_thresholds_of_an_average_are_the_average() -> None:
    found = mean_postprocess([Postprocess(0.4, 0.8), Postprocess(0.6, 0.9)])
    assert asdict(found) == pytest.approx({"threshold": 0.5, "high_threshold": 0.85})


@pytest.mark.parametrize("values", [(1.5, 0.0), (0.5, -0.1), (0.5, 2.0)])
def test_impossible_thresholds_are_refused(values: tuple[float, float]) -> None:
    with pytest.raises(InputError, match="from 0 to 1"):
        Postprocess(*values)


def test_each_source_counts_alike_however_many_images_it_has() -> None:
    """Weak parts are lesions in the small source, and mostly false masks in the large one."""
    weak = np.zeros((20, 20), np.float32)
    weak[5:15, 5:15] = 0.7
    lesion, none = weak > 0, np.zeros((20, 20), bool)
    partly = np.where(np.arange(400).reshape(20, 20) % 2, lesion, False)
    large, small = [(weak, none)] * 3 + [(weak, lesion)], [(weak, lesion), (weak, partly)]
    assert tune_postprocess([*large, *small]).high_threshold == 0.8
    assert tune_postprocess([*large, *small], ["large"] * 4 + ["small"] * 2).high_threshold == 0.0
    assert tune_postprocess(large, ["large"] * 4) == tune_postprocess(large)
