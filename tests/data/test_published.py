"""What the readers of published data sets have in common, and what is special in those without a table."""

import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from busi.core import BENIGN, CLASSES, InputError, printable
from busi.data.breast import read_breast
from busi.data.buid import read_buid
from busi.data.bus_uc import read_bus_uc
from busi.data.busbra import read_busbra
from busi.data.busuclm import read_busuclm
from busi.data.catalog import find_data
from busi.data.class_folders import read_busi
from busi.data.composing import compose_data
from busi.data.contents import read_contents
from busi.data.masks import read_mask
from busi.data.records import Problem, Reading, WrongLayout, file_name, natural
from tests.data.conftest import draw, lesion, save
from tests.data.published import (
    BREAST_IMAGES,
    split,
    write_breast,
    write_buid,
    write_bus_uc,
    write_busbra,
    write_busuclm,
)


@dataclass(frozen=True)
class Set:
    """A reader, and what it is tried on."""

    read: Callable[..., Reading]
    write: Callable[[Path], Path]
    images: str
    """A folder of images."""
    image: str
    """A file there."""
    mask: str
    """Its mask, from the root."""
    num: int
    url: str


BUSBRA = ("Images", "bus_0002-l.png", "Masks/mask_0002-l.png", 24, "zenodo")
BUSUCLM = ("images", "ALWI_001.png", "masks/ALWI_001.png", 11, "mendeley")
BREAST = (BREAST_IMAGES, "case077.png", f"{BREAST_IMAGES}/case077_tumor.png", 5, "cancerimagingarchive")
BUID = ("Benign", "2 Benign Image.bmp", "Benign/2 Benign Mask.tif", 6, "qamebi")
BUS_UC = ("Benign/images", "002.png", "Benign/masks/002.png", 6, "mendeley")
SETS = {
    "busbra": Set(read_busbra, write_busbra, *BUSBRA),
    "busuclm": Set(read_busuclm, write_busuclm, *BUSUCLM),
    "breast": Set(read_breast, write_breast, *BREAST),
    "buid": Set(read_buid, write_buid, *BUID),
    "bus_uc": Set(read_bus_uc, write_bus_uc, *BUS_UC),
}


@pytest.fixture(params=SETS)
def one(request: pytest.FixtureRequest) -> Set:
    return SETS[request.param]


@pytest.fixture
def folder(one: Set, tmp_path: Path) -> Path:
    return one.write(tmp_path / "data")


def kinds(reading: Reading) -> set[tuple[str, str]]:
    return {(problem.id, problem.kind) for problem in reading[1]}


def name_of(one: Set) -> str:
    return next(name for name, known in SETS.items() if known is one)


def test_records_are_complete_in_order_and_of_one_source(one: Set, folder: Path) -> None:
    records, problems = one.read(folder)
    assert problems == []
    assert len(records) == one.num
    ids = [record.id for record in records]
    assert ids == sorted(ids, key=lambda text: natural(text))
    assert len({file_name(text).casefold() for text in ids}) == one.num
    assert all(len(text) < 20 and printable(text) == text for text in ids)
    assert {record.source for record in records} == {name_of(one)}
    assert all(path.is_file() for record in records for path in (record.image, *record.masks))


def test_masks_and_images_are_read_as_they_were_drawn(one: Set, folder: Path, tmp_path: Path) -> None:
    records, contents, problems = read_contents(one.read(folder), tmp_path / "cache")
    cropped = ["HESN_002", "HESN_003"] if name_of(one) == "busuclm" else []
    assert [problem.id for problem in problems] == cropped
    assert len(records) == len(contents) == one.num - len(cropped)
    for record in records:
        if record.label and record.id != "case005":
            assert np.array_equal(read_mask(record, 72, 80) > 0, lesion() > 0), record.id


@pytest.mark.parametrize("depth", [1, 2])
def test_folder_that_an_archive_nests_is_found(one: Set, folder: Path, tmp_path: Path, depth: int) -> None:
    outer = tmp_path / "unpacked" / "again" if depth == 2 else tmp_path / "unpacked"
    outer.mkdir(parents=True)
    shutil.move(folder, outer / "Some data set (2023)")
    (tmp_path / "unpacked" / "__MACOSX").mkdir()
    (tmp_path / "unpacked" / "README.md").write_text("...")
    assert len(one.read(tmp_path / "unpacked")[0]) == one.num


