"""Diagnosis numbers against scikit-learn and loops; intervals against simulation."""

import warnings
from collections.abc import Callable

import numpy as np
import pytest
from jaxtyping import Float, Int
from scipy.special import expit, softmax
from sklearn import metrics as reference
from sklearn.linear_model import LogisticRegression

from busi.statistics import (
    bootstrap_metrics,
    calibration_error,
    calibration_slope,
    classification_metrics,
    operating_points,
    resample,
)
from busi.types import CLASSES, MALIGNANT

Sample = tuple[Int[np.ndarray, " n"], Float[np.ndarray, "n 3"]]


def made_sample(num: int, seed: int, temperature: float = 1.0, digits: int = 8) -> Sample:
    """Labels drawn from known probabilities, and those probabilities sharpened by 1 / temperature."""
    rng = np.random.default_rng(seed)
    logits = 1.7 * rng.normal(size=(num, 3))
    labels = (softmax(logits, axis=1).cumsum(axis=1)[:, :2] < rng.random((num, 1))).sum(axis=1)
    return labels, softmax((logits / temperature).round(digits), axis=1)


SAMPLES = [made_sample(150, 0), made_sample(761, 1, 0.5), made_sample(90, 2, digits=0)]


@pytest.mark.parametrize(("labels", "probs"), SAMPLES)
def test_scores_equal_scikit_learn(labels: Int[np.ndarray, " n"], probs: Float[np.ndarray, "n 3"]) -> None:
    preds = probs.argmax(axis=1)
    recall = reference.recall_score(labels, preds, average=None)
    auroc = [reference.roc_auc_score(labels == k, probs[:, k]) for k in range(3)]
    expected = {
        "accuracy": reference.accuracy_score(labels, preds),
        "balanced_accuracy": reference.balanced_accuracy_score(labels, preds),
        "macro_f1": reference.f1_score(labels, preds, average="macro"),
        "auroc": reference.roc_auc_score(labels, probs, multi_class="ovr"),
        "brier": sum(np.mean((probs[:, k] - (labels == k)) ** 2) for k in range(3)),
        "log_loss": reference.log_loss(labels, probs),
        **{f"recall_{name}": recall[k] for k, name in enumerate(CLASSES)},
        **{f"auroc_{name}": auroc[k] for k, name in enumerate(CLASSES)},
    }
    values = classification_metrics(labels, probs)
    assert {name: values[name] for name in expected} == pytest.approx(expected)
    assert set(values) - set(expected) == {"calibration_error", "calibration_slope"}


def test_scores_do_not_depend_on_the_order_of_pictures() -> None:
    labels, probs = made_sample(90, 2, digits=0)
    order = np.random.default_rng(0).permutation(90)
    assert classification_metrics(labels[order], probs[order]) == pytest.approx(
        classification_metrics(labels, probs)
    )


@pytest.mark.parametrize("present", [(), (0,), (1, 2), (2,)])
@pytest.mark.parametrize("num", [1, 40])
def test_absent_classes_give_none_without_a_warning(present: tuple[int, ...], num: int) -> None:
    labels, probs = made_sample(150, 3)
    kept = np.flatnonzero(np.isin(labels, present))[:num]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        values = classification_metrics(labels[kept], probs[kept])
        points = operating_points(labels[kept], probs[kept], labels[kept], probs[kept])
    assert all(value is None or np.isfinite(value) for value in (*values.values(), *points.values()))
    assert (values["accuracy"] is None) == (values["brier"] is None) == (not present)
    for name in ("balanced_accuracy", "macro_f1", "auroc"):
        assert values[name] is None
    for k, name in enumerate(CLASSES):
        assert (values[f"recall_{name}"] is None) == (k not in labels[kept])
    both = len(set(labels[kept])) == 2
    assert (values["auroc_malignant"] is not None) == both
    assert (points["threshold_at_sensitivity_90"] is not None) == both


def test_probabilities_of_a_diverged_model_are_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        classification_metrics(np.array([0, 1]), np.array([[0.2, 0.3, 0.5], [np.nan] * 3]))


def test_a_certain_mistake_has_a_finite_loss() -> None:
    loss = classification_metrics(np.array([0]), np.array([[0.0, 1.0, 0.0]]))["log_loss"]
    assert loss == pytest.approx(reference.log_loss([0], [[0.0, 1.0, 0.0]], labels=[0, 1, 2]))


