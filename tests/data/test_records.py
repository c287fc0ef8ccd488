import os
from pathlib import Path

import numpy as np
import pytest

from busi.core.types import CLASSES, NORMAL, InputError
from busi.data.images import read_mask
from busi.data.records import file_name, read_busi
from tests.data.conftest import PER_CLASS, draw, lesion, save


def test_folder_gives_records_in_natural_order(root: Path) -> None:
    records, problems = read_busi(root)
    assert problems == []
    assert [record.id for record in records] == [
        f"{name} ({number})" for name in CLASSES for number in range(1, PER_CLASS + 1)
    ]


def test_masks_of_one_image_are_united(root: Path) -> None:
    second = np.zeros((72, 80), np.uint8)
    second[60:70, :10] = 255
    save(root / "benign" / "benign (1)_mask_1.png", second, "RGB")
    records, _ = read_busi(root)
    record = next(record for record in records if record.id == "benign (1)")
    assert [path.name for path in record.masks] == ["benign (1)_mask.png", "benign (1)_mask_1.png"]
    assert np.array_equal(read_mask(record, 72, 80) > 0, (lesion() > 0) | (second > 0))


def test_normal_image_has_the_empty_mask_whatever_its_file_says(root: Path) -> None:
    save(root / "normal" / "normal (1)_mask.png", lesion())
    records, _ = read_busi(root)
    assert records[0].label == NORMAL
    assert not read_mask(records[0], 72, 80).any()


def test_pattern_characters_in_a_name_are_only_characters(root: Path) -> None:
    for name in ("a[1]", "a*", "a1"):
        save(root / "benign" / f"{name}.png", draw(7))
        save(root / "benign" / f"{name}_mask.png", lesion())
    found = {record.id: [path.name for path in record.masks] for record in read_busi(root)[0]}
    assert found["a[1]"] == ["a[1]_mask.png"]
    assert found["a*"] == ["a*_mask.png"]


def test_missing_folder_says_how_to_get_data(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no data at .*data.root=.*BUSI_ROOT.*kaggle.*data=synthetic"):
        read_busi(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("benign", "bengin", "no folder 'benign': rename the folder 'bengin'"),
        ("normal", "Normal", "no folder 'normal': rename the folder 'Normal'"),
        ("normal", "../elsewhere", "no folder 'normal': make it"),
    ],
)
def test_misspelled_or_missing_class_folder_is_named(root: Path, old: str, new: str, words: str) -> None:
    (root / old).rename(root / new)
    with pytest.raises(InputError, match=words):
        read_busi(root)


def test_images_in_a_folder_that_is_no_class_are_not_passed_over(root: Path) -> None:
    (root / "unsure").mkdir()
    save(root / "unsure" / "x.png", draw(0))
    with pytest.raises(InputError, match="no class: 'unsure'"):
        read_busi(root)


def test_folder_above_the_data_is_recognized(root: Path) -> None:
    with pytest.raises(InputError, match=r"did you mean data.root=.*busi\?"):
        read_busi(root.parent)


def test_empty_class_folders_are_no_data(tmp_path: Path) -> None:
    for name in CLASSES:
        (tmp_path / name).mkdir()
    with pytest.raises(InputError, match="no images in"):
        read_busi(tmp_path)


def test_file_names_hold_no_separators() -> None:
    assert file_name("a/b\\c:d (1)") == "a_b_c_d (1)"


@pytest.mark.real
def test_real_folder_has_what_was_published() -> None:
    if "BUSI_ROOT" not in os.environ:
        pytest.skip("BUSI_ROOT is not set: the real data is not here")
    records, problems = read_busi(Path(os.environ["BUSI_ROOT"]))
    labels = [record.label for record in records]
    assert problems == []
    assert [labels.count(label) for label in range(3)] == [133, 437, 210]
    assert sum(len(record.masks) for record in records) == 798 - 133
    assert sum(len(record.masks) > 1 for record in records) == 17
