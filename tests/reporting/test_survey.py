"""What is measured on a data set, by cases whose answer is known."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from sklearn.model_selection import StratifiedShuffleSplit

from busi.core.types import BENIGN, MALIGNANT, NORMAL, Record
from busi.data.burned_in import count_strokes, has_burned_in
from busi.data.synthetic import draw_sample
from busi.reporting.survey import (
    ImageSummary,
    clusters,
    metadata_baseline,
    random_split_leak,
    repeated_masks,
    summarize_image,
)


def summary(height: int) -> ImageSummary:
    return ImageSummary(height, 100, "L", (), 0.1, False, np.full(16, 1 / 16))


def test_split_of_unique_images_leaks_nothing_and_of_pairs_almost_everything() -> None:
    labels = np.repeat([0, 1, 2], 40)
    assert random_split_leak(labels, np.arange(120)) == {"mean": 0.0, "sd": 0.0}
    pairs = np.repeat(np.arange(60), 2)
    found = random_split_leak(labels, pairs)
    assert found is not None
    assert found["mean"] == pytest.approx(32 / 39, abs=0.02)  # of the other 39 of its class 32 train
    assert 0 < found["sd"] < 0.2


@pytest.mark.parametrize("labels", [[0], [0, 1], [0, 0], [0, 0, 1, 1], [0, 0, 1, 1, 2, 2], [0] * 9 + [1]])
def test_leak_of_a_handful_of_images_is_known_or_none(labels: list[int]) -> None:
    found = random_split_leak(np.array(labels), np.zeros(len(labels), np.int64))
    assert found is None or found["mean"] == 1.0
    assert (found is None) == (labels != [0, 0])


def test_leak_is_what_a_loop_over_images_counts() -> None:
    rng = np.random.default_rng(0)
    labels, groups = rng.integers(0, 3, 60), rng.integers(0, 40, 60)
    shares = []
    for train, test in StratifiedShuffleSplit(5, test_size=0.2, random_state=0).split(labels, labels):
        seen = {groups[i] for i in train}
        shares.append(sum(groups[i] in seen for i in test) / len(test))
    found = random_split_leak(labels, groups, 5)
    assert found == pytest.approx({"mean": np.mean(shares), "sd": np.std(shares)})


def test_baseline_predicts_the_class_from_the_size() -> None:
    labels = np.repeat([0, 1, 2], 20)
    summaries = [summary(100 + 50 * int(label) + i % 3) for i, label in enumerate(labels)]
    results = metadata_baseline(summaries, labels, np.arange(60))
    assert results["grouped"]["accuracy"] == 1.0
    assert results["random"]["balanced_accuracy"] == 1.0


def test_near_duplicates_raise_the_score_of_random_folds_alone() -> None:
    """Sizes say nothing of the class, but each is shared by three near-duplicates of the same label."""
    rng = np.random.default_rng(1)
    groups = np.repeat(np.arange(60), 3)
    labels = rng.permutation(np.repeat([0, 1, 2], 20))[groups]
    sizes = rng.permutation(np.arange(200, 2000))[:60]
    results = metadata_baseline([summary(int(sizes[g])) for g in groups], labels, groups)
    assert results["random"]["accuracy"] > 0.8
    assert results["grouped"]["accuracy"] < 0.55


def test_too_few_groups_have_no_baseline() -> None:
    labels = np.repeat([0, 1, 2], 6)
    assert metadata_baseline([summary(100)] * 18, labels, np.repeat(np.arange(9), 2)) == {}


def test_clusters_are_the_groups_with_two_members_or_more() -> None:
    assert list(clusters(np.array([0, 1, 0, 2, 1, 3]))) == [[0, 2], [1, 4]]


def test_annotations_of_a_near_duplicate_agree_where_they_are_the_same(tmp_path: Path) -> None:
    """A crop of a frame with the same annotation agrees fully; one drawn half as wide does not."""
    sample = draw_sample(BENIGN, np.random.default_rng(3), 240)
    mask = np.any(sample.masks, axis=0)
    half = mask.copy()
    half[:, : int(np.flatnonzero(mask.any(axis=0)).mean())] = False
    records = []
    for name, image, annotation in (
        ("whole", sample.image, mask),
        ("crop", sample.image[8:, 10:], mask[8:, 10:]),
        ("other", sample.image[8:, 10:], half[8:, 10:]),
    ):
        path, mask_path = tmp_path / f"{name}.png", tmp_path / f"{name}_mask.png"
        Image.fromarray(image).save(path)
        Image.fromarray(annotation).save(mask_path)
        records.append(Record(name, path, (mask_path,), BENIGN))
    agreement = {(i, j): value for i, j, value in repeated_masks(records, np.zeros(3, np.int64))}
    assert agreement[0, 1] > 0.95
    assert 0.5 < agreement[0, 2] < 0.8
    assert agreement[1, 2] == pytest.approx(agreement[0, 2], abs=0.05)
    assert repeated_masks(records, np.arange(3)) == []


@pytest.mark.parametrize("seed", range(4))
def test_calipers_and_text_are_found_and_tissue_is_not(seed: int) -> None:
    rng = np.random.default_rng(seed)
    image = draw_sample(NORMAL, rng, 400).image
    dim = (image * 0.6).astype(np.uint8)
    assert not has_burned_in(dim)
    for x, y in ((100, 120), (180, 200), (120, 240)):
        cv2.line(dim, (x - 6, y), (x + 6, y), 255, 1)
        cv2.line(dim, (x, y - 6), (x, y + 6), 255, 1)
    assert has_burned_in(dim)
    texted = (image * 0.5).astype(np.uint8)
    cv2.putText(texted, "LEFT", (90, 300), cv2.FONT_HERSHEY_PLAIN, 1.0, 255, 1)
    assert count_strokes(texted) >= 2


def test_border_and_black_images_have_no_burned_in_annotations() -> None:
    image = np.zeros((200, 300), np.uint8)
    cv2.putText(image, "LOGO", (1, 8), cv2.FONT_HERSHEY_PLAIN, 0.5, 255, 1)
    assert count_strokes(np.zeros((50, 50), np.uint8)) == 0
    assert count_strokes(np.full((3, 3), 255, np.uint8)) == 0
    assert not has_burned_in(image)


def test_summary_agrees_with_the_files(tmp_path: Path) -> None:
    sample = draw_sample(MALIGNANT, np.random.default_rng(0), 72)
    Image.fromarray(sample.image).save(tmp_path / "x.png")
    path = tmp_path / "x_mask.png"
    Image.fromarray(sample.masks[0]).convert("1").save(path)
    record = Record("x", tmp_path / "x.png", (path,), MALIGNANT)
    found = summarize_image(record)
    with Image.open(record.image) as image, Image.open(path) as mask:
        assert (found.width, found.height, found.mode, found.mask_modes) == (
            *image.size,
            image.mode,
            (mask.mode,),
        )
        assert found.lesion_share == pytest.approx((np.asarray(mask.convert("L")) > 0).mean())
    assert found.histogram.sum() == pytest.approx(1)
