"""Calibration of a validation fold, against outside references and by simulation."""

import numpy as np
import pytest
from scipy.special import log_softmax, softmax
from sklearn.calibration import calibration_curve
from sklearn.metrics import confusion_matrix

from busi.metrics.calibration import (
    calibrate,
    conformal_quantile,
    fit_logit_scale,
    fit_temperature,
    net_benefit,
    reliability,
    selective_accuracy,
)


def simulate(number: int, seed: int, sharper: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Logits whose softmax is the truth, made sharper by a factor."""
    rng = np.random.default_rng(seed)
    logits = rng.normal([0.0, 1.0, 0.3], 1.5, (number, 3))
    labels = np.array([rng.choice(3, p=p) for p in softmax(logits, axis=1)])
    return logits * sharper, labels


@pytest.mark.parametrize("sharper", [0.5, 1.0, 3.0])
def test_temperature_undoes_what_was_done_to_calibrated_logits(sharper: float) -> None:
    assert fit_temperature(*simulate(20_000, 0, sharper)) == pytest.approx(sharper, rel=0.05)


def test_temperature_is_the_best_of_a_fine_grid() -> None:
    logits, labels = simulate(150, 1, 2.0)
    grid = np.geomspace(0.05, 20, 4001)
    losses = [-log_softmax(logits / t, axis=1)[np.arange(150), labels].mean() for t in grid]
    assert fit_temperature(logits, labels) == pytest.approx(grid[np.argmin(losses)], rel=0.002)


@pytest.mark.parametrize("hesitant", [0.4, 1.0, 2.5])
def test_temperature_leaves_a_prior_as_it_is(hesitant: float) -> None:
    """Logits of equal priors, made weaker; the labels follow them and a prior."""
    rng, prior = np.random.default_rng(3), np.log([0.1, 0.7, 0.2])
    logits = rng.normal(0.0, 1.5, (20_000, 3))
    labels = np.array([rng.choice(3, p=p) for p in softmax(logits + prior, axis=1)])
    priors = np.broadcast_to(prior, logits.shape)
    assert fit_temperature(logits * hesitant, labels, priors) == pytest.approx(hesitant, rel=0.05)
    assert 0.9 <= fit_temperature(logits * hesitant, labels, priors, limits=(0.9, 1.1)) <= 1.1


def test_scale_undoes_what_weakened_logits_and_ends_where_all_are_right() -> None:
    rng, prior = np.random.default_rng(4), np.log([0.2, 0.5, 0.3])
    logits = rng.normal(0.0, 1.5, (20_000, 3))
    labels = np.array([rng.choice(3, p=p) for p in softmax(logits + prior, axis=1)])
    priors = np.broadcast_to(prior, logits.shape)
    assert fit_logit_scale(logits / 2, labels, priors) == pytest.approx(2, rel=0.05)
    assert fit_logit_scale(logits / 9, labels, priors) == pytest.approx(4, rel=1e-3)
    assert fit_logit_scale(2 * np.eye(3)[labels], labels, priors) == pytest.approx(4, rel=1e-3)
    assert fit_logit_scale(-2 * np.eye(3)[labels], labels, priors) == pytest.approx(0.25, rel=1e-3)


def test_temperature_of_a_perfect_fold_stays_finite() -> None:
    logits = 10.0 * np.eye(3)[[0, 1, 2, 1]]
    assert 0.05 <= fit_temperature(logits, np.array([0, 1, 2, 1])) < 1
    with pytest.raises(ValueError, match="no images"):
        fit_temperature(np.zeros((0, 3)), np.zeros(0, np.int64))


def test_temperature_changes_no_prediction() -> None:
    logits, labels = simulate(200, 2, 4.0)
    probs = calibrate(logits, labels).probs(logits)
    assert np.array_equal(probs.argmax(axis=1), logits.argmax(axis=1))
    assert probs.sum(axis=1) == pytest.approx(1)


@pytest.mark.parametrize("size", [26, 87, 42])
def test_conformal_sets_contain_nine_tenths_of_each_class_on_average(size: int) -> None:
    """Over many validation folds of this size; for one fold the coverage scatters."""
    rng = np.random.default_rng(size)
    covered = []
    for _ in range(3000):
        quantile = conformal_quantile(rng.beta(2, 5, size), 0.9)
        covered.append((rng.beta(2, 5, 50) <= quantile).mean())
    assert 0.895 < np.mean(covered) < 0.9 + 1 / (size + 1) + 0.005


def test_too_few_scores_leave_nothing_out() -> None:
    assert conformal_quantile(np.array([0.1] * 8), 0.9) == 1.0
    assert conformal_quantile(np.array([0.1] * 8 + [0.7]), 0.9) == 0.7
    assert conformal_quantile(np.zeros(0), 0.9) == 1.0


def test_a_class_that_was_not_learned_is_in_no_set() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(1, 3, 200)
    logits = rng.normal(size=(200, 3)) + 2 * np.eye(3)[labels] - [4, 0, 0]
    kept, never = calibrate(logits, labels), calibrate(logits, labels, learned=np.array([False, True, True]))
    assert kept.sets(logits)[:, 0].all()
    assert not never.sets(logits)[:, 0].any()
    assert np.array_equal(never.sets(logits)[:, 1:], kept.sets(logits)[:, 1:])
    # Where validation has such images, it tells how to hold them.
    labels[:50] = 0
    told = calibrate(logits, labels, learned=np.array([False, True, True]))
    assert told.sets(logits)[:50, 0].mean() >= 0.9


def test_sets_of_simulated_classes_have_the_coverage_that_was_asked_for() -> None:
    calibration = calibrate(*simulate(3000, 3))
    logits, labels = simulate(30_000, 4)
    sets = calibration.sets(logits)
    for label in range(3):
        assert sets[labels == label, label].mean() == pytest.approx(0.9, abs=0.025)


def test_net_benefit_is_the_formula_of_the_confusion_matrix() -> None:
    rng = np.random.default_rng(5)
    positive, probs, weights = rng.random(300) < 0.3, rng.random(300), rng.integers(0, 4, (3, 300))
    thresholds = np.array([0.05, 0.2, 0.5, 0.9])
    found = net_benefit(positive, probs, thresholds, weights)
    for row, values in zip(weights, found, strict=True):
        for threshold, value in zip(thresholds, values, strict=True):
            matrix = confusion_matrix(positive, probs >= threshold, sample_weight=row)
            _, false, _, true = matrix.ravel() / row.sum()
            assert value == pytest.approx(true - false * threshold / (1 - threshold))
    everyone = net_benefit(positive, np.ones(300), np.array([0.0]), weights[:1])
    assert everyone[0, 0] == pytest.approx(np.average(positive, weights=weights[0]))


def test_selective_prediction_keeps_the_most_certain() -> None:
    correct, confidence = np.array([True, False, True, False]), np.array([0.9, 0.4, 0.8, 0.5])
    weights = np.array([[1, 1, 1, 1], [0, 2, 1, 1], [0, 0, 0, 0]])
    once, repeated, empty = selective_accuracy(
        correct, confidence, np.array([0, 0.25, 0.5, 0.75, 0.99]), weights
    )
    assert once == pytest.approx([0.5, 2 / 3, 1, 1, 1])
    # In the order of confidence: right once, wrong once, wrong twice.
    assert repeated == pytest.approx([1 / 4, 1 / 4, 1 / 2, 1, 1])
    assert np.isnan(empty).all()


def test_reliability_is_that_of_scikit_learn() -> None:
    rng = np.random.default_rng(6)
    probs = rng.random(500)
    outcome = rng.random(500) < probs
    observed, predicted = calibration_curve(outcome, probs, n_bins=10, strategy="quantile")
    bins = reliability(outcome, probs)
    assert [x for x, _, _ in bins] == pytest.approx(predicted)
    assert [y for _, y, _ in bins] == pytest.approx(observed)
    assert sum(number for _, _, number in bins) == 500
