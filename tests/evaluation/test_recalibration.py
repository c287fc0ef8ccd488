"""Fitting on a few local images, and how many of them are enough."""

import numpy as np
import pytest

from busi.core.types import MALIGNANT, NORMAL
from busi.evaluation.learning_curve import Curve, describe_curve, draw_curve, measure_rule
from busi.evaluation.local_part import NEEDED
from busi.evaluation.recalibration import DecisionRule, refit
from busi.metrics.calibration import Calibration, calibrate
from busi.metrics.thresholds import OPERATING_POINTS, operating_points
from busi.models.postprocess import Postprocess

OWN = DecisionRule(
    Calibration(1.0, (0.9, 0.8, 0.7), 0.9, dict.fromkeys(OPERATING_POINTS, 0.5)), Postprocess(0.5, 0.9)
)


def simulate(count: int, seed: int, scale: float = 3.0) -> tuple[np.ndarray, np.ndarray]:
    """Logits that are `scale` times too large, and labels."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 1.2, (count, 3))
    probs = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return scale * logits, np.array([rng.choice(3, p=p) for p in probs])


def test_with_enough_of_each_class_it_is_what_the_validation_fold_of_a_run_gives() -> None:
    """But for the biases, which are near 0 where the shares of the classes are those of training."""
    logits, labels = simulate(4000, 0)
    local, expected = refit(OWN, logits, labels).calibration, calibrate(logits, labels)
    assert refit(OWN, logits, labels).kept == ()
    assert local.temperature == pytest.approx(3.0, rel=0.1)
    assert local.temperature == pytest.approx(expected.temperature, rel=0.02)
    assert local.biases == pytest.approx([0] * 3, abs=0.1)
    assert local.quantiles == pytest.approx(expected.quantiles, abs=0.03)
    assert refit(OWN, logits, labels).postprocess == OWN.postprocess


def test_biases_are_the_other_shares_of_the_classes() -> None:
    """Images of each class are kept by chance: by Bayes' rule, the log of it is the bias."""
    logits, labels = simulate(60_000, 8)
    chances = np.array([0.2, 1.0, 0.6])
    kept = np.random.default_rng(0).random(len(labels)) < chances[labels]
    local = refit(OWN, logits[kept], labels[kept]).calibration
    expected = np.log(chances) - np.log(chances).mean()
    assert local.biases == pytest.approx(expected.tolist(), abs=0.05)
    assert local.temperature == pytest.approx(3.0, rel=0.05)


def test_biases_of_few_images_stay_near_nothing() -> None:
    """Of ten images, none is normal; of 400, none is."""
    logits, labels = simulate(1000, 9)
    logits, labels = logits[labels != NORMAL], labels[labels != NORMAL]
    few, many = (refit(OWN, logits[:n], labels[:n]).calibration.biases[NORMAL] for n in (10, 400))
    assert many < few < 0
    assert few > -1
    assert many < -1


def test_what_too_few_images_tell_is_said() -> None:
    logits, labels = simulate(400, 1)
    for count, quantile, words in (
        (0, OWN.calibration.quantiles[0], "the conformal quantile of normal stays (no such images)"),
        (NEEDED - 1, 1.0, f"normal is in every conformal set ({NEEDED - 1} images, fewer than {NEEDED})"),
    ):
        kept = (labels != NORMAL) | (np.cumsum(labels == NORMAL) <= count)
        local = refit(OWN, logits[kept], labels[kept])
        assert local.calibration.quantiles[0] == quantile
        assert local.calibration.temperature != OWN.calibration.temperature
        assert local.calibration.thresholds != OWN.calibration.thresholds
        assert local.kept == (words,)


def test_a_threshold_stays_with_its_temperature() -> None:
    logits, labels = simulate(400, 1)
    for kept, words in ((labels != MALIGNANT, "0 malignant images"), (labels == MALIGNANT, "0 others")):
        local = refit(OWN, logits[kept], labels[kept])
        assert local.calibration.thresholds == OWN.calibration.thresholds
        assert local.calibration.temperature == OWN.calibration.temperature
        assert words in local.kept[0]


def test_the_metrics_of_the_curve_are_those_of_the_report() -> None:
    (logits, labels), (others, truth) = simulate(300, 2), simulate(200, 3)
    local = refit(OWN, logits, labels)
    probs = local.calibration.probs(others)
    found = measure_rule(local, others, truth)
    points = operating_points(labels, local.calibration.probs(logits), truth, probs)
    for name, (rate, _) in OPERATING_POINTS.items():
        assert found[f"{rate}_at_{name}"] == pytest.approx(points[f"{rate}_at_{name}"])
    one_hot = np.eye(3)[truth]
    assert found["brier"] == pytest.approx(((probs - one_hot) ** 2).sum(axis=1).mean())
    inside = [1 - p[k] <= local.calibration.quantiles[k] for p, k in zip(probs, truth, strict=True)]
    assert found["coverage"] == pytest.approx(np.mean(inside))


def test_more_images_bring_a_curve_nearer_to_its_targets() -> None:
    (logits, labels), rest = simulate(400, 4), simulate(1500, 5)
    curve = draw_curve(OWN, (logits, labels, np.arange(400)), rest, seed=0, num_draws=25)
    assert curve.sizes == (10, 20, 50, 100, 200)
    spread = {name: np.nanstd(x, axis=1) for name, x in curve.values.items()}
    assert spread["coverage"][-1] < spread["coverage"][2]
    assert np.median(curve.values["brier"][-1]) < curve.frozen["brier"]
    assert abs(np.median(curve.values["coverage"][-1]) - 0.9) < 0.03
    again = draw_curve(OWN, (logits, labels, np.arange(400)), rest, seed=0, num_draws=25)
    np.testing.assert_array_equal(again.values["brier"], curve.values["brier"])
    section, content = describe_curve(curve)
    assert section.blocks
    assert content["enough"]["coverage"] == curve.enough("coverage")  # type: ignore[index]


def test_draws_take_whole_groups_as_far_as_they_fit() -> None:
    """Were the ten images of a group taken apart, a draw of ten would hold images of both classes."""
    logits, _ = simulate(100, 6)
    groups = np.repeat(np.arange(10), 10)
    labels = np.repeat(np.array([1, 2] * 5), 10)
    curve = draw_curve(OWN, (logits, labels, groups), (logits, labels), seed=0, num_draws=10)
    # One class alone fits no temperature.
    assert np.all(curve.values["brier"][0] == curve.frozen["brier"])
    assert curve.sizes == (10, 20, 50, 100)


@pytest.mark.parametrize(
    ("near", "expected"),
    [([1, 1, 1], 10), ([0, 1, 1], 20), ([1, 0, 1], 50), ([1, 1, 0], None), ([0, 0, 0], None)],
)
def test_a_number_is_enough_if_every_larger_one_is(near: list[int], expected: int | None) -> None:
    values = np.array([[0.9 if x else 0.5] * 10 for x in near])
    curve = Curve((10, 20, 50), {"coverage": values}, {"coverage": 0.5}, {"coverage": 0.9})
    assert curve.enough("coverage") == expected


def test_a_class_that_nobody_judges_is_left_out_of_the_curve() -> None:
    logits, labels = simulate(200, 7)
    kept = labels != MALIGNANT
    curve = draw_curve(
        OWN, (logits[kept], labels[kept], np.arange(kept.sum())), (logits[kept], labels[kept]), 0, 5
    )
    assert "sensitivity_at_sensitivity_90" not in curve.targets
    section, _ = describe_curve(curve)
    assert "sensitivity" not in str(section.blocks[0])
