"""BrEaST-Lesions-USG: its workbook, transparent pixels, and masks of other findings."""

import builtins
import random
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from busi.core import BENIGN, MALIGNANT, NORMAL, InputError
from busi.data import workbook
from busi.data.breast import read_breast
from busi.data.catalog import find_data
from busi.data.contents import read_contents
from busi.data.files import read_gray
from busi.data.masks import read_mask
from busi.data.workbook import read_sheet
from tests.data.conftest import draw, lesion
from tests.data.published import (
    BREAST_IMAGES,
    BREAST_TABLE,
    Cells,
    breast_rows,
    rgba,
    write_breast,
    write_workbook,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_breast(tmp_path / "data")


def test_records_say_what_the_workbook_says(folder: Path) -> None:
    records, problems = read_breast(folder)
    assert problems == []
    assert [(one.id, one.patient, one.label, one.birads, one.spacing) for one in records] == [
        ("case001", "1", BENIGN, "2", (0.07, 0.07)),
        ("case005", "5", MALIGNANT, "4a", (0.11, 0.11)),
        ("case045", "45", NORMAL, "1", (0.052, 0.052)),
        ("case077", "77", BENIGN, None, None),
        ("case100", "100", MALIGNANT, "5", None),
    ]
    assert [len(record.masks) for record in records] == [1, 1, 0, 1, 1]
    assert not [path for record in records for path in record.masks if "other" in path.name]


def test_white_under_transparent_pixels_is_black(folder: Path) -> None:
    record = next(record for record in read_breast(folder)[0] if record.id == "case005")
    expected, shape = draw(305), lesion() > 0
    expected[:, :10] = 0
    shape[:, :10] = False
    assert np.array_equal(read_gray(record.image), expected)
    assert np.array_equal(read_mask(record, 72, 80) > 0, shape)


def test_images_in_a_folder_that_has_the_name_of_their_archive_are_found(folder: Path) -> None:
    archive = folder / f"{BREAST_IMAGES}-Dec-15-2023"
    (folder / BREAST_IMAGES).rename(archive)
    (folder / f"{archive.name}.zip").touch()
    assert len(read_breast(folder)[0]) == 5
    inner = folder / "unpacked"
    archive.rename(inner)
    archive.mkdir()
    inner.rename(archive / BREAST_IMAGES)
    assert find_data(str(folder)).name == "breast"
    assert len(read_breast(folder)[0]) == 5
    (folder / BREAST_IMAGES).mkdir()
    rgba(folder / BREAST_IMAGES / "case001.png", draw(1), np.zeros((72, 80), bool))
    with pytest.raises(InputError, match="several folders of images, keep one: "):
        read_breast(folder)


@pytest.mark.parametrize(
    ("row", "changes", "kind"),
    [
        (0, {"Classification": "Malign"}, "label that the data set does not have"),
        (0, {"Classification": None}, "label that the data set does not have"),
        (0, {"Classification": "=B2"}, "label that the data set does not have"),
        (0, {"Classification": "normal"}, "normal image with the mask of a tumor"),
        (2, {"Classification": "benign"}, "lesion without a mask"),
        (0, {"Mask_tumor_filename": "not applicable"}, "does not name"),
        (0, {"Mask_tumor_filename": "case001_tumor2.png"}, "names and that is not there"),
        (0, {"Mask_tumor_filename": "../x.png"}, "names and that is not there"),
        (0, {"Pixel_size": "wide"}, "no size in centimeters"),
        (0, {"Pixel_size": -0.007}, "no size in centimeters"),
        (0, {"Pixel_size": 0}, "no size in centimeters"),
        (0, {"Pixel_size": "nan"}, "no size in centimeters"),
        (0, {"Pixel_size": 7.0}, "no size in centimeters"),
    ],
)
def test_rows_of_no_use_are_problems(tmp_path: Path, row: int, changes: Cells, kind: str) -> None:
    records, (problem,) = read_breast(write_breast(tmp_path / "data", lambda rows: rows[row].update(changes)))
    assert problem.id == ("case001", "case005", "case045")[row]
    assert kind in problem.kind
    assert len(records) == 4


def test_two_masks_of_one_image_are_united(tmp_path: Path) -> None:
    folder = write_breast(
        tmp_path / "data",
        lambda rows: rows[0].update(Mask_tumor_filename="case001_tumor.png & case001_tumor2.png"),
    )
    second = np.zeros((72, 80), np.uint8)
    second[60:70, :10] = 255
    rgba(folder / BREAST_IMAGES / "case001_tumor2.png", second, np.zeros((72, 80), bool))
    records, problems = read_breast(folder)
    assert problems == []
    assert np.array_equal(read_mask(records[0], 72, 80) > 0, (lesion() > 0) | (second > 0))


def test_repeated_rows_and_rows_without_an_image_are_problems(tmp_path: Path) -> None:
    def more(rows: list[Cells]) -> None:
        rows += [dict(rows[0]), {**rows[1], "Image_filename": "case300.png"}, {"Age": 3}, {}]

    records, problems = read_breast(write_breast(tmp_path / "data", more))
    assert len(records) == 4
    assert {(problem.id, problem.kind.split(" in ")[0].split(" of ")[0]) for problem in problems} == {
        ("case001", "image with several rows"),
        ("case300", "row"),
    }


def test_text_in_place_of_numbers_is_read(tmp_path: Path) -> None:
    def as_text(rows: list[Cells]) -> None:
        rows[0].update(CaseID="1", Pixel_size="0,007", BIRADS=2.0, Classification=" Benign ")
        rows[1].update(BIRADS="4A", Pixel_size="0.0110")

    records, problems = read_breast(write_breast(tmp_path / "data", as_text))
    assert problems == []
    assert [(one.patient, one.birads, one.spacing) for one in records[:2]] == [
        ("1", "2", (0.07, 0.07)),
        ("5", "4a", (0.11, 0.11)),
    ]


def test_everything_can_be_decoded(folder: Path, tmp_path: Path) -> None:
    records, _, problems = read_contents(read_breast(folder), tmp_path / "cache")
    assert problems == []
    assert len(records) == 5


def test_without_openpyxl_the_error_names_the_extra(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if name == "openpyxl":
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(InputError, match=r"needs openpyxl: pip install 'openpyxl>=3.1' \(the extra excel\)"):
        read_breast(folder)


def test_several_workbooks_are_one_error(folder: Path) -> None:
    write_workbook(folder / BREAST_TABLE.replace("2023", "2024"), breast_rows())
    (folder / f"~${BREAST_TABLE}").write_bytes(b"lock of a program that has it open")
    with pytest.raises(InputError, match="several tables, keep one: .*2023.xlsx, .*2024.xlsx"):
        read_breast(folder)


def test_missing_columns_and_rows_are_one_error(folder: Path) -> None:
    write_workbook(folder / BREAST_TABLE, breast_rows(), ["CaseID", "Image_filename", "BIRADS"])
    with pytest.raises(InputError, match="has no column Mask_tumor_filename, Pixel_size, Classification"):
        read_breast(folder)
    write_workbook(folder / BREAST_TABLE, [])
    with pytest.raises(InputError, match="has no rows"):
        read_breast(folder)
    write_workbook(folder / BREAST_TABLE, breast_rows(), [*list(breast_rows()[0]), "CaseID"])
    with pytest.raises(InputError, match="has the column CaseID twice"):
        read_breast(folder)


def test_a_workbook_that_is_too_large_is_refused_before_it_fills_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bomb = tmp_path / "bomb.xlsx"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as parts:
        parts.writestr("xl/sharedStrings.xml", b"<" * (workbook.MAX_BYTES + 1))
    assert bomb.stat().st_size < 100_000
    with pytest.raises(InputError, match="unpacks to .* bytes.*: give a smaller workbook"):
        read_sheet(bomb, ["a"], "excel")
    monkeypatch.setattr(workbook, "MAX_ROWS", 20)
    path = write_workbook(tmp_path / "long.xlsx", [{"a": 1}] * 20, ["a"])
    with pytest.raises(InputError, match="has over 20 rows"):
        read_sheet(path, ["a"], "excel")
    path = write_workbook(tmp_path / "right.xlsx", [{"a": 1}] * 19, ["a"])
    assert read_sheet(path, ["a"], "excel") == [{"a": "1"}] * 19


def test_a_workbook_that_says_it_is_smaller_or_has_a_cell_far_away_is_read(tmp_path: Path) -> None:
    path = write_workbook(tmp_path / "a.xlsx", [{"a": 1, "b": "x"}, {"a": 2}], ["a", "b"])
    changed = tmp_path / "b.xlsx"
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(changed, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name.endswith("sheet1.xml"):
                assert b'<dimension ref="A1:B3" />' in content
                content = content.replace(b"A1:B3", b"A1")
            new.writestr(name, content)
    assert read_sheet(changed, ["a", "b"], "excel") == [{"a": "1", "b": "x"}, {"a": "2", "b": ""}]


def test_damaged_workbooks_are_one_error_each(tmp_path: Path) -> None:
    whole = write_workbook(tmp_path / "whole.xlsx", breast_rows()).read_bytes()
    path, draws = tmp_path / "damaged.xlsx", random.Random(0)
    cut = [whole[: len(whole) * k // 8] for k in range(8)] + [b"ID,Case\n1,2\n", b"PK\x03\x04"]
    for _ in range(60):
        changed = bytearray(whole)
        for _ in range(draws.randint(1, 20)):
            changed[draws.randrange(len(whole))] = draws.randrange(256)
        cut.append(bytes(changed))
    refused = []
    for content in cut:
        path.write_bytes(content)
        try:
            read_sheet(path, ["CaseID", "Classification"], "excel")
        except InputError as error:
            refused.append(str(error))
    assert len(refused) > 40
    assert all("damaged.xlsx" in text for text in refused)


@pytest.mark.parametrize("part", ["xl/workbook.xml", "xl/worksheets/sheet1.xml", "[Content_Types].xml"])
@pytest.mark.parametrize("content", [None, b"", b"<a/>", b"<a><row r='x'/></a>"])
def test_workbooks_with_strange_parts_have_no_rows_or_are_one_error(
    tmp_path: Path, part: str, content: bytes | None
) -> None:
    path = write_workbook(tmp_path / "whole.xlsx", breast_rows())
    strange = tmp_path / "strange.xlsx"
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(strange, "w") as new:
        for name in old.namelist():
            if name != part:
                new.writestr(name, old.read(name))
            elif content is not None:
                new.writestr(name, content)
    try:
        found: object = read_sheet(strange, ["CaseID"], "excel")
    except InputError as error:
        found = str(error)
    assert found == [] or "strange.xlsx" in str(found)
