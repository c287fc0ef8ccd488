"""How well numbers tell a source, against scikit-learn, chance, and what is known of the data."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score, roc_auc_score
from sklearn.preprocessing import StandardScaler

from busi.metrics.probe import probe_sources


def test_numbers_are_those_of_sklearn() -> None:
    rng = np.random.default_rng(0)
    sources = np.array(["a"] * 150 + ["b"] * 60 + ["c"] * 90)
    features = (
        rng.normal(size=(300, 6)) + 0.7 * rng.normal(size=(3, 6))[np.unique(sources, return_inverse=True)[1]]
    )
    fitted = rng.random(300) < 0.5
    scaler = StandardScaler().fit(features[fitted])
    model = LogisticRegression(class_weight="balanced", max_iter=5000)
    model.fit(scaler.transform(features[fitted]), sources[fitted])
    probs, truth = model.predict_proba(scaler.transform(features[~fitted])), sources[~fitted]
    estimates = probe_sources(features, sources, np.arange(300), fitted, 50)
    expected = balanced_accuracy_score(truth, model.classes_[probs.argmax(axis=1)])
    assert estimates["balanced_accuracy"].value == pytest.approx(expected)
    assert estimates["auroc"].value == pytest.approx(roc_auc_score(truth, probs, multi_class="ovr"))
    for name in ("balanced_accuracy", "auroc"):
        value, low, high = estimates[name]
        assert low < value < high


def test_noise_is_at_chance_and_a_giveaway_is_not_however_unequal_the_sources() -> None:
    rng = np.random.default_rng(1)
    sources = np.array(["large"] * 900 + ["small"] * 100)
    fitted = rng.random(1000) < 0.5
    noise = rng.normal(size=(1000, 5))
    at_chance = probe_sources(noise, sources, np.arange(1000), fitted, 200)
    for name in ("balanced_accuracy", "auroc"):
        value, low, high = at_chance[name]
        assert value == pytest.approx(0.5, abs=0.12)
        assert low < 0.5 < high
    given = np.column_stack([noise, sources == "small", np.ones(1000)])  # and a constant
    told = probe_sources(given, sources, np.arange(1000), fitted, 20)
    assert told["balanced_accuracy"] == (1.0, 1.0, 1.0)
    assert told["auroc"] == (1.0, 1.0, 1.0)


def test_repeated_images_in_a_group_do_not_narrow_the_interval() -> None:
    rng = np.random.default_rng(2)
    sources = np.array(["a", "b"] * 60)
    features = rng.normal(size=(120, 3)) + 0.5 * (sources == "b")[:, None]
    fitted = np.arange(120) < 60
    four = [0] * 60 + [3] * 60  # the images that are judged stand there four times
    again = np.repeat(np.arange(120), np.array(four) + 1)
    once = probe_sources(features, sources, np.arange(120), fitted, 200)
    repeated = probe_sources(features[again], sources[again], again, fitted[again], 200)
    for name in ("balanced_accuracy", "auroc"):
        assert repeated[name] == pytest.approx(once[name])
