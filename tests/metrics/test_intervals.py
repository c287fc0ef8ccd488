"""Intervals of small samples: against other libraries, and by how often they hold the truth."""

import numpy as np
import pytest
from jaxtyping import Bool, Float, Int
from scipy.stats import binom, binomtest, norm

from busi.core import CLASSES
from busi.metrics.bootstrap import Weights, bootstrap_sources, mean_of
from busi.metrics.cases import AREA, BOUNDED, FREE, SHARE, Cases, Over, combine_sources, find_cases
from busi.metrics.classification import auroc, class_metrics
from busi.metrics.estimates import Estimate, Estimates, Values, average_sources
from busi.metrics.intervals import FEW, auroc_interval, difference_interval, holm, wilson
from busi.metrics.segmentation import segmentation_metrics

SIZES = (5, 10, 20, 50)


@pytest.mark.parametrize(("count", "number"), [(0, 5), (1, 12), (12, 12), (20, 50), (0, 1)])
def test_wilson_is_that_of_scipy(count: int, number: int) -> None:
    expected = binomtest(count, number).proportion_ci(method="wilson")
    assert wilson(count / number, float(number)) == pytest.approx((expected.low, expected.high))


@pytest.mark.parametrize("number", SIZES)
def test_a_share_is_held_about_as_often_as_it_says(number: int) -> None:
    """Exactly, over all counts: on average 95 %, and nowhere as rarely as resamples of no mistake."""
    limits = np.array([wilson(k / number, float(number)) for k in range(number + 1)])
    truths = np.linspace(0.01, 0.99, 99)
    chances = np.asarray(binom.pmf(np.arange(number + 1)[:, None], number, truths))
    held = ((limits[:, :1] <= truths) & (truths <= limits[:, 1:])) * chances
    coverage = held.sum(axis=0)
    assert coverage.mean() == pytest.approx(0.95, abs=0.02)
    assert coverage.min() > 0.82
    assert 1 - chances[0, 4] < 0.93  # what resamples could hold at most of a share of 0.05


def simulate_groups(rng: np.random.Generator, number: int) -> Int[np.ndarray, " n"]:
    """Groups of one to four images."""
    return np.repeat(np.arange(number), rng.integers(1, 5, number))


def shares_within(
    rng: np.random.Generator, groups: Int[np.ndarray, " n"], truth: float, alike: float
) -> Bool[np.ndarray, " n"]:
    """Outcomes of which a share `alike` is that of the whole group."""
    whole = rng.random(groups.max() + 1)[groups] < truth
    return np.where(rng.random(len(groups)) < alike, whole, rng.random(len(groups)) < truth)


@pytest.mark.parametrize("number", SIZES)
@pytest.mark.parametrize("alike", [0.0, 0.5, 1.0])
def test_a_share_is_held_in_clustered_data_however_alike_the_images_of_a_group_are(
    number: int, alike: float
) -> None:
    rng, coverage = np.random.default_rng(number), []
    for truth in (0.05, 0.2, 0.5, 0.95):
        held = 0
        for _ in range(120):
            groups = simulate_groups(rng, number)
            outcomes = shares_within(rng, groups, truth, alike)
            everyone = np.ones(len(groups), np.bool_)
            (effective,) = Over(SHARE, (everyone,)).count(groups, None, everyone).effective
            assert effective <= number
            low, high = wilson(float(outcomes.mean()), effective)
            held += low <= truth <= high
        coverage.append(held / 120)
    assert min(coverage) > 0.82
    assert np.mean(coverage) > 0.92


def estimate_share(outcomes: Bool[np.ndarray, " n"], groups: Int[np.ndarray, " n"], number: int) -> Estimates:
    everyone = np.ones(len(outcomes), np.bool_)

    def compute(here: Int[np.ndarray, " m"], weights: Weights) -> Values:
        return {"share": mean_of(outcomes[here], everyone[here], weights)}

    sources = np.full(len(outcomes), "a")
    return bootstrap_sources(sources, groups, compute, number, over={"share": Over(SHARE, (everyone,))})["a"]


