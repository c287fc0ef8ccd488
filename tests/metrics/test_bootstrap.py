"""Resamples of whole groups, and intervals against simulation."""

import warnings
from collections.abc import Callable

import numpy as np
import pytest
from jaxtyping import Float, Int

from busi.metrics.bootstrap import Weights, bootstrap_groups, bootstrap_sources, mean_of, resample
from busi.metrics.estimates import Estimates, Values, average, average_sources


def test_a_resample_is_whole_groups_within_strata() -> None:
    rng = np.random.default_rng(10)
    groups = rng.permutation(np.repeat(np.arange(40), rng.integers(1, 5, size=40)))
    strata = groups % 3
    sizes = np.bincount(groups)
    frequency = np.zeros(40)
    for times in resample(groups, strata, 500, 0):
        for group in range(40):
            assert len(set(times[groups == group])) == 1
        repeats = np.bincount(groups, times).astype(np.int64) // sizes
        assert [repeats[k::3].sum() for k in range(3)] == [14, 13, 13]
        frequency += repeats
    assert frequency / 500 == pytest.approx(np.ones(40), abs=0.2)


def mean(values: Float[np.ndarray, " n"]) -> Callable[[Weights], Values]:
    return lambda weights: {"mean": mean_of(values, np.ones(len(values), np.bool_), weights)}


def test_resamples_repeat_with_the_seed_and_the_interval_grows_with_the_level() -> None:
    values, groups = np.random.default_rng(11).normal(size=200), np.arange(200) // 2
    estimates = bootstrap_groups(groups, mean(values), num_resamples=300)
    first, narrow = estimates["mean"], estimates.at("mean", 0.5)
    assert first == bootstrap_groups(groups, mean(values), num_resamples=300)["mean"]
    assert first != bootstrap_groups(groups, mean(values), num_resamples=300, seed=1)["mean"]
    assert first.value == pytest.approx(values.mean())
    assert first.low < narrow.low < values.mean() < narrow.high < first.high


def test_repeated_images_in_a_group_do_not_narrow_the_interval() -> None:
    values = np.random.default_rng(12).normal(size=60)
    groups = np.arange(60)
    once = bootstrap_groups(groups, mean(values), num_resamples=300)["mean"]
    repeated = bootstrap_groups(np.tile(groups, 4), mean(np.tile(values, 4)), num_resamples=300)["mean"]
    assert repeated == pytest.approx(once)


def test_equal_samples_are_resampled_alike_so_that_differences_are_paired() -> None:
    """Noise that two models share does not widen the interval of their difference."""
    rng = np.random.default_rng(13)
    shared, own = rng.normal(size=60), 0.1 * rng.normal(size=60)
    one, other = (bootstrap_groups(np.arange(60), mean(x), num_resamples=200) for x in (shared, shared + own))
    assert (one - one)["mean"] == (0.0, 0.0, 0.0)
    apart = (other - one)["mean"]
    assert apart.value == pytest.approx(own.mean())
    assert apart.high - apart.low < 0.2 * (one["mean"].high - one["mean"].low)


def test_the_average_is_taken_resample_by_resample() -> None:
    one, other = (
        Estimates({"a": np.array(x), "b": np.array([y, 1.0])})
        for x, y in (([1.0, 3.0], 1.0), ([2.0, 6.0], np.nan))
    )
    both = average([one, other]).columns
    np.testing.assert_array_equal(both["a"], [1.5, 4.5])
    np.testing.assert_array_equal(both["b"], [np.nan, 1.0])


def test_rarely_defined_metrics_have_no_interval() -> None:
    def compute(weights: Weights) -> Values:
        first, nan = weights[:, 0] > 0, np.full(len(weights), np.nan)
        return {
            "never": nan,
            "rarely": np.where(weights[:, 0] > 2, 1.0, nan),
            "mostly": np.where(first, 2.0, nan),
        }

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        estimates = bootstrap_groups(np.arange(10), compute, num_resamples=100)
    assert np.isnan([*estimates["never"], *estimates["rarely"]]).all()
    assert estimates["mostly"] == (2.0, 2.0, 2.0)