def test_calibration_error_equals_a_loop_over_bins() -> None:
    labels, probs = made_sample(600, 4, 0.5)
    correct, confidence = labels == probs.argmax(axis=1), probs.max(axis=1)
    square = 0.0
    for rows in np.array_split(np.argsort(confidence), 15):
        accuracy, size = correct[rows].mean(), len(rows)
        gap = (confidence[rows].mean() - accuracy) ** 2 - accuracy * (1 - accuracy) / (size - 1)
        square += size / 600 * gap
    ones = np.ones(600, dtype=np.int64)
    assert calibration_error(correct, confidence, ones) == pytest.approx(np.sqrt(square))


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_calibration_error_is_debiased_also_in_bootstrap_draws(temperature: float) -> None:
    """Squared, the mean over draws is near the estimate only if repeats are counted as such."""
    labels, probs = made_sample(600, 5, temperature)
    correct, confidence = labels == probs.argmax(axis=1), probs.max(axis=1)
    ones, groups = np.ones(600, dtype=np.int64), np.arange(600)
    estimate = calibration_error(correct, confidence, ones)
    draws = list(resample(groups, None, 300, 0))
    naive = np.mean([calibration_error(correct[i], confidence[i], ones) ** 2 for i in draws])
    aware = np.mean([calibration_error(correct[i], confidence[i], np.bincount(i)[i]) ** 2 for i in draws])
    assert abs(aware - estimate**2) < 0.6 * abs(naive - estimate**2)
    low, high = bootstrap_metrics(
        groups, lambda i: classification_metrics(labels[i], probs[i], i), num_draws=300
    )["calibration_error"]
    assert low <= estimate <= high


@pytest.mark.parametrize("scale", [0.3, 1.0, 3.0])
def test_calibration_slope_equals_unpenalised_scikit_learn(scale: float) -> None:
    rng = np.random.default_rng(6)
    logit = 2 * rng.normal(size=300) - 1
    truth = rng.random(300) < expit(logit)
    stated = np.clip(scale * logit, -15.942385, 15.942385)  # the logits of 1.2e-7 from 0 and 1
    model = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(stated[:, None], truth)
    slope = calibration_slope(truth, expit(scale * logit))
    assert slope == pytest.approx(model.coef_[0, 0], rel=1e-4)
    assert slope == pytest.approx(1 / scale, rel=0.3)


@pytest.mark.parametrize("truth", [[False, False, True, True], [True, True, False, False], [True] * 4])
def test_calibration_slope_is_undefined_when_separable(truth: list[bool]) -> None:
    assert np.isnan(calibration_slope(np.array(truth), np.array([0.1, 0.2, 0.6, 1.0])))


def test_calibration_slope_is_undefined_for_a_constant() -> None:
    assert np.isnan(calibration_slope(np.array([True, False, True]), np.full(3, 0.4)))


TARGETS = [("specificity", 90), ("sensitivity", 90), ("sensitivity", 95)]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("digits", [8, 0])
@pytest.mark.parametrize(("target", "level"), TARGETS)
def test_operating_point_is_the_best_that_reaches_its_target(
    seed: int, digits: int, target: str, level: int
) -> None:
    labels, probs = made_sample(150, seed, digits=digits)
    points = operating_points(labels, probs, labels, probs)
    other = "sensitivity" if target == "specificity" else "specificity"
    achieved = points[f"{target}_at_{target}_{level}"], points[f"{other}_at_{target}_{level}"]
    reachable = []
    for threshold in (*probs[:, MALIGNANT], 2.0):
        called = probs[:, MALIGNANT] >= threshold
        (tn, fp), (fn, tp) = reference.confusion_matrix(labels == MALIGNANT, called)
        rate = {"sensitivity": tp / (tp + fn), "specificity": tn / (tn + fp)}
        if rate[target] >= level / 100:
            reachable.append((rate[other], rate[target]))
    assert achieved == max(reachable)[::-1]


def test_thresholds_come_from_validation_alone() -> None:
    (val_labels, val_probs), (labels, probs) = made_sample(150, 7), made_sample(150, 8)
    points = operating_points(val_labels, val_probs, labels, probs)
    for changed in (made_sample(60, 9), ((labels + 1) % 3, probs), (labels[:0], probs[:0])):
        others = operating_points(val_labels, val_probs, *changed)
        for target, level in TARGETS:
            name = f"{target}_{level}"
            assert others[f"threshold_at_{name}"] == points[f"threshold_at_{name}"]
            assert others[f"sensitivity_at_{name}"] != points[f"sensitivity_at_{name}"]
    called = probs[:, MALIGNANT] >= points["threshold_at_specificity_90"]
    assert points["sensitivity_at_specificity_90"] == called[labels == MALIGNANT].mean()
    assert points["specificity_at_specificity_90"] == (~called)[labels != MALIGNANT].mean()


def test_a_target_met_exactly_counts() -> None:
    labels, malignant = np.repeat([1, 2], 10), np.append(np.arange(10), np.arange(10) + 8.5) / 20
    probs = np.stack([np.zeros(20), 1 - malignant, malignant], axis=1)
    points = operating_points(labels, probs, labels, probs)
    assert (points["sensitivity_at_specificity_90"], points["specificity_at_specificity_90"]) == (1.0, 0.9)
    assert (points["sensitivity_at_sensitivity_90"], points["specificity_at_sensitivity_90"]) == (0.9, 1.0)


