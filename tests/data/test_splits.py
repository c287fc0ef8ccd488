import numpy as np
import pytest
from jaxtyping import Int

from busi.core.types import InputError
from busi.data.splits import assign_folds, check_class_sizes, fingerprint, name_splits

Ints = Int[np.ndarray, " n"]


def random_records(seed: int, size: int = 300) -> tuple[list[str], Ints, Ints]:
    rng = np.random.default_rng(seed)
    groups = rng.integers(0, size * 3 // 4, size)
    return [f"p{i:03d}" for i in range(size)], rng.choice(3, size, p=[0.2, 0.5, 0.3]), groups


@pytest.mark.parametrize("seed", range(5))
def test_groups_stay_together_and_classes_are_spread(seed: int) -> None:
    ids, labels, groups = random_records(seed)
    folds = assign_folds(ids, labels, groups, 5, seed)
    assert all(len(set(folds[groups == group])) == 1 for group in groups)
    assert set(folds) == set(range(5))
    for label in range(3):
        share = [np.mean(folds[labels == label] == fold) for fold in range(5)]
        assert max(share) - min(share) < 0.05


@pytest.mark.parametrize("seed", range(5))
def test_order_of_images_and_numbers_of_groups_do_not_matter(seed: int) -> None:
    ids, labels, groups = random_records(seed)
    folds = assign_folds(ids, labels, groups, 5, 0)
    rng = np.random.default_rng(seed)
    order, names = rng.permutation(len(ids)), rng.permutation(groups.max() + 1)
    shuffled = assign_folds([ids[i] for i in order], labels[order], names[groups[order]], 5, 0)
    assert np.array_equal(shuffled, folds[order])


def test_seed_changes_the_assignment() -> None:
    ids, labels, groups = random_records(0)
    first, again, other = (assign_folds(ids, labels, groups, 5, seed) for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_class_smaller_than_the_number_of_folds_is_an_error() -> None:
    labels, groups = np.array([0] * 10 + [1] * 10), np.array([0, 1, 2] * 3 + [0] + list(range(10, 20)))
    with pytest.raises(InputError, match="class normal has 3 groups of images, fewer than the 5 folds"):
        check_class_sizes(labels, groups, 5)


def test_fewer_groups_than_folds_are_dealt_out_whole() -> None:
    """A small hospital beside a large one has images enough, and patients too few."""
    groups = np.repeat([3, 7, 1, 5], 4)
    folds = assign_folds([f"{i:02}" for i in range(16)], np.ones(16, np.int64), groups, 5, 0)
    assert all(len(set(folds[groups == group])) == 1 for group in groups)
    assert len(set(folds)) == 4


def test_each_fold_is_tested_once_and_validates_once() -> None:
    folds = np.array([0, 1, 2, 3, 4, -1])
    names = [name_splits(folds, fold, 5) for fold in range(5)]
    for position in range(5):
        column = [row[position] for row in names]
        assert (column.count("test"), column.count("val"), column.count("train")) == (1, 1, 3)
        assert column.index("val") == (column.index("test") - 1) % 5
    assert all(row[5] == "dropped" for row in names)


def test_fingerprint_is_of_the_rows_and_not_of_their_order() -> None:
    rows: list[list[object]] = [["a", 1], ["b", 2]]
    assert fingerprint(rows) == fingerprint(rows[::-1])
    assert fingerprint(rows) != fingerprint([["a", 2], ["b", 1]])
