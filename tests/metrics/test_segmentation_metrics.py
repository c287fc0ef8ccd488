"""Segmentation metrics against brute force, and where nothing is there to measure."""

import warnings

import numpy as np
import pytest
from jaxtyping import Bool
from scipy.ndimage import binary_erosion
from scipy.spatial.distance import cdist, directed_hausdorff
from sklearn.metrics import f1_score, jaccard_score

from busi.metrics.segmentation import dice, hd95, iou, segmentation_metrics

EMPTY = np.zeros((30, 40), dtype=np.bool_)


def disc(row: int, column: int, radius: int, shape: tuple[int, int] = (30, 40)) -> Bool[np.ndarray, "h w"]:
    y, x = np.ogrid[: shape[0], : shape[1]]
    return np.asarray((y - row) ** 2 + (x - column) ** 2 <= radius**2)


def mask_pairs() -> list[tuple[Bool[np.ndarray, "h w"], Bool[np.ndarray, "h w"]]]:
    rng = np.random.default_rng(0)
    pairs = [(rng.random((25, 31)) < p, rng.random((25, 31)) < q) for p in (0.01, 0.5) for q in (0.01, 0.9)]
    pairs += [(disc(12, 14, 6), disc(15, 25, 9)), (disc(0, 0, 5), disc(29, 39, 5))]
    pairs += [(disc(5, 5, 2) | disc(25, 30, 3), disc(6, 6, 3)), (~EMPTY, disc(10, 10, 4))]
    return pairs


def boundary_points(mask: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "n 2"]:
    return np.argwhere(mask & ~binary_erosion(mask))


@pytest.mark.parametrize(("pred", "mask"), mask_pairs())
def test_overlap_equals_scikit_learn(pred: Bool[np.ndarray, "h w"], mask: Bool[np.ndarray, "h w"]) -> None:
    assert dice(pred, mask) == pytest.approx(f1_score(mask.ravel(), pred.ravel()))
    assert iou(pred, mask) == pytest.approx(jaccard_score(mask.ravel(), pred.ravel()))


@pytest.mark.parametrize(("pred", "mask"), mask_pairs())
def test_hd95_equals_all_pairs_of_boundary_points(
    pred: Bool[np.ndarray, "h w"], mask: Bool[np.ndarray, "h w"]
) -> None:
    points, others = boundary_points(pred), boundary_points(mask)
    distances = cdist(points, others)
    expected = max(np.percentile(distances.min(axis=1), 95), np.percentile(distances.min(axis=0), 95))
    assert hd95(pred, mask) == pytest.approx(expected, rel=1e-5)
    assert hd95(pred, mask) == hd95(mask, pred)
    largest = max(directed_hausdorff(points, others)[0], directed_hausdorff(others, points)[0])
    assert hd95(pred, mask) <= largest + 1e-4


def test_a_shift_is_its_own_distance() -> None:
    one, other = EMPTY.copy(), EMPTY.copy()
    one[4, 5], other[7, 9] = True, True
    assert hd95(one, other) == pytest.approx(5.0)
    square = EMPTY.copy()
    square[10:20, 5:15] = True
    assert hd95(np.roll(square, 7, axis=1), square) == pytest.approx(7.0)


def test_perfect_and_disjoint_masks() -> None:
    mask = disc(10, 10, 4)
    assert (dice(mask, mask), iou(mask, mask), hd95(mask, mask)) == (1.0, 1.0, 0.0)
    assert dice(mask, disc(22, 30, 4)) == iou(mask, disc(22, 30, 4)) == 0.0


def test_empty_masks() -> None:
    mask = disc(10, 10, 4)
    assert dice(EMPTY, EMPTY) == iou(EMPTY, EMPTY) == 1.0
    assert dice(EMPTY, mask) == iou(mask, EMPTY) == 0.0
    assert hd95(EMPTY, mask) == 50.0  # the diagonal of 30 x 40
    assert np.isnan(hd95(mask, EMPTY))
    assert np.isnan(hd95(EMPTY, EMPTY))


def test_hd95_works_on_the_lesions_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Distances are computed inside the box around both masks, however large the image, and are the same."""
    from busi.metrics import segmentation

    sizes = []
    distance_to = segmentation._distance_to

    def noted(edge: Bool[np.ndarray, "h w"]) -> object:
        sizes.append(edge.shape)
        return distance_to(edge)

    monkeypatch.setattr(segmentation, "_distance_to", noted)
    small = disc(30, 40, 15, (60, 80)), disc(32, 38, 12, (60, 80))
    large = tuple(np.pad(mask, ((500, 40), (300, 420))) for mask in small)
    assert hd95(*large) == hd95(*small)
    assert sizes == [(31, 31)] * 4


COLUMNS = {
    "label": np.array([0, 0, 1, 1, 2]),
    "dice": np.array([1.0, 0.0, 0.8, 0.0, 0.5]),
    "iou": np.array([1.0, 0.0, 0.7, 0.0, 0.3]),
    "hd95": np.array([np.nan, np.nan, 4.0, 100.0, 10.0]),
    "area": np.array([0, 0, 500, 300, 900]),
    "pred_area": np.array([0, 40, 450, 20, 400]),
    "fold": np.array(["a", "b", "c", "d", "e"]),
}


def averages(columns: dict[str, np.ndarray]) -> dict[str, float]:
    """With every image once."""
    weights = np.ones((1, len(columns["label"])), np.int64)
    return {name: float(x[0]) for name, x in segmentation_metrics(columns, weights).items()}


def test_averages_of_a_small_table() -> None:
    assert averages(COLUMNS) == pytest.approx(
        {
            "dice": 1.3 / 3,
            "dice_benign": 0.4,
            "dice_malignant": 0.5,
            "dice_all": 2.3 / 5,
            "iou": 1 / 3,
            "hd95": 38.0,
            "normal_fp_rate": 0.5,
            "lesion_miss_rate": 1 / 3,
        }
    )


def test_lesion_numbers_ignore_normal_images() -> None:
    lesions = {name: column[2:] for name, column in COLUMNS.items()}
    whole, part = averages(COLUMNS), averages(lesions)
    assert {name for name in whole if whole[name] != part[name]} == {"dice_all", "normal_fp_rate"}
    assert np.isnan(part["normal_fp_rate"])
    assert part["dice_all"] == part["dice"]


@pytest.mark.parametrize("stop", [0, 2])
def test_what_is_undefined_is_nan_without_a_warning(stop: int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        values = averages({name: column[:stop] for name, column in COLUMNS.items()})
    defined = {name for name, value in values.items() if np.isfinite(value)}
    assert defined == (set() if stop == 0 else {"dice_all", "normal_fp_rate"})
