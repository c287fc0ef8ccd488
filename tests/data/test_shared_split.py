"""A split for several tools: the folds of training, and manifests that give their own."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from busi.core.tables import write_table
from busi.core.types import InputError
from busi.data.catalog import find_data
from busi.data.cohort import build_cohort
from busi.data.manifest import read_csv
from busi.data.shared_split import SharedSplit, share_split

ARGUMENTS: dict[str, Any] = {
    **{"leave_out": None, "num_folds": 3, "split_seed": 0, "conflicts": "drop", "exclude": None},
    **{"on_bad": "error", "need_masks": False, "subset": None},
}


@pytest.fixture
def split(shared_split: SharedSplit) -> SharedSplit:
    return shared_split


def test_the_splits_are_those_of_training_and_no_group_is_on_both_sides(
    split: SharedSplit, cache: Path
) -> None:
    for fold in range(3):
        trained = build_cohort(split.data.open(), cache_dir=cache, fold=fold, **ARGUMENTS)
        assert trained.splits == split.splits(fold)
        assert trained.split_fingerprint == split.cohort.split_fingerprint
        outside, groups = np.array(split.outside(fold)), split.cohort.groups
        assert not set(groups[outside]) & set(groups[split.cohort.folds == fold])
        # Nothing but the test fold, and what is dropped, is kept from training elsewhere.
        assert outside.tolist() == [x in ("train", "val") for x in split.splits(fold)]
    assert "conflict" in split.cohort.reasons


def test_one_fold_takes_all_images_and_needs_no_class_in_each(split: SharedSplit, cache: Path) -> None:
    whole = share_split(split.data, cache_dir=cache, num_folds=1)
    assert set(whole.cohort.folds.tolist()) == {-1, 0}
    assert (whole.cohort.folds < 0).tolist() == (split.cohort.folds < 0).tolist()


def write_folds(path: Path, split: SharedSplit, folds: Sequence[object]) -> Path:
    records = split.cohort.records
    rows = [
        {
            **{"id": one.id, "image": str(one.image), "mask": ";".join(map(str, one.masks))},
            **{"label": ("normal", "benign", "malignant")[one.label], "fold": fold},
        }
        for one, fold in zip(records, folds, strict=True)
    ]
    return write_table(path, rows)


def test_a_manifest_gives_folds_and_they_are_taken_unless_others_are_asked_for(
    split: SharedSplit, cache: Path, tmp_path: Path
) -> None:
    groups = split.cohort.groups
    own = write_folds(tmp_path / "m.csv", split, (groups % 4).tolist())
    data = find_data(str(own))
    given = share_split(data, cache_dir=cache)
    assert given.num_folds == 4
    by_id = {one.id: int(group) % 4 for one, group in zip(split.cohort.records, groups, strict=True)}
    for record, fold in zip(given.cohort.records, given.cohort.folds.tolist(), strict=True):
        assert fold in (-1, by_id[record.id])
    anew = share_split(data, cache_dir=cache, num_folds=3)
    assert {one.id: f for one, f in zip(anew.cohort.records, anew.cohort.folds.tolist(), strict=True)} == {
        one.id: f for one, f in zip(split.cohort.records, split.cohort.folds.tolist(), strict=True)
    }
    with pytest.raises(
        InputError, match=r"--folds published: .* no published split of 3 folds .*--num-folds 4"
    ):
        share_split(data, cache_dir=cache, num_folds=3, folds="published")


def test_folds_of_some_images_are_not_lost_silently(split: SharedSplit, cache: Path, tmp_path: Path) -> None:
    folds: list[object] = (split.cohort.groups % 4).tolist()
    folds[3], name = "", split.cohort.records[3].id
    data = find_data(str(write_folds(tmp_path / "m.csv", split, folds)))
    with pytest.raises(InputError) as error:
        share_split(data, cache_dir=cache)
    assert f"1 of {len(folds)} images have no fold ({name}), and the others have: give" in str(error.value)
    exclude = write_table(tmp_path / "exclude.csv", [{"id": name}])
    assert share_split(data, cache_dir=cache, exclude=exclude).num_folds == 4
    for anew in (
        share_split(data, cache_dir=cache, num_folds=3),
        share_split(data, cache_dir=cache, folds="grouped"),
    ):
        assert anew.num_folds in (3, 5)
    assert share_split(data, cache_dir=cache, num_folds=1).num_folds == 1
    alone = share_split(data, cache_dir=cache, num_folds=1, exclude=exclude).cohort
    place = [record.id for record in alone.records].index(name)
    assert (alone.reasons[place], alone.folds[place]) == ("excluded", -1)


@pytest.mark.parametrize(
    ("fold", "wrong"),
    [
        ("1", "no image is in fold 0, and the highest fold is 1: count folds from 0"),
        ("-1", "fold is not a whole number from 0 on"),
        ("first", "fold is not a whole number from 0 on"),
        ("1.5", "fold is not a whole number from 0 on"),
    ],
)
def test_wrong_folds_are_named(split: SharedSplit, tmp_path: Path, fold: str, wrong: str) -> None:
    path = write_folds(tmp_path / "m.csv", split, [fold] * len(split.cohort.records))
    try:
        _, problems = read_csv(path)
        text = problems[0].kind
    except InputError as error:
        text = str(error)
    assert wrong in text


def test_spreadsheets_write_folds_with_a_point_and_none_is_empty(split: SharedSplit, tmp_path: Path) -> None:
    folds = ["0.0", "1", ""] + ["2"] * (len(split.cohort.records) - 3)
    records, problems = read_csv(write_folds(tmp_path / "m.csv", split, folds))
    assert not problems
    found = {one.id: dict(one.published_folds) for one in records}
    ids = [one.id for one in split.cohort.records]
    assert [found[name] for name in ids[:4]] == [{3: 0}, {3: 1}, {}, {3: 2}]
