"""Numbers over folds, on simulated runs whose truth is known."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.metrics import accuracy_score, roc_auc_score

from busi.core.types import CLASSES
from busi.reporting.pooling import Judged, estimate, judge, measure
from busi.runs.predictions import Predictions
from busi.runs.run import Run


def simulate(fold: int, seed: int, shift: float = 0.0, sharper: float = 2.0) -> Predictions:
    """A run whose logits are the truth made sharper; `shift` puts the scores of a fold on another scale."""
    rng = np.random.default_rng([fold, seed])
    number = 240
    logits = rng.normal([0.0, 1.0, 0.5], 1.5, (number, 3))
    labels = np.array([rng.choice(3, p=p) for p in softmax(logits, axis=1)])
    seen = logits * sharper + [0.0, 0.0, shift]
    columns = {
        "label": labels,
        "group": np.arange(number) // 2 + 1000 * fold,
        "fold": np.full(number, fold),
        "split": np.where(np.arange(number) < 120, "val", "test"),
        **{f"logit_{name}": seen[:, k] for k, name in enumerate(CLASSES)},
    }
    return Predictions(Run(Path("made"), {"fold": fold, "stage": "cls"}), columns)


def numbers(judged: Judged) -> dict[str, float]:
    """Of the pictures themselves."""
    return {name: float(x[0]) for name, x in measure(judged, np.ones((1, len(judged.labels)), int)).items()}


@pytest.fixture(scope="module")
def folds() -> list[Predictions]:
    return [simulate(fold, 0) for fold in range(5)]


def test_shares_are_over_all_pictures_and_ranking_is_averaged_over_folds(folds: list[Predictions]) -> None:
    judged = judge(folds)
    values = numbers(judged)
    assert values["accuracy"] == pytest.approx(accuracy_score(judged.labels, judged.probs.argmax(axis=1)))
    areas = [
        roc_auc_score(one.labels("test") == 2, judged.probs[judged.folds == one.fold, 2]) for one in folds
    ]
    assert values["auroc_malignant"] == pytest.approx(np.mean(areas))


def test_models_on_different_scales_are_not_mixed() -> None:
    """Shifting the malignant logit of some models changes no ranking within a fold."""
    plain = numbers(judge([simulate(fold, 0) for fold in range(4)]))
    shifted_folds = [simulate(fold, 0, shift=3.0 * (fold % 2)) for fold in range(4)]
    pooled = judge(shifted_folds)
    mixed = roc_auc_score(pooled.labels == 2, pooled.raw[:, 2])
    value = numbers(pooled)["auroc_malignant"]
    assert value is not None
    assert plain["auroc_malignant"] is not None
    assert value == pytest.approx(plain["auroc_malignant"], abs=0.06)
    assert value > mixed


def test_each_fold_refers_its_own_least_certain(folds: list[Predictions]) -> None:
    """A fold whose model is sure of everything refers as many pictures as the others."""
    judged = judge(folds)
    sure = replace(judged, probs=np.where((judged.folds == 0)[:, None], judged.probs**9, judged.probs))
    sure.probs[:] /= sure.probs.sum(axis=1, keepdims=True)
    for name, value in numbers(judged).items():
        if name.startswith("accuracy_referring"):
            assert numbers(sure)[name] == pytest.approx(value, abs=0.02)
            assert value > numbers(judged)["accuracy"]


def test_temperature_mends_what_was_too_sharp(folds: list[Predictions]) -> None:
    values = numbers(judge(folds))
    assert values["log_loss"] < values["raw_log_loss"]
    assert values["brier"] < values["raw_brier"]
    assert values["raw_calibration_slope"] == pytest.approx(0.5, abs=0.15)
    assert values["calibration_slope"] == pytest.approx(1.0, abs=0.25)


def test_test_labels_change_no_decision(folds: list[Predictions]) -> None:
    rng = np.random.default_rng(0)
    shuffled = []
    for one in folds:
        labels = one.columns["label"].copy()
        test = one.columns["split"] == "test"
        labels[test] = rng.permutation(labels[test])
        shuffled.append(replace(one, columns={**one.columns, "label": labels}))
    before, after = judge(folds), judge(shuffled)
    assert before.decisions == after.decisions
    assert np.array_equal(before.sets, after.sets)
    assert np.array_equal(before.probs, after.probs)
    for target, called in before.called.items():
        assert np.array_equal(called, after.called[target])
    assert not np.array_equal(before.labels, after.labels)


def test_conformal_sets_cover_about_what_they_should(folds: list[Predictions]) -> None:
    values = numbers(judge(folds))
    for name in CLASSES:
        assert values[f"coverage_{name}"] == pytest.approx(0.9, abs=0.06)
    assert 1 <= values["set_size"] <= 3


def test_intervals_hold_the_estimate(folds: list[Predictions]) -> None:
    drawn = estimate([judge(folds)], num_draws=100)
    for name in ("accuracy", "auroc_malignant", "brier", "coverage_benign", "sensitivity_at_specificity_90"):
        value, low, high = drawn[name]
        assert low < value < high


def test_a_better_arm_is_found_better(folds: list[Predictions]) -> None:
    """Noise on the logits makes an arm worse; the paired interval of the difference leaves out 0."""
    rng = np.random.default_rng(1)
    worse = []
    for one in folds:
        noisy = {
            name: x + rng.normal(0, 4, len(x)) if name.startswith("logit") else x
            for name, x in one.columns.items()
        }
        worse.append(replace(one, columns=noisy))
    apart = estimate([judge(folds)], num_draws=200) - estimate([judge(worse)], num_draws=200)
    assert 0 < apart["accuracy"].low < apart["accuracy"].value < apart["accuracy"].high


def test_a_subgroup_is_measured_as_if_it_were_all(folds: list[Predictions]) -> None:
    judged = judge(folds)
    kept = np.arange(len(judged.labels)) % 3 > 0
    part = estimate([judged], kept=kept, num_draws=0)
    right = judged.probs.argmax(axis=1) == judged.labels
    assert part["accuracy"].value == pytest.approx(right[kept].mean())
    assert part["brier"].value != numbers(judged)["brier"]


def test_a_class_that_validation_lacks_leaves_the_points_undefined_but_not_the_rest() -> None:
    one = simulate(0, 0)
    labels = one.columns["label"].copy()
    labels[(one.columns["split"] == "val") & (labels == 2)] = 1
    judged = judge([replace(one, columns={**one.columns, "label": labels})])
    assert not judged.called["sensitivity_90"].any()
    assert judged.thresholds[0]["sensitivity_90"] is None
    assert 0 < numbers(judged)["accuracy"] < 1
