"""Metrics of the diagnosis against scikit-learn and loops."""

import warnings

import numpy as np
import pytest
from jaxtyping import Float, Int
from scipy.special import expit, softmax
from sklearn import metrics as reference
from sklearn.linear_model import LogisticRegression

from busi.core.types import CLASSES, MALIGNANT
from busi.metrics.bootstrap import bootstrap_groups, resample
from busi.metrics.classification import (
    calibration_error,
    calibration_slope,
    classification_metrics,
)
from busi.metrics.thresholds import operating_points

Sample = tuple[Int[np.ndarray, " n"], Float[np.ndarray, "n 3"]]


def simulate(num: int, seed: int, temperature: float = 1.0, digits: int = 8) -> Sample:
    """Labels drawn from known probabilities, and those probabilities sharpened by 1 / temperature."""
    rng = np.random.default_rng(seed)
    logits = 1.7 * rng.normal(size=(num, 3))
    labels = (softmax(logits, axis=1).cumsum(axis=1)[:, :2] < rng.random((num, 1))).sum(axis=1)
    return labels, softmax((logits / temperature).round(digits), axis=1)


def score(labels: Int[np.ndarray, " n"], probs: Float[np.ndarray, "n 3"]) -> dict[str, float]:
    """The scores of the sample itself."""
    once = np.ones((1, len(labels)), np.int64)
    return {name: float(x[0]) for name, x in classification_metrics(labels, probs, once).items()}


SAMPLES = [simulate(150, 0), simulate(761, 1, 0.5), simulate(90, 2, digits=0)]


@pytest.mark.parametrize(("labels", "probs"), SAMPLES)
def test_scores_equal_scikit_learn(labels: Int[np.ndarray, " n"], probs: Float[np.ndarray, "n 3"]) -> None:
    preds = probs.argmax(axis=1)
    by_class = reference.precision_recall_fscore_support(labels, preds)
    auroc = [reference.roc_auc_score(labels == k, probs[:, k]) for k in range(3)]
    expected = {
        "accuracy": reference.accuracy_score(labels, preds),
        "balanced_accuracy": reference.balanced_accuracy_score(labels, preds),
        "macro_f1": reference.f1_score(labels, preds, average="macro"),
        "auroc": reference.roc_auc_score(labels, probs, multi_class="ovr"),
        "brier": sum(np.mean((probs[:, k] - (labels == k)) ** 2) for k in range(3)),
        "log_loss": reference.log_loss(labels, probs),
        **{
            f"{metric}_{name}": values[k]
            for metric, values in zip(("precision", "recall", "f1"), by_class[:3], strict=True)
            for k, name in enumerate(CLASSES)
        },
        **{f"auroc_{name}": auroc[k] for k, name in enumerate(CLASSES)},
    }
    values = score(labels, probs)
    assert {name: values[name] for name in expected} == pytest.approx(expected)
    assert set(values) - set(expected) == {"calibration_error", "calibration_slope"}


@pytest.mark.parametrize("present", [(1, 2), (0, 2), (1,)])
def test_means_over_classes_are_over_those_that_have_images(present: tuple[int, ...]) -> None:
    labels, probs = SAMPLES[1]
    kept = np.isin(labels, present)
    labels, probs = labels[kept], probs[kept]
    values, preds = score(labels, probs), probs.argmax(axis=1)
    assert set(preds) == {0, 1, 2}  # an absent class is predicted, and counts in no mean
    recall = reference.recall_score(labels, preds, labels=present, average="macro", zero_division=0)
    assert values["balanced_accuracy"] == pytest.approx(recall)
    f1 = reference.f1_score(labels, preds, labels=present, average="macro")
    assert values["macro_f1"] == pytest.approx(f1)
    if len(present) > 1:
        areas = [reference.roc_auc_score(labels == k, probs[:, k]) for k in present]
        assert values["auroc"] == pytest.approx(np.mean(areas))
    else:
        assert np.isnan(values["auroc"])  # there is no rest