def test_folder_beside_others_is_not_guessed_but_named(one: Set, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    with pytest.raises(WrongLayout, match=rf"did you mean data.root={folder}\?"):
        one.read(tmp_path)
    (tmp_path / "other").rmdir()
    assert len(one.read(tmp_path)[0]) == one.num


def test_a_folder_too_deep_names_the_one_above(one: Set, folder: Path) -> None:
    inside = folder / one.images.split("/")[0]
    with pytest.raises(WrongLayout, match=rf"did you mean data.root={folder}\?"):
        one.read(inside)


@pytest.mark.parametrize("missing", ["nowhere", "file.txt", "empty", "x" * 300, "a\0b"])
def test_what_is_no_such_folder_is_one_line_that_says_what_to_do(
    one: Set, tmp_path: Path, missing: str
) -> None:
    (tmp_path / "file.txt").write_text("x")
    (tmp_path / "empty").mkdir()
    with pytest.raises(WrongLayout) as raised:
        one.read(tmp_path / missing)
    text = str(raised.value)
    assert "\n" not in text
    for words in (
        "data.root=",
        f"{name_of(one).upper()}_ROOT",
        f"https://{'www.' * ('cancer' in one.url)}",
        one.url,
    ):
        assert words in text
    assert raised.value.looked_for.split(", ")[0] in text


def test_each_layout_is_that_of_one_reader_alone(
    one: Set, folder: Path, write_busi: Callable[[], Path]
) -> None:
    for known in SETS.values():
        if known is not one:
            with pytest.raises(WrongLayout):
                known.read(folder)
    if name_of(one) == "buid":  # class folders, but BUSI calls its masks otherwise
        assert read_busi(folder)[0] == []
    else:
        said = "in folders that are no class|none of the folders|Benign/images has images: "
        with pytest.raises(InputError, match=said):
            read_busi(folder)
    with pytest.raises(WrongLayout):
        one.read(write_busi())


def test_a_folder_is_recognized_by_its_layout(one: Set, folder: Path) -> None:
    assert find_data(str(folder)).read["_target_"] == f"busi.data.read_{name_of(one)}"


def test_root_comes_from_the_environment(one: Set, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = name_of(one)
    monkeypatch.delenv(f"{name.upper()}_ROOT", raising=False)
    assert compose_data(name)["root"].startswith("data/")
    monkeypatch.setenv(f"{name.upper()}_ROOT", str(folder))
    found = find_data(name)
    assert (found.name, found.root) == (name, folder)
    assert len(found.open()[0]) == one.num


def test_a_missing_mask_and_a_mask_without_an_image_are_problems(one: Set, folder: Path) -> None:
    mask = folder / one.mask
    mask.rename(mask.with_name(re.sub(r"\d+", lambda number: f"9{number[0][1:]}", mask.name, count=1)))
    found = one.read(folder)
    assert len(found[0]) == one.num - 1
    assert len(found[1]) == 2
    words = {problem.kind for problem in found[1]}
    assert "mask without an image" in words
    assert any("lesion without a mask" in kind or "is not there" in kind for kind in words)


def test_a_missing_image_leaves_problems_and_the_rest(one: Set, folder: Path) -> None:
    (folder / one.images / one.image).unlink()
    records, problems = one.read(folder)
    assert len(records) == one.num - 1
    assert {"mask without an image"} <= {problem.kind for problem in problems}


def test_an_image_that_nothing_knows_of_is_a_problem(one: Set, folder: Path) -> None:
    save(folder / one.images / "extra.png", draw(9))
    records, problems = one.read(folder)
    assert len(records) == one.num
    assert [problem.file.removeprefix("Benign: ") for problem in problems] == ["extra.png"]


def test_damaged_and_unread_files_are_problems_and_notes_are_none(
    one: Set, folder: Path, tmp_path: Path
) -> None:
    path = folder / one.images / one.image
    path.write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    (folder / one.images / "film.gif").write_bytes(b"GIF89a")
    for name in ("Thumbs.db", ".DS_Store", "notes.txt", "._bus.png"):
        (folder / one.images / name).write_bytes(b"x")
    records, _, problems = read_contents(one.read(folder), tmp_path / "cache")
    found = [(problem.kind, problem.file.removeprefix("Benign: ")) for problem in problems]
    twice = one.image == Path(one.mask).name  # then the whole path is said
    assert ("unreadable or truncated file", str(path) if twice else one.image) in found
    assert ("file that training does not read", "film.gif") in found
    assert len(found) == 2 + 2 * (name_of(one) == "busuclm")
    assert len(records) == one.num - len(found) + 1


def test_two_files_of_one_name_are_a_problem_and_never_one_id(one: Set, folder: Path) -> None:
    path = folder / one.images / one.image
    save(path.with_suffix(".tiff"), draw(8))
    records, problems = one.read(folder)
    assert len(records) == one.num - 1
    (several,) = (problem for problem in problems if problem.kind == "several files of one name")
    assert one.image in several.file


def test_images_in_a_folder_below_are_not_passed_over(one: Set, folder: Path) -> None:
    (folder / one.images / "more").mkdir()
    save(folder / one.images / "more" / "x.png", draw(0))
    with pytest.raises(InputError, match="more has images: move them to"):
        one.read(folder)


def test_folders_without_images_are_one_error(one: Set, folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.suffix in (".png", ".bmp", ".tif"):
            path.unlink()
    if one.read is read_buid:  # its layout is the names of its files
        with pytest.raises(WrongLayout):
            one.read(folder)
    elif one.read is read_bus_uc:
        with pytest.raises(InputError, match=r"no images in .*BUS_UC_ROOT"):
            one.read(folder)
    else:
        records, problems = one.read(folder)
        assert records == []
        assert len(problems) == one.num
        assert all("without an image" in problem.kind for problem in problems)


@pytest.mark.parametrize("name", ["buid", "bus_uc"])
def test_a_class_that_the_set_does_not_have_is_not_passed_over(tmp_path: Path, name: str) -> None:
    folder = SETS[name].write(tmp_path / "data")
    (folder / "Normal" / "images").mkdir(parents=True)
    save(folder / "Normal" / "images" / "1.png", draw(0))
    with pytest.raises(WrongLayout, match=r"no images in Normal: move that folder away, or .*data=csv"):
        SETS[name].read(folder)


def test_buid_numbers_its_patients_in_each_class(tmp_path: Path) -> None:
    records, _ = read_buid(write_buid(tmp_path / "data"))
    assert [record.id for record in records][:3] == ["benign 1", "benign 2", "benign 12"]
    assert len({record.patient for record in records}) == 6
    assert not [record for record in records if "Lesion" in record.image.name]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("3 Malignant Image.bmp", "name of another class than its folder benign"),
        ("Benign 3.bmp", "name that is no 'N Benign Image'"),
        ("02 benign  image.bmp", "several files of one number"),
        ("3 Benign Mask.tif", "mask without an image"),
    ],
)
def test_buid_names_that_do_not_fit_are_problems(tmp_path: Path, name: str, kind: str) -> None:
    folder = write_buid(tmp_path / "data")
    save(folder / "Benign" / name, draw(3))
    (problem,) = read_buid(folder)[1]
    assert problem.kind == kind
    assert name in problem.file


def test_bus_uc_tells_equal_names_apart_and_reads_nothing_twice(tmp_path: Path) -> None:
    records, problems = read_bus_uc(write_bus_uc(tmp_path / "data"))
    assert problems == []
    assert [record.id for record in records] == [
        f"{name} {number}" for name in CLASSES[1:] for number in ("001", "002", "010")
    ]
    assert {record.patient for record in records} == {None}
    assert not [record for record in records if "All" in record.image.parts]
    shutil.rmtree(tmp_path / "data" / "All")
    assert len(read_bus_uc(tmp_path / "data")[0]) == 6


def test_bus_uc_masks_of_another_size_are_problems(tmp_path: Path) -> None:
    folder = write_bus_uc(tmp_path / "data")
    save(folder / "Benign" / "masks" / "001.png", lesion(256, 256))
    *_, problems = read_contents(read_bus_uc(folder), tmp_path / "cache")
    assert [(x.id, x.kind) for x in problems] == [("benign 001", "mask of another size than its image")]


def test_a_cohort_of_a_set_without_normals_and_without_patients(tmp_path: Path) -> None:
    reading = read_bus_uc(write_bus_uc(tmp_path / "data", range(1, 7)))
    cohort = split(reading, tmp_path / "cache", need_masks=True)
    assert cohort.sources == ["bus_uc"]
    assert {cohort.records[i].label for i in cohort.indices("test")} == {1, 2}


def test_odd_names_give_ids_that_can_be_printed(tmp_path: Path) -> None:
    folder = write_bus_uc(tmp_path / "data")
    for kind, image in (("images", draw(9)), ("masks", lesion())):
        with Path(folder / "Benign" / kind / "new\nline.png").open("wb") as file:
            Image.fromarray(image).save(file, format="PNG")
    records, problems = read_bus_uc(folder)
    assert problems == []
    assert Problem not in map(type, records)
    assert [record.id for record in records if record.label == BENIGN][-1] == "benign new_line"