@pytest.mark.parametrize("truth", [0.02, 0.3])
def test_the_interval_of_a_page_holds_the_truth_on_both_sides_of_its_switch(truth: float) -> None:
    """Of 60 groups: near 0 by their number, else by resamples."""
    rng, held = np.random.default_rng(3), 0
    for _ in range(80):
        groups = simulate_groups(rng, 60)
        found = estimate_share(shares_within(rng, groups, truth, 0.5), groups, 150)["share"]
        held += found.low <= truth <= found.high
    assert held / 80 >= 0.9


def test_the_interval_of_a_share_never_shrinks_to_a_point_and_few_groups_have_none() -> None:
    for number in (9, 10, 200):
        estimates = estimate_share(np.zeros(2 * number, np.bool_), np.arange(2 * number) // 2, 50)
        value, low, high = estimates["share"]
        assert (value, estimates.too_few("share")) == (0, number < FEW)
        if number < FEW:
            assert np.isnan([low, high]).all()
        else:
            assert (low, high) == pytest.approx(wilson(0.0, float(number)))
            narrow = estimates.at("share", 0.5)
            assert 0 < narrow.high < high


def test_one_large_group_counts_as_few() -> None:
    groups = np.concatenate([np.zeros(100, np.int64), np.arange(1, 20)])
    cases = Over(SHARE, (np.ones(119, np.bool_),)).count(groups, None, np.ones(119, np.bool_))
    assert (cases.images, cases.groups) == (119, 20)
    assert cases.effective[0] == pytest.approx(119**2 / (100**2 + 19))


@pytest.mark.parametrize("number", SIZES)
@pytest.mark.parametrize("area", [0.7, 0.97])
def test_an_area_is_held_also_where_pairs_of_images_are_alike(number: int, area: float) -> None:
    """Two normal distributions, whose area is known; twice as many negatives; images in alike pairs."""
    rng = np.random.default_rng([number, int(100 * area)])
    positive = np.repeat(np.arange(3 * number) < number, 2)
    groups = np.arange(6 * number) // 2
    over = Over(AREA, (positive, ~positive)).count(groups, None, np.ones(6 * number, np.bool_))
    assert over.effective == pytest.approx((number, 2 * number))
    once = np.ones((1, 6 * number), np.int64)
    held = perfect = 0
    for _ in range(80):
        scores = np.repeat(rng.normal(size=3 * number), 2) + 0.01 * rng.normal(size=6 * number)
        found = float(auroc(positive, scores + np.sqrt(2) * norm.ppf(area) * positive, once)[0])
        low, high = auroc_interval(found, *over.effective)
        perfect += found == 1
        held += low <= area <= high
        assert 0 <= low < high <= 1
    assert held / 80 >= 0.87
    assert perfect < 80


@pytest.mark.parametrize("area", [0.0, 0.3, 0.9, 1.0])
def test_the_interval_of_an_area_is_that_of_its_mirror_image_and_narrows(area: float) -> None:
    low, high = auroc_interval(area, 12.0, 30.0)
    assert auroc_interval(1 - area, 30.0, 12.0) == pytest.approx((1 - high, 1 - low), abs=1e-6)
    narrow = auroc_interval(area, 1200.0, 3000.0)
    assert low <= narrow[0] <= area <= narrow[1] <= high
    assert narrow[1] - narrow[0] < 0.2 * (high - low)


def test_shares_that_agree_on_each_image_differ_by_no_point() -> None:
    column = np.concatenate([[0.5], np.random.default_rng(0).normal(0.5, 0.05, 500)])
    one = Estimates({"share": column}, {"share": Cases(SHARE, 40, 40, (40.0,))})
    value, low, high = (one - one)["share"]
    assert value == 0
    assert [-low, high] == pytest.approx([wilson(0.0, 40.0)[1]] * 2)


def test_a_difference_has_the_interval_of_newcombe() -> None:
    """Proportions of the same cases: values that go together differ by less."""
    one, other = (Estimate(p, *wilson(p, 50.0)) for p in (49 / 50, 43 / 50))
    apart = difference_interval(one, other, 0.0)
    assert apart[0] < 0.12 < apart[1]
    together = difference_interval(one, other, 0.3)
    assert apart[0] < together[0] < 0.12 < together[1] < apart[1]
    assert difference_interval(other, one, 0.3) == pytest.approx((-together[1], -together[0]))


def test_two_perfect_models_are_not_known_to_be_equal() -> None:
    groups = np.arange(12)
    one, other = (estimate_share(np.ones(12, np.bool_), groups, 100) for _ in range(2))
    value, low, high = (one - other)["share"]
    assert value == 0
    assert (low, high) == pytest.approx((-(1 - wilson(1.0, 12.0)[0]), 1 - wilson(1.0, 12.0)[0]))
    fewer = estimate_share(np.ones(9, np.bool_), np.arange(9), 100)
    assert np.isnan((fewer - fewer)["share"].low)


def test_holm_is_that_of_the_paper() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_a_mean_over_sources_knows_as_much_as_its_sources() -> None:
    parts = [Cases(SHARE, 40, 20, (20.0,)), Cases(SHARE, 1000, 500, (500.0,))]
    both = combine_sources(parts)
    assert (both.images, both.groups) == (1040, 20)
    assert both.effective[0] == pytest.approx(1 / ((1 / 20 + 1 / 500) / 4))
    columns = {"x": np.array([1.0, 1.0, 1.0])}
    mean = average_sources([Estimates(columns, {"x": one}) for one in parts])
    assert mean["x"] == pytest.approx((1.0, *wilson(1.0, both.effective[0])))


def test_the_cases_of_a_metric_are_those_that_it_is_over() -> None:
    labels = np.repeat([0, 1, 2], [6, 20, 12])
    preds = np.repeat(CLASSES, [2, 20, 16])
    groups, everyone = np.arange(38) // 2, np.ones(38, np.bool_)
    columns = {"label": labels, "pred": preds, "area": np.where(labels, 5.0, 0.0)}
    found = {name: over.count(groups, None, everyone) for name, over in find_cases(columns).items()}
    assert {name: (one.images, one.groups) for name, one in found.items()} == {
        **dict.fromkeys(("accuracy", "brier", "log_loss", "calibration_error", "dice_all"), (38, 19)),
        **dict.fromkeys(("balanced_accuracy", "macro_f1", "auroc"), (38, 3)),
        **{"recall_normal": (6, 3), "recall_benign": (20, 10), "recall_malignant": (12, 6)},
        **{"f1_normal": (6, 3), "f1_benign": (20, 10), "f1_malignant": (12, 6)},
        **{"precision_normal": (2, 1), "precision_benign": (20, 10), "precision_malignant": (16, 8)},
        **{"auroc_normal": (38, 3), "auroc_benign": (38, 9), "auroc_malignant": (38, 6)},
        **{"calibration_slope": (38, 6), "normal_fp_rate": (6, 3)},
        **dict.fromkeys(("dice", "iou", "hd95", "lesion_miss_rate"), (32, 16)),
        **{"dice_benign": (20, 10), "dice_malignant": (12, 6)},
    }
    assert found["balanced_accuracy"].effective == pytest.approx((9 / (1 / 3 + 1 / 10 + 1 / 6),))
    assert found["auroc"].effective == pytest.approx((3, 16))
    assert found["hd95"].form == FREE
    once = np.ones((1, 38), np.int64)
    scores = {name: np.ones(38) for name in ("dice", "iou", "hd95", "pred_area")}
    given = {"label": labels, "area": labels * 1.0, **scores}
    assert (
        found.keys() >= segmentation_metrics(given, once).keys() | class_metrics(labels, labels, once).keys()
    )


def test_a_value_that_all_resamples_share_has_no_narrow_interval() -> None:
    """Masks that all miss have a Dice of 0; a distance that is always the same is no sign of certainty."""
    columns: dict[str, Float[np.ndarray, " d"]] = {"dice": np.zeros(9), "hd95": np.full(9, 7.0)}
    cases = {"dice": Cases(BOUNDED, 20, 20, (20.0,)), "hd95": Cases(FREE, 20, 20, (20.0,))}
    found = Estimates(columns, cases)
    assert found["dice"] == pytest.approx((0.0, *wilson(0.0, 20.0)))
    assert np.isnan(found["hd95"].low)
