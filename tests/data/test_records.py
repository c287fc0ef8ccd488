import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from busi.core.types import BENIGN, CLASSES, NORMAL, InputError
from busi.data.records import file_name, pixel_hash, read_busi, read_csv, read_gray, read_mask
from tests.data.conftest import PER_CLASS, draw, lesion, save


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "LA", "P"])
def test_modes_of_a_gray_picture_decode_to_the_same_pixels(tmp_path: Path, mode: str) -> None:
    picture = draw(0)
    decoded = read_gray(save(tmp_path / "x.png", picture, mode))
    assert np.array_equal(decoded, picture)
    assert pixel_hash(decoded) == pixel_hash(picture)


def test_one_bit_and_sixteen_bit_pictures_use_the_full_range(tmp_path: Path) -> None:
    binary = (draw(0) > 128).astype(np.uint8) * np.uint8(255)
    assert np.array_equal(read_gray(save(tmp_path / "1.png", binary, "1")), binary)
    wide = draw(0).astype(np.uint16) * np.uint16(257)
    Image.fromarray(wide).save(tmp_path / "16.png")
    assert np.array_equal(read_gray(tmp_path / "16.png"), draw(0))


def test_hash_depends_on_the_shape_and_on_every_pixel() -> None:
    picture = draw(0)
    other = picture.copy()
    other[3, 4] ^= 1
    assert len({pixel_hash(picture), pixel_hash(other), pixel_hash(picture.reshape(80, 72))}) == 3


@pytest.mark.parametrize("content", [b"", b"no picture", None])
def test_damaged_file_is_an_error(tmp_path: Path, content: bytes | None) -> None:
    path = save(tmp_path / "x.png", draw(0))
    path.write_bytes(path.read_bytes()[:400] if content is None else content)
    with pytest.raises(InputError, match="cannot read"):
        read_gray(path)


def test_folder_gives_records_in_natural_order(root: Path) -> None:
    records, problems = read_busi(root)
    assert problems == []
    assert [record.id for record in records] == [
        f"{name} ({number})" for name in CLASSES for number in range(1, PER_CLASS + 1)
    ]


def test_masks_of_one_picture_are_united(root: Path) -> None:
    second = np.zeros((72, 80), np.uint8)
    second[60:70, :10] = 255
    save(root / "benign" / "benign (1)_mask_1.png", second, "RGB")
    records, _ = read_busi(root)
    record = next(record for record in records if record.id == "benign (1)")
    assert [path.name for path in record.masks] == ["benign (1)_mask.png", "benign (1)_mask_1.png"]
    assert np.array_equal(read_mask(record, 72, 80) > 0, (lesion() > 0) | (second > 0))


def test_normal_picture_has_the_empty_mask_whatever_its_file_says(root: Path) -> None:
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
    with pytest.raises(InputError, match=r"no data at .*data.root=.*BUSI_ROOT.*kaggle.*data=phantom"):
        read_busi(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("benign", "bengin", "no folder 'benign': rename the folder 'bengin'"),
        ("normal", "Normal", "no folder 'normal': rename the folder 'Normal'"),
        ("normal", "../elsewhere", "no folder 'normal': make it"),
    ],
)
def test_misspelt_or_missing_class_folder_is_named(root: Path, old: str, new: str, words: str) -> None:
    (root / old).rename(root / new)
    with pytest.raises(InputError, match=words):
        read_busi(root)


def test_pictures_in_a_folder_that_is_no_class_are_not_passed_over(root: Path) -> None:
    (root / "unsure").mkdir()
    save(root / "unsure" / "x.png", draw(0))
    with pytest.raises(InputError, match="no class: 'unsure'"):
        read_busi(root)


def test_folder_above_the_data_is_recognised(root: Path) -> None:
    with pytest.raises(InputError, match=r"did you mean data.root=.*busi\?"):
        read_busi(root.parent)


def test_empty_class_folders_are_no_data(tmp_path: Path) -> None:
    for name in CLASSES:
        (tmp_path / name).mkdir()
    with pytest.raises(InputError, match="no pictures in"):
        read_busi(tmp_path)


def write_manifest(root: Path, text: str) -> Path:
    path = root / "manifest.csv"
    path.write_text(text)
    return path


def test_manifest_paths_are_relative_to_it(root: Path) -> None:
    manifest = write_manifest(
        root,
        "image,mask,label,group\n"
        "benign/benign (1).png,benign/benign (1)_mask.png; benign/benign (2)_mask.png,Benign,p7\n"
        "normal/normal (1).png,,normal,\n"
        "malignant/malignant (1).png,,malignant,p8\n",
    )
    records, problems = read_csv(manifest)
    assert problems == []
    found = {record.id: record for record in records}
    benign = found["benign/benign (1)"]
    assert (benign.label, benign.patient, len(benign.masks)) == (BENIGN, "p7", 2)
    assert all(path.is_file() for record in records for path in (record.image, *record.masks))
    assert found["normal/normal (1)"].annotated
    assert not found["malignant/malignant (1)"].annotated


def test_manifest_needs_no_masks_and_no_groups(root: Path) -> None:
    records, _ = read_csv(write_manifest(root, "image,label\nbenign/benign (1).png,benign\n"))
    assert (records[0].masks, records[0].patient) == ((), None)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "needs the columns image and label"),
        ("image,label\n", "needs the columns image and label"),
        ("file,label\na.png,benign\n", "needs the columns image and label"),
        ("image,label\na.png,benign\na.jpg,benign\n", "two pictures have the id 'a'"),
        ("image,label\na/b.png,benign\na_b.png,benign\n", "two pictures have the id"),
    ],
)
def test_unusable_manifest_is_an_error(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        read_csv(write_manifest(tmp_path, text))


def test_missing_manifest_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no manifest at"):
        read_csv(tmp_path / "x.csv")


def test_unknown_label_is_a_problem_of_its_row(root: Path) -> None:
    text = "image,label\nbenign/benign (1).png,benign\nbenign/benign (2).png,begnin\n"
    records, (problem,) = read_csv(write_manifest(root, text))
    assert len(records) == 1
    assert (problem.kind, problem.file) == ("label is none of normal, benign, malignant", "begnin")


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
