"""How the files to predict are found and named."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from busi.core.types import InputError
from busi.data.inputs import InputFile, find_inputs, read_items, unique_names
from tests.data.test_dicom import write

IMAGE = np.random.default_rng(1).integers(0, 256, (30, 41), np.uint8)


def find(*inputs: object, leave_out: Path = Path("/nowhere")) -> list[str]:
    return [file.id for file in find_inputs([str(text) for text in inputs], leave_out)]


def test_folders_patterns_and_files_are_found_once_without_annotations(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    for name in ("b (10).png", "b (2).png", "b (2)_mask.png", "b (2)_mask_1.png", "deep/c_mask.png", "x.txt"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")
    (folder / "out").mkdir()
    (folder / "out" / "old.png").write_bytes(b"x")
    write(folder / "scan", IMAGE)
    found = find(folder, folder / "b (2).png", folder / "*.png", leave_out=folder / "out")
    # c_mask.png has no image beside it, so that it is one.
    assert found == ["b (2)", "b (10)", "deep/c_mask", "scan"]


def test_annotations_of_another_format_or_case_are_passed_over(tmp_path: Path) -> None:
    for name in ("a.jpg", "a_mask.png", "b.PNG", "b_Mask_1.bmp", "C.png", "c_mask.png", "d_mask.jpg"):
        (tmp_path / name).write_bytes(b"x")
    assert find(tmp_path) == ["C", "a", "b", "d_mask"]
    assert find(tmp_path / "*.???") == ["C", "a", "b", "d_mask"]


def test_dicom_files_named_by_their_uid_are_found(tmp_path: Path) -> None:
    for name in ("1.2.840.1", "1.2.840.2", "DICOMDIR"):
        write(tmp_path / name, IMAGE)
    (tmp_path / "notes.1").write_text("text")
    assert find(tmp_path) == ["1.2.840.1", "1.2.840.2"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("gone", "does not exist"),
        (".", "has no images"),
        ("*.tif", "matches no file"),
        ("", "one of the inputs is empty"),
        (" ", "one of the inputs is empty"),
        ("~nobody-here/a.png", "there is no such home folder"),
        ("a" * 300, "does not exist"),
    ],
)
def test_inputs_that_mean_nothing_say_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=words):
        find(text)


def test_an_annotation_by_itself_is_called_one(tmp_path: Path) -> None:
    for name in ("a.png", "a_mask.png"):
        write(tmp_path / name, IMAGE)
    with pytest.raises(InputError, match="a_mask.png is named as an annotation of the image beside it"):
        find(tmp_path / "a_mask.png")


def test_files_that_may_hold_images_are_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("a.webp", "b.AVIF", "c.nii.gz", "d.nrrd", ".e.webp", "notes.txt"):
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(
        InputError, match=r"has no images \(4 files of a kind that is not read: .* and 1 more\): give"
    ):
        find(tmp_path)
    for name in ("x.jfif", "y.JPE", "y_mask.jfif"):
        Image.fromarray(IMAGE).save(tmp_path / name, "JPEG")
    assert find(tmp_path) == ["x", "y"]
    (line,) = caplog.messages
    assert line.startswith("Passed over 4 files of a kind that is not read: ")
    (item,) = read_items(find_inputs([str(tmp_path / "y.JPE")], Path("/nowhere"))[0])
    assert item.frame is not None


def test_images_in_the_folder_of_the_results_alone_are_none(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"x")
    with pytest.raises(InputError, match="lies in the folder of the results, .*: give another --output"):
        find(tmp_path, leave_out=tmp_path)


def test_links_are_followed_once_and_broken_ones_are_said(tmp_path: Path) -> None:
    for folder in ("in", "far"):
        (tmp_path / folder).mkdir()
        Image.fromarray(IMAGE).save(tmp_path / folder / f"{folder}.png")
    (tmp_path / "in" / "link").symlink_to("../far")
    (tmp_path / "in" / "again").symlink_to("../far")
    (tmp_path / "in" / "up").symlink_to("..")
    (tmp_path / "in" / "itself.png").symlink_to("itself.png")
    (tmp_path / "in" / "broken.png").symlink_to("gone.png")
    found = {file.id: file for file in find_inputs([str(tmp_path / "in")], tmp_path / "out")}
    assert sorted(name.partition("/")[2] or name for name in found) == ["broken", "far", "in", "itself"]
    for name in ("broken", "itself"):
        (item,) = read_items(found[name])
        assert item.frame is None
        assert item.error.startswith(f"cannot read {tmp_path / 'in' / name}.png: ")


def test_names_stay_apart_on_any_file_system() -> None:
    names = [Path(x) for x in ("a.png", "a.jpg", "A.png", "b.png", "c/b.png", "a.png")]
    found = unique_names(names)
    assert found == ["a.png", "a.jpg", "A.png (2)", "b", "c/b", "a.png (3)"]
    assert unique_names([Path("\u00e9.png"), Path("e\u0301.png")]) == ["\u00e9.png", "e\u0301.png (2)"]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["scan.tif", "scan [2].png"], ["scan", "scan [2].png"]),
        (["Scan.tif", "scan [2]"], ["Scan", "scan [2] (2)"]),
        (["scan.tif", "scan.png", "scan.tif [2].png"], ["scan.tif", "scan.png", "scan.tif [2].png"]),
        (["a.jpg", "a.png/b.png"], ["a.jpg", "a.png/b"]),
        (["a.tif", "a [3].png/b.png"], ["a.tif", "a [3].png/b"]),
        (["caf\udce9.png", "caf\udce8.png", "x\ny.png"], ["caf_.png", "caf_.png (2)", "x_y"]),
        (["-x.png", "a..png", "..png", ".png", "x .png"], ["-x", "a.", ".", ".png", "x "]),
    ],
)
def test_no_name_leads_to_the_file_or_folder_of_another(names: list[str], expected: list[str]) -> None:
    assert unique_names([Path(name) for name in names]) == expected


def test_outputs_of_any_names_are_different_files(tmp_path: Path) -> None:
    """Property: whatever the names, and however many images each file holds, nothing is overwritten."""
    rng = np.random.default_rng(0)
    parts = ["a", "a.png", "a [1]", "a [2]", "A.tif", "a [2].png", "a.png [2]", "a [1] [2]", "a.png (2)"]
    for trial in range(150):
        drawn = {
            "/".join(rng.choice(parts, rng.integers(1, 4))) + rng.choice(["", ".png", ".tif", ".jpg"])
            for _ in range(12)
        }
        folders = {folder for name in drawn for folder in Path(name).parents}
        names = [Path(name) for name in sorted(drawn) if Path(name) not in folders]  # as on a disk
        top = tmp_path / str(trial)
        for name in unique_names(names):
            for output in (f"{name}.png", f"{name} [1].png", f"{name} [2].png"):
                path = top / output.lower()  # as where case does not count
                path.parent.mkdir(parents=True, exist_ok=True)
                with path.open("x"):
                    pass
        assert sum(path.is_file() for path in top.rglob("*")) == 3 * len(names)


def test_long_names_are_cut_and_leave_room_for_a_suffix(tmp_path: Path) -> None:
    names = ["x" * 251 + ".png", "x" * 250 + "y.png", "\u00e9" * 125 + ".png", "a.png"]
    for name in names:
        Image.fromarray(IMAGE).save(tmp_path / name)
    found = find(tmp_path)
    assert len(set(found)) == 4
    assert "a" in found
    assert all(len(os.fsencode(f"{name} [1000].png")) <= 255 for name in found)


def test_file_that_vanishes_is_an_item_with_an_error(tmp_path: Path) -> None:
    (item,) = read_items(InputFile("a", tmp_path / "new\nline.png"))
    assert item.frame is None
    assert item.error == f"cannot read {tmp_path}/new\\nline.png: No such file or directory"
