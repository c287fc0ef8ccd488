import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from busi.core.types import BENIGN, CLASSES, NORMAL, InputError
from busi.data.class_folders import read_busi
from busi.data.masks import read_mask
from busi.data.records import annotations, file_name, join_rows
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


@pytest.mark.parametrize(
    ("image", "masks"),
    [
        ("x.jpg", ["x_mask.png"]),
        ("x.PNG", ["x_mask.png"]),
        ("x.png", ["x_mask.PNG"]),
        ("x.png", ["X_Mask.png"]),
        ("x.jpeg", ["x_MASK.bmp", "x_mask_1.tif", "x_mask_2.jpg"]),
        ("x.png", ["x_mask_1.png"]),
        ("x.png", ["x-mask.png", "x mask (1).png", "x_mask2.png"]),
    ],
)
def test_masks_of_another_format_or_case_are_found(root: Path, image: str, masks: list[str]) -> None:
    for name in (image, *masks):
        save(root / "benign" / name, draw(7))
    records, problems = read_busi(root)
    (record,) = (record for record in records if record.id == "x")
    assert problems == []
    assert record.image.name == image
    assert sorted(path.name for path in record.masks) == sorted(masks)
    assert len(records) == 3 * PER_CLASS + 1


def test_mask_goes_to_the_likest_of_several_images() -> None:
    assert annotations(["x.jpg", "X.png", "x_mask.png"]) == {"x_mask.png": "x.jpg"}
    assert annotations(["y.jpg", "y.png", "y_mask.png"]) == {"y_mask.png": "y.png"}
    assert annotations(["unmask.png", "mask.png", "z_mask.txt", "z.png"]) == {}


def test_what_training_would_pass_over_is_a_problem(root: Path) -> None:
    for name in (
        "lost_mask.png",
        "scan.heic",
        "film.gif",
        "phone.AVIF",
        "slicer.nrrd",
        "notes.txt",
        "._benign (1).png",
        ".DS_Store",
        "Thumbs.db",
    ):
        (root / "benign" / name).write_bytes(b"x")
    records, problems = read_busi(root)
    assert len(records) == 3 * PER_CLASS
    assert {(problem.kind, problem.file) for problem in problems} == {
        ("mask without an image", "lost_mask.png"),
        ("file that training does not read", "scan.heic"),
        ("file that training does not read", "film.gif"),
        ("file that training does not read", "phone.AVIF"),
        ("file that training does not read", "slicer.nrrd"),
    }


def test_images_in_a_folder_of_a_class_folder_are_not_passed_over(root: Path) -> None:
    (root / "benign" / "more").mkdir()
    save(root / "benign" / "more" / "x.png", draw(0))
    with pytest.raises(InputError, match=r"benign/more has images: move them to \S+/benign"):
        read_busi(root)


def test_names_of_any_bytes_give_ids_that_can_be_written(root: Path) -> None:
    for name in (b"caf\xe9", b"new\nline", "²".encode()):
        for suffix, image in ((b".png", draw(7)), (b"_mask.png", lesion())):
            with open(os.path.join(os.fsencode(root / "benign"), name + suffix), "wb") as file:  # noqa: PTH118, PTH123
                Image.fromarray(image).save(file, format="PNG")
    records, problems = read_busi(root)
    assert problems == []
    found = {record.id: record for record in records}
    for record_id in ("caf_", "new_line", "²"):
        assert read_mask(found[record_id], 72, 80).any()


def test_manifest_in_place_of_a_folder_says_what_to_add(root: Path) -> None:
    (root / "m.csv").write_text("image,label\n")
    with pytest.raises(InputError, match=r"m.csv is a file: for a manifest, add data=csv"):
        read_busi(root / "m.csv")


def test_missing_folder_says_how_to_get_data(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no data at .*data.root=.*BUSI_ROOT.*kaggle.*data=synthetic"):
        read_busi(tmp_path / "nowhere")
    with pytest.raises(InputError, match="no data at .*data.root="):
        read_busi(tmp_path / ("x" * 300))


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("benign", "bengin", r"no class: 'bengin'\..*rename .*--labels bengin=benign, .*{bengin: benign}"),
        ("malignant", "böse", r"no class: 'böse'\..*--labels böse=CLASS, "),
    ],
)
def test_folder_of_another_name_is_named(root: Path, old: str, new: str, words: str) -> None:
    (root / old).rename(root / new)
    with pytest.raises(InputError, match=words):
        read_busi(root)
    found = read_busi(root, {new.upper(): old})[0]
    assert [CLASSES[one.label] for one in found] == [name for name in CLASSES for _ in range(PER_CLASS)]


def test_class_folders_in_any_case_or_missing_are_read(root: Path) -> None:
    before = read_busi(root)[0]
    (root / "benign").rename(root / "Benign")
    assert [(one.id, one.label) for one in read_busi(root)[0]] == [(one.id, one.label) for one in before]
    (root / "normal").rename(root.parent / "elsewhere")
    assert read_busi(root)[1] == []
    assert [one.id for one in read_busi(root)[0]] == [one.id for one in before if one.label != NORMAL]


def test_several_folders_may_mean_one_class(root: Path) -> None:
    (root / "benign").rename(root / "cyst")
    (root / "fibroadenoma").mkdir()
    for name in ("benign (1).png", "benign (1)_mask.png"):
        (root / "cyst" / name).rename(root / "fibroadenoma" / name)
    records, problems = read_busi(root, {"cyst": "benign", "fibroadenoma": "benign"})
    assert problems == []
    assert len([one for one in records if one.label == BENIGN]) == PER_CLASS


def test_equal_names_in_two_folders_are_told_apart_by_their_folder(root: Path) -> None:
    for name in ("benign", "malignant"):
        save(root / name / "scan 1.png", draw(70 + len(name)))
        save(root / name / "scan 1_mask.png", lesion())
    records, problems = read_busi(root)
    assert problems == []
    assert len(records) == 3 * PER_CLASS + 2
    assert {"benign/scan 1", "malignant/scan 1", "normal/normal (1)"} <= {one.id for one in records}


def test_without_any_mask_nobody_annotated_the_lesions(root: Path) -> None:
    for path in root.glob("*/*_mask*.png"):
        path.unlink()
    records, problems = read_busi(root)
    assert problems == []
    assert [one.annotated for one in records] == [one.label == NORMAL for one in records]
    for name in ("benign (1)_seg.png", "benign (1) kopie.png", "other_1.png", "other_2.png"):
        save(root / "benign" / name, draw(0))
    records, problems = read_busi(root)
    assert {one.id for one in problems} == {"benign (1)_seg", "benign (1) kopie"}
    assert {one.kind.split(",")[0] for one in problems} == {"name of another image and a word"}
    assert {"other_1", "other_2", "benign (1)"} <= {one.id for one in records}


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


def test_file_names_of_long_ids_are_cut_and_stay_apart() -> None:
    names = [file_name("/".join(["x" * 100] * 9) + end) for end in ("a", "b", "é")]
    assert len(set(names)) == 3
    assert all(len(os.fsencode(f"{name}.png")) < 255 for name in names)
    assert file_name("x" * 200) == "x" * 200


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


def test_rows_with_the_same_word_are_joined() -> None:
    files = [f"cyst (row {row})" for row in range(2, 8)] + ["a.png", "cancer (row 9)", "b (1).png"]
    assert join_rows(files) == ["cyst (rows 2, 3, 4 and 3 more)", "a.png", "cancer (row 9)", "b (1).png"]
