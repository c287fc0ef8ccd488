"""Metrics over folds, on simulated runs whose truth is known."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.metrics import accuracy_score, roc_auc_score

from busi.core.types import CLASSES
from busi.reporting.estimates import estimate, measure, subtract
from busi.reporting.pooling import Scored, score
from busi.runs.predictions import Predictions
from busi.runs.run import Run
from tests.made_runs import shuffle_test_labels


def simulate(fold: int, seed: int, shift: float = 0.0, sharper: float = 2.0) -> Predictions:
    """A run whose logits are the truth made sharper; `shift` puts the scores of a fold on another scale."""
    rng = np.random.default_rng([fold, seed])
    number = 240
    logits = rng.normal([0.0, 1.0, 0.5], 1.5, (number, 3))
    labels = np.array([rng.choice(3, p=p) for p in softmax(logits, axis=1)])
    stated = logits * sharper + [0.0, 0.0, shift]
    columns = {
        "label": labels,
        "source": np.full(number, "busi"),
        "group": np.arange(number) // 2 + 1000 * fold,
        "fold": np.full(number, fold),
        "split": np.where(np.arange(number) < 120, "val", "test"),
        **{f"logit_{name}": stated[:, k] for k, name in enumerate(CLASSES)},
    }
    return Predictions(Run(Path("simulated"), {"fold": fold, "stage": "cls"}), columns)


def metrics(scored: Scored) -> dict[str, float]:
    """Of the images themselves."""
    return {name: float(x[0]) for name, x in measure(scored, np.ones((1, len(scored.labels)), int)).items()}


@pytest.fixture(scope="module")
def folds() -> list[Predictions]:
    return [simulate(fold, 0) for fold in range(5)]


def test_accuracy_is_over_all_images_and_auroc_is_averaged_over_folds(folds: list[Predictions]) -> None:
    scored = score(folds)
    values = metrics(scored)
    assert values["accuracy"] == pytest.approx(accuracy_score(scored.labels, scored.probs.argmax(axis=1)))
    areas = [
        roc_auc_score(one.labels("test") == 2, scored.probs[scored.folds == one.fold, 2]) for one in folds
    ]
    assert values["auroc_malignant"] == pytest.approx(np.mean(areas))


def test_models_on_different_scales_are_not_mixed() -> None:
    """Shifting the malignant logit of some models changes no ranking within a fold."""
    plain = metrics(score([simulate(fold, 0) for fold in range(4)]))
    shifted_folds = [simulate(fold, 0, shift=3.0 * (fold % 2)) for fold in range(4)]
    pooled = score(shifted_folds)
    mixed = roc_auc_score(pooled.labels == 2, pooled.raw[:, 2])
    value = metrics(pooled)["auroc_malignant"]
    assert value is not None
    assert plain["auroc_malignant"] is not None
    assert value == pytest.approx(plain["auroc_malignant"], abs=0.06)
    assert value > mixed


def test_each_fold_defers_its_own_least_certain(folds: list[Predictions]) -> None:
    """A fold whose model is sure of everything defers as many images as the others."""
    scored = score(folds)
    sure = replace(scored, probs=np.where((scored.folds == 0)[:, None], scored.probs**9, scored.probs))
    sure.probs[:] /= sure.probs.sum(axis=1, keepdims=True)
    for name, value in metrics(scored).items():
        if name.startswith("selective_accuracy"):
            assert metrics(sure)[name] == pytest.approx(value, abs=0.02)
            assert value > metrics(scored)["accuracy"]


def test_temperature_corrects_overconfident_probabilities(folds: list[Predictions]) -> None:
    values = metrics(score(folds))
    assert values["log_loss"] < values["raw_log_loss"]
    assert values["brier"] < values["raw_brier"]
    assert values["raw_calibration_slope"] == pytest.approx(0.5, abs=0.15)
    assert values["calibration_slope"] == pytest.approx(1.0, abs=0.25)


def test_test_labels_change_no_calibration(folds: list[Predictions]) -> None:
    before, after = score(folds), score(shuffle_test_labels(folds))
    assert before.fitted == after.fitted
    assert np.array_equal(before.sets, after.sets)
    assert np.array_equal(before.probs, after.probs)
    for name, positive in before.predicted_positive.items():
        assert np.array_equal(positive, after.predicted_positive[name])
    assert not np.array_equal(before.labels, after.labels)


def test_conformal_sets_have_about_the_coverage_that_was_asked_for(folds: list[Predictions]) -> None:
    values = metrics(score(folds))
    for name in CLASSES:
        assert values[f"coverage_{name}"] == pytest.approx(0.9, abs=0.06)
    assert 1 <= values["set_size"] <= 3


def test_intervals_hold_the_estimate(folds: list[Predictions]) -> None:
    estimates = estimate([score(folds)], num_resamples=100)["busi"]
    for name in ("accuracy", "auroc_malignant", "brier", "coverage_benign", "sensitivity_at_specificity_90"):
        value, low, high = estimates[name]
        assert low < value < high


def test_a_better_guide_is_found_better(folds: list[Predictions]) -> None:
    """Noise on the logits makes a guide worse; the paired interval of the difference does not contain 0."""
    rng = np.random.default_rng(1)
    worse = []
    for one in folds:
        noisy = {
            name: x + rng.normal(0, 4, len(x)) if name.startswith("logit") else x
            for name, x in one.columns.items()
        }
        worse.append(replace(one, columns=noisy))
    apart = subtract(*(estimate([score(seed)], num_resamples=200) for seed in (folds, worse)))
    assert 0 < apart["accuracy"].low < apart["accuracy"].value < apart["accuracy"].high


def test_a_subgroup_is_measured_as_if_it_were_all(folds: list[Predictions]) -> None:
    scored = score(folds)
    kept = np.arange(len(scored.labels)) % 3 > 0
    part = estimate([scored], kept=kept, num_resamples=0)["busi"]
    right = scored.probs.argmax(axis=1) == scored.labels
    assert part["accuracy"].value == pytest.approx(right[kept].mean())
    assert part["brier"].value != metrics(scored)["brier"]


def test_a_class_that_validation_lacks_leaves_the_points_undefined_but_not_the_rest() -> None:
    one = simulate(0, 0)
    labels = one.columns["label"].copy()
    labels[(one.columns["split"] == "val") & (labels == 2)] = 1
    scored = score([replace(one, columns={**one.columns, "label": labels})])
    assert not scored.predicted_positive["sensitivity_90"].any()
    assert scored.fitted[0, "busi"].thresholds["sensitivity_90"] is None
    assert 0 < metrics(scored)["accuracy"] < 1


def test_precision_is_over_the_seed_that_predicts_a_class_least(folds: list[Predictions]) -> None:
    """Whichever seed comes first, one that predicts nearly no malignant image leaves nothing to claim."""
    usual = score(folds)
    never = score([simulate(fold, 0, shift=-6.0) for fold in range(5)])
    assert 0 < (never.probs.argmax(axis=1) == 2).sum() < 10 < (usual.probs.argmax(axis=1) == 2).sum()
    for seeds in ([usual, never], [never, usual]):
        found = estimate(seeds, num_resamples=20)["busi"]
        assert found.too_few("precision_malignant")
        assert np.isnan(found["precision_malignant"].low)
        assert not found.too_few("precision_benign")