def test_scores_do_not_depend_on_the_order_of_images() -> None:
    labels, probs = simulate(90, 2, digits=0)
    order = np.random.default_rng(0).permutation(90)
    assert score(labels[order], probs[order]) == pytest.approx(score(labels, probs))


@pytest.mark.parametrize(("labels", "probs"), SAMPLES[1:])
def test_resamples_scored_at_once_equal_each_resample_scored_alone(
    labels: Int[np.ndarray, " n"], probs: Float[np.ndarray, "n 3"]
) -> None:
    """A resample is the list of its images; the calibration error alone depends on repeats."""
    weights = resample(np.arange(len(labels)) // 2, None, 20, 0)
    values = classification_metrics(labels, probs, weights)
    for row, times in enumerate(weights):
        rows = np.repeat(np.arange(len(labels)), times)
        expected = score(labels[rows], probs[rows])
        for name in set(expected) - {"calibration_error"}:
            assert values[name][row] == pytest.approx(expected[name])


@pytest.mark.parametrize("present", [(), (0,), (1, 2), (2,)])
@pytest.mark.parametrize("num", [1, 40])
def test_absent_classes_leave_scores_undefined_without_a_warning(present: tuple[int, ...], num: int) -> None:
    labels, probs = simulate(150, 3)
    kept = np.flatnonzero(np.isin(labels, present))[:num]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        values = score(labels[kept], probs[kept])
        points = operating_points(labels[kept], probs[kept], labels[kept], probs[kept])
    assert all(value is None or np.isfinite(value) for value in points.values())
    assert np.isnan(values["accuracy"]) == np.isnan(values["brier"]) == (not present)
    for k, name in enumerate(CLASSES):
        assert np.isnan(values[f"recall_{name}"]) == (k not in labels[kept])
        assert np.isnan(values[f"f1_{name}"]) == (k not in labels[kept])
        assert np.isnan(values[f"precision_{name}"]) == (k not in probs[kept].argmax(axis=1))
    both = len(set(labels[kept])) == 2
    for name, defined in (("balanced_accuracy", bool(present)), ("macro_f1", bool(present)), ("auroc", both)):
        assert np.isfinite(values[name]) == defined
    assert np.isfinite(values["auroc_malignant"]) == both
    assert (points["threshold_at_sensitivity_90"] is not None) == both


def test_probabilities_of_a_diverged_model_are_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        score(np.array([0, 1]), np.array([[0.2, 0.3, 0.5], [np.nan] * 3]))


def test_a_certain_mistake_has_a_finite_loss() -> None:
    loss = score(np.array([0]), np.array([[0.0, 1.0, 0.0]]))["log_loss"]
    assert loss == pytest.approx(reference.log_loss([0], [[0.0, 1.0, 0.0]], labels=[0, 1, 2]))


def test_calibration_error_equals_a_loop_over_bins() -> None:
    labels, probs = simulate(600, 4, 0.5)
    correct, confidence = labels == probs.argmax(axis=1), probs.max(axis=1)
    square = 0.0
    for rows in np.array_split(np.argsort(confidence), 15):
        accuracy, size = correct[rows].mean(), len(rows)
        gap = (confidence[rows].mean() - accuracy) ** 2 - accuracy * (1 - accuracy) / (size - 1)
        square += size / 600 * gap
    once = np.ones((1, 600), np.int64)
    assert calibration_error(correct, confidence, once) == pytest.approx(np.sqrt(square))


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_calibration_error_is_debiased_also_in_resamples(temperature: float) -> None:
    """Squared, the mean over resamples is near the estimate only if repeats are counted as such."""
    labels, probs = simulate(600, 5, temperature)
    correct, confidence = labels == probs.argmax(axis=1), probs.max(axis=1)
    once, groups = np.ones((1, 600), np.int64), np.arange(600)
    (estimate,) = calibration_error(correct, confidence, once)
    weights = resample(groups, None, 300, 0)
    rows = [np.repeat(groups, times) for times in weights]
    naive = np.mean([calibration_error(correct[i], confidence[i], once)[0] ** 2 for i in rows])
    aware = np.mean(calibration_error(correct, confidence, weights) ** 2)
    assert abs(aware - estimate**2) < 0.6 * abs(naive - estimate**2)
    found = bootstrap_groups(groups, lambda x: classification_metrics(labels, probs, x), num_resamples=300)
    value, low, high = found["calibration_error"]
    assert low <= value == estimate <= high


@pytest.mark.parametrize("scale", [0.3, 1.0, 3.0])
def test_calibration_slope_equals_unpenalized_scikit_learn(scale: float) -> None:
    rng = np.random.default_rng(6)
    logit = 2 * rng.normal(size=300) - 1
    truth = rng.random(300) < expit(logit)
    stated = np.clip(scale * logit, -15.942385, 15.942385)  # the logits of 1.2e-7 from 0 and 1
    model = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(stated[:, None], truth)
    (slope,) = calibration_slope(truth, expit(scale * logit), np.ones((1, 300), np.int64))
    assert slope == pytest.approx(model.coef_[0, 0], rel=1e-4)
    assert slope == pytest.approx(1 / scale, rel=0.3)


@pytest.mark.parametrize("truth", [[False, False, True, True], [True, True, False, False], [True] * 4])
def test_calibration_slope_is_undefined_when_separable(truth: list[bool]) -> None:
    once = np.ones((1, 4), np.int64)
    assert np.isnan(calibration_slope(np.array(truth), np.array([0.1, 0.2, 0.6, 1.0]), once)).all()


def test_calibration_slope_is_undefined_for_a_constant() -> None:
    once = np.ones((1, 3), np.int64)
    assert np.isnan(calibration_slope(np.array([True, False, True]), np.full(3, 0.4), once)).all()


TARGETS = [("specificity", 90), ("sensitivity", 90), ("sensitivity", 95)]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("digits", [8, 0])
@pytest.mark.parametrize(("target", "level"), TARGETS)
def test_operating_point_is_the_best_that_reaches_its_target(
    seed: int, digits: int, target: str, level: int
) -> None:
    labels, probs = simulate(150, seed, digits=digits)
    points = operating_points(labels, probs, labels, probs)
    other = "sensitivity" if target == "specificity" else "specificity"
    achieved = points[f"{target}_at_{target}_{level}"], points[f"{other}_at_{target}_{level}"]
    reachable = []
    for threshold in (*probs[:, MALIGNANT], 2.0):
        predicted = probs[:, MALIGNANT] >= threshold
        (tn, fp), (fn, tp) = reference.confusion_matrix(labels == MALIGNANT, predicted)
        rate = {"sensitivity": tp / (tp + fn), "specificity": tn / (tn + fp)}
        if rate[target] >= level / 100:
            reachable.append((rate[other], rate[target]))
    assert achieved == max(reachable)[::-1]


def test_thresholds_come_from_validation_alone() -> None:
    (val_labels, val_probs), (labels, probs) = simulate(150, 7), simulate(150, 8)
    points = operating_points(val_labels, val_probs, labels, probs)
    for changed in (simulate(60, 9), ((labels + 1) % 3, probs), (labels[:0], probs[:0])):
        others = operating_points(val_labels, val_probs, *changed)
        for target, level in TARGETS:
            name = f"{target}_{level}"
            assert others[f"threshold_at_{name}"] == points[f"threshold_at_{name}"]
            assert others[f"sensitivity_at_{name}"] != points[f"sensitivity_at_{name}"]
    predicted = probs[:, MALIGNANT] >= points["threshold_at_specificity_90"]
    assert points["sensitivity_at_specificity_90"] == predicted[labels == MALIGNANT].mean()
    assert points["specificity_at_specificity_90"] == (~predicted)[labels != MALIGNANT].mean()


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
