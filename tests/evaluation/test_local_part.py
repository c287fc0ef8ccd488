"""Which images calibrate: a share of the groups, or those of a manifest."""

import csv
from pathlib import Path

import numpy as np
import pytest

from busi.core.types import InputError, Record
from busi.data.class_folders import read_busi
from busi.data.cohort import Cohort
from busi.data.contents import read_contents
from busi.data.synthetic import make_synthetic
from busi.evaluation.local_part import SET_ASIDE, draw_share, set_aside


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Cohort:
    """Test images in groups of two."""
    root = make_synthetic(tmp_path_factory.mktemp("part") / "data", (24, 24, 24), 64, 3)
    records, contents, _ = read_contents(read_busi(root), cache)
    count = len(records)
    places = np.arange(count)
    return Cohort(records, contents, places // 2, places * 0, ["test"] * count, [""] * count, [], "")


def test_a_share_takes_whole_groups_of_each_class(cohort: Cohort, tmp_path: Path) -> None:
    made = set_aside(cohort, "0.4", 0, tmp_path)
    val, test = made.indices("val"), made.indices("test")
    assert not set(made.groups[val]) & set(made.groups[test])
    assert len(val) + len(test) == len(cohort.records)
    np.testing.assert_array_equal(np.bincount(made.labels()[val]), [10, 10, 10])
    assert made.splits == set_aside(cohort, "0.4", 0, tmp_path).splits
    assert made.splits != set_aside(cohort, "0.4", 1, tmp_path).splits
    assert made.splits == set_aside(cohort, f"{0.4 * len(cohort.records):.0f}", 0, tmp_path).splits


def test_a_group_of_several_classes_stays_whole_and_large_groups_do_not_swell_the_share() -> None:
    labels = [0, 0, 0, 0, 2, 2, 1, 1, 1, 1, 1, 1]
    groups = np.array([0, 0, 1, 1, 2, 2, 2, 3, 3, 4, 4, 5])
    records = [Record(f"{i}", Path("x"), (), label, source="a") for i, label in enumerate(labels)]
    for seed in range(20):
        drawn = draw_share(records, groups, 0.5, seed)
        assert all(len(set(drawn[groups == group].tolist())) == 1 for group in range(6))
        assert 1 <= drawn.sum() <= 9


def write_manifest(path: Path, records: list[Record], label: str = "") -> Path:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "label"])
        writer.writerows([r.image, label or r.image.parent.name] for r in records)
    return path


def test_a_manifest_names_images_by_their_pixels_and_their_groups_are_not_judged(
    cohort: Cohort, tmp_path: Path
) -> None:
    listed = [record for i, record in enumerate(cohort.records) if i % 2 == 0][:33]
    part = write_manifest(tmp_path / "part.csv", listed)
    part.write_text(part.read_text().replace(",malignant", ",Cancer"))
    made = set_aside(cohort, str(part), 0, tmp_path, {"cancer": "malignant"})
    assert {made.records[i].id for i in made.indices("val")} == {record.id for record in listed}
    beside = [i for i, why in enumerate(made.reasons) if why == SET_ASIDE]
    assert set(made.groups[beside]) <= set(made.groups[made.indices("val")])
    assert not set(made.groups[made.indices("test")]) & set(made.groups[made.indices("val")])
    assert len(beside) == 33


@pytest.mark.parametrize(
    ("part", "words"),
    [
        ("0", "a share between 0 and 1, e.g. 0.2, or a number of images from 2"),
        ("1", "a share between 0 and 1, e.g. 0.2, or a number of images from 2"),
        ("-0.2", "a share between 0 and 1, e.g. 0.2, or a number of images from 2"),
        ("nan", "a share between 0 and 1, e.g. 0.2, or a number of images from 2"),
        ("20.5", "a share between 0 and 1, e.g. 0.2, or a number of images from 2"),
        ("inf", "a share between 0 and 1, e.g. 0.2, or a number of images from 2"),
        ("72", "there are only 72 images"),
        ("900", "there are only 72 images"),
        ("missing.csv", "give a share, e.g. 0.2, a number of images, or a CSV file"),
        ("0.001", "no image is in it"),
        ("0.1", "and 9 of each class are needed: give a share of 0.42 or more"),
        ("0.99", "no image is left to judge"),
    ],
)
def test_a_wrong_part_says_what_to_give(cohort: Cohort, tmp_path: Path, part: str, words: str) -> None:
    with pytest.raises(InputError) as caught:
        set_aside(cohort, part, 0, tmp_path)
    assert words in str(caught.value)


def test_a_wrong_manifest_says_what_is_wrong(cohort: Cohort, tmp_path: Path) -> None:
    stranger = make_synthetic(tmp_path / "other", (10, 10, 10), 64, 9)
    others = read_busi(stranger)[0]
    seen = Cohort(
        *(cohort.records, cohort.contents, cohort.groups, cohort.folds),
        *(["dropped"] * len(cohort.records), ["seen"] * len(cohort.records), [], ""),
    )
    three = cohort.records[:3]
    for one, listed, label, words in (
        (cohort, [*three, *others[:2]], "", "2 of its 5 images are not in the data"),
        (cohort, three, "malignant", "normal (1) is normal in the data, and malignant here"),
        (cohort, three, "", "and 9 of each class are needed"),
        (cohort, cohort.records, "", "no image is left to judge"),
        (seen, three, "", "the model has seen them"),
    ):
        path = write_manifest(tmp_path / "part.csv", listed, label)
        with pytest.raises(InputError) as caught:
            set_aside(one, str(path), 0, tmp_path)
        assert words in str(caught.value)