def test_a_mean_over_nothing_is_undefined_without_a_warning() -> None:
    kept, weights = np.array([True, False]), np.array([[0, 3], [2, 0]])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(mean_of(np.array([4.0, np.nan]), kept, weights), [np.nan, 4.0])


def test_a_group_in_two_strata_is_refused() -> None:
    with pytest.raises(ValueError, match="more than one stratum"):
        bootstrap_groups(np.array([0, 0, 1]), mean(np.ones(3)), strata=np.array([0, 1, 1]))


def test_interval_covers_the_truth_as_often_as_it_says() -> None:
    """Grouped data with group effects in two strata: 95 % intervals hold the mean in 92-97 % of the sets."""
    rng = np.random.default_rng(14)
    covered = ignoring = 0
    for _ in range(400):
        groups = np.repeat(np.arange(120), rng.integers(1, 5, size=120))
        values = rng.normal(size=120)[groups] + 0.5 * rng.normal(size=len(groups))
        estimate = bootstrap_groups(groups, mean(values), groups % 2, num_resamples=400)["mean"]
        covered += estimate.low <= 0 <= estimate.high
        estimate = bootstrap_groups(np.arange(len(groups)), mean(values), num_resamples=100)["mean"]
        ignoring += estimate.low <= 0 <= estimate.high
    assert 0.92 <= covered / 400 <= 0.97
    assert ignoring / 400 < 0.88  # without the groups intervals are too narrow


def by_place(values: Float[np.ndarray, " n"]) -> Callable[[Int[np.ndarray, " m"], Weights], Values]:
    return lambda places, weights: mean(values[places])(weights)


def test_one_source_is_resampled_as_if_nobody_had_said_so() -> None:
    values, groups = np.random.default_rng(20).normal(size=90), np.arange(90)[::-1] // 3 * 7
    alone = bootstrap_groups(groups, mean(values), num_resamples=50)
    (only,) = bootstrap_sources(np.array(["a"] * 90), groups, by_place(values), 50).values()
    np.testing.assert_array_equal(only.columns["mean"], alone.columns["mean"])
    np.testing.assert_array_equal(average_sources([only]).columns["mean"], alone.columns["mean"])


def test_mean_over_sources_is_as_certain_as_independent_sources_make_it() -> None:
    """The variance of a mean of independent means, also where two sources have equal numbers of groups."""
    rng = np.random.default_rng(21)
    sources, values = np.array(["a", "b"] * 80), rng.normal(size=160)
    values[1::2] += 5
    found = bootstrap_sources(sources, np.arange(160), by_place(values), 2000)
    assert list(found) == ["a", "b"]
    whole = average_sources(list(found.values()))
    assert whole["mean"].value == pytest.approx((values[::2].mean() + values[1::2].mean()) / 2)
    spread = {name: one.columns["mean"][1:].std() for name, one in found.items()}
    assert spread["a"] == pytest.approx(values[::2].std() / np.sqrt(80), rel=0.1)
    expected = np.hypot(spread["a"], spread["b"]) / 2
    assert whole.columns["mean"][1:].std() == pytest.approx(expected, rel=0.1)


def test_group_that_two_sources_share_is_resampled_whole_in_each() -> None:
    sources, groups = np.array(["a", "a", "b", "b", "b"]), np.array([0, 0, 0, 1, 1])
    seen: list[Weights] = []

    def note(places: Int[np.ndarray, " m"], weights: Weights) -> Values:
        del places
        seen.append(weights)
        return {"sum": weights.sum(axis=1).astype(np.float64)}

    bootstrap_sources(sources, groups, note, 40)
    assert (seen[0][:, 0] == seen[0][:, 1]).all()
    assert (seen[1][:, 1] == seen[1][:, 2]).all()
    assert (seen[0] == 1).all()
    assert (seen[1][1:, 0] != 1).any()


def test_source_without_a_metric_is_left_out_of_its_mean() -> None:
    without, partly, always = (
        Estimates({"x": np.array(x)}) for x in ([np.nan, 1, 1], [2.0, np.nan, 4.0], [4.0, 6.0, 8.0])
    )
    np.testing.assert_array_equal(average_sources([without, partly, always]).columns["x"], [3, np.nan, 6])
    np.testing.assert_array_equal(average_sources([without]).columns["x"], [np.nan, 1, 1])