def test_a_tie_is_never_parted() -> None:
    labels, probs = np.array([1] * 5 + [2] * 5), np.tile([0.2, 0.3, 0.5], (10, 1))
    points = operating_points(labels, probs, labels, probs)
    assert (points["sensitivity_at_specificity_90"], points["specificity_at_specificity_90"]) == (0.0, 1.0)
    assert (points["sensitivity_at_sensitivity_90"], points["specificity_at_sensitivity_90"]) == (1.0, 0.0)


def test_a_draw_is_whole_groups_within_strata() -> None:
    rng = np.random.default_rng(10)
    groups = rng.permutation(np.repeat(np.arange(40), rng.integers(1, 5, size=40)))
    strata = groups % 3
    sizes = np.bincount(groups)
    drawn = np.zeros(40)
    for rows in resample(groups, strata, 500, 0):
        times = np.bincount(rows, minlength=len(groups))
        for group in range(40):
            assert len(set(times[groups == group])) == 1
        repeats = np.bincount(groups[rows], minlength=40) // sizes
        assert [repeats[k::3].sum() for k in range(3)] == [14, 13, 13]
        drawn += repeats
    assert drawn / 500 == pytest.approx(np.ones(40), abs=0.2)


def mean_of(values: Float[np.ndarray, " n"]) -> Callable[[Int[np.ndarray, " m"]], dict[str, float | None]]:
    return lambda rows: {"mean": float(values[rows].mean())}


def test_draws_repeat_with_the_seed_and_the_interval_grows_with_the_level() -> None:
    values, groups = np.random.default_rng(11).normal(size=200), np.arange(200) // 2
    first = bootstrap_metrics(groups, mean_of(values), num_draws=300)["mean"]
    assert first == bootstrap_metrics(groups, mean_of(values), num_draws=300)["mean"]
    assert first != bootstrap_metrics(groups, mean_of(values), num_draws=300, seed=1)["mean"]
    narrow = bootstrap_metrics(groups, mean_of(values), num_draws=300, level=0.5)["mean"]
    assert first[0] < narrow[0] < values.mean() < narrow[1] < first[1]


def test_copies_in_a_group_do_not_narrow_the_interval() -> None:
    values = np.random.default_rng(12).normal(size=60)
    groups = np.arange(60)
    once = bootstrap_metrics(groups, mean_of(values), num_draws=300)["mean"]
    copied = bootstrap_metrics(np.tile(groups, 4), mean_of(np.tile(values, 4)), num_draws=300)["mean"]
    assert copied == pytest.approx(once)


def test_a_paired_difference_of_equal_arms_is_zero() -> None:
    values = np.random.default_rng(13).normal(size=60)
    both = mean_of(values - values)
    assert bootstrap_metrics(np.arange(60), both, num_draws=50) == {"mean": (0.0, 0.0)}


def test_rarely_defined_metrics_have_no_interval() -> None:
    def compute(rows: Int[np.ndarray, " m"]) -> dict[str, float | None]:
        return {"never": None, "rarely": 1.0 if rows[0] == 0 else None, "mostly": 2.0 if rows[0] else None}

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        intervals = bootstrap_metrics(np.arange(10), compute, num_draws=100)
    assert np.isnan([intervals["never"], intervals["rarely"]]).all()
    assert intervals["mostly"] == (2.0, 2.0)


def test_a_group_in_two_strata_is_refused() -> None:
    with pytest.raises(ValueError, match="more than one stratum"):
        bootstrap_metrics(np.array([0, 0, 1]), mean_of(np.ones(3)), strata=np.array([0, 1, 1]))


def test_interval_covers_the_truth_as_often_as_it_says() -> None:
    """Grouped data with group effects in two strata: 95 % intervals hold the mean in 92-97 % of the sets."""
    rng = np.random.default_rng(14)
    covered = ignoring = 0
    for _ in range(400):
        groups = np.repeat(np.arange(120), rng.integers(1, 5, size=120))
        values = rng.normal(size=120)[groups] + 0.5 * rng.normal(size=len(groups))
        low, high = bootstrap_metrics(groups, mean_of(values), groups % 2, num_draws=400)["mean"]
        covered += low <= 0 <= high
        rows = np.arange(len(groups))
        low, high = bootstrap_metrics(rows, mean_of(values), num_draws=100)["mean"]
        ignoring += low <= 0 <= high
    assert 0.92 <= covered / 400 <= 0.97
    assert ignoring / 400 < 0.88  # what the groups are for
