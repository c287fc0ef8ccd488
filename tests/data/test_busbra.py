"""BUS-BRA: its tables, its patients and its published folds."""

import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from busi.core import BENIGN, MALIGNANT, InputError
from busi.data.busbra import read_busbra
from busi.data.masks import read_mask
from tests.data.conftest import lesion
from tests.data.published import split, write_busbra


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_busbra(tmp_path / "BUSBRA")


def change(path: Path, old: str, new: str, count: int = 1) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, count))


def test_records_say_what_the_table_says(folder: Path) -> None:
    records, problems = read_busbra(folder)
    assert problems == []
    assert [record.id for record in records[:3]] == ["bus_0001-l", "bus_0001-r", "bus_0002-l"]
    assert Counter(record.patient for record in records) == {str(case): 2 for case in range(1, 13)}
    record = next(record for record in records if record.id == "bus_0003-r")
    assert (record.label, record.birads, record.scanner) == (MALIGNANT, "5", "GE Logiq 7 @10-14MHz")
    assert (record.published_folds, record.spacing) == ({5: 3, 10: 3}, None)
    assert [path.name for path in record.masks] == ["mask_0003-r.png"]


def test_masks_of_one_bit_are_read(folder: Path) -> None:
    assert np.array_equal(read_mask(read_busbra(folder)[0][0], 72, 80) > 0, lesion() > 0)


@pytest.mark.parametrize("num_folds", [5, 10])
def test_published_folds_split_no_patient_and_come_from_0(
    folder: Path, tmp_path: Path, num_folds: int
) -> None:
    cohort = split(read_busbra(folder), tmp_path / "cache", num_folds, published=True)
    expected = [int(record.patient or 0) % num_folds for record in cohort.records]
    assert cohort.folds.tolist() == expected
    assert set(expected) == set(range(num_folds))


def test_published_folds_of_another_number_are_one_error(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no published split of 4 folds .*5, 10 folds: data.num_folds=5"):
        split(read_busbra(folder), tmp_path / "cache", 4, published=True)


def test_tables_of_folds_may_be_missing(folder: Path) -> None:
    (folder / "10-fold-cv.csv").unlink()
    assert set(read_busbra(folder)[0][0].published_folds) == {5}


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("bus_0002-l,benign,3", "bus_0002-l,benign,6", "kFold of bus_0002-l is 6, not one of 1 to 5"),
        ("bus_0002-l,benign,3", "bus_0002-l,benign,0", "kFold of bus_0002-l is 0"),
        ("bus_0002-l,benign,3", "bus_0002-l,benign,", r"kFold of bus_0002-l is \(empty\)"),
        ("bus_0002-l,benign,3", "bus_0002-l,benign,2", "patient 2 is in several folds"),
        ("bus_0002-l,benign,3", "bus_0002-l,malignant,3", "bus_0002-l is malignant there"),
        ("bus_0002-l,benign,3", "bus_0099-l,benign,3", "only one of them has bus_0002-l, bus_0099-l"),
        ("bus_0002-l,benign,3", "bus_0002-r,benign,3", "only one of them has bus_0002-l"),
        ("kFold", "fold", "has no column kFold"),
    ],
)
def test_a_table_of_folds_that_does_not_fit_is_one_error(
    folder: Path, old: str, new: str, words: str
) -> None:
    change(folder / "5-fold-cv.csv", old, new)
    with pytest.raises(InputError, match=rf"5-fold-cv\.csv.*{words}.*again"):
        read_busbra(folder)


@pytest.mark.parametrize(
    ("old", "new", "kind"),
    [
        ("cyst,benign", "cyst,unsure", "label that the data set does not have"),
        ("cyst,benign", "cyst,normal", "label that the data set does not have"),
        ("cyst,benign", "cyst,", "label that the data set does not have"),
        ("bus_0001-l,1,", "bus_0001-l,,", "image without a patient (Case) in bus_data.csv"),
    ],
)
def test_rows_of_no_use_are_problems(folder: Path, old: str, new: str, kind: str) -> None:
    change(folder / "bus_data.csv", old, new)
    for k in (5, 10):
        (folder / f"{k}-fold-cv.csv").unlink()
    records, (problem,) = read_busbra(folder)
    assert (problem.id, problem.kind) == ("bus_0001-l", kind)
    assert len(records) == 23


def test_repeated_and_superfluous_rows_are_problems(folder: Path) -> None:
    table = folder / "bus_data.csv"
    row = table.read_text().splitlines()[1]
    table.write_text(
        table.read_text() + row + "\n" + row.replace("bus_0001-l", "bus_0500-s") + "\n,,,,,,,,,\n"
    )
    for k in (5, 10):
        (folder / f"{k}-fold-cv.csv").unlink()
    records, problems = read_busbra(folder)
    assert len(records) == 23
    assert {(problem.id, problem.kind) for problem in problems} == {
        ("bus_0001-l", "image with several rows in bus_data.csv"),
        ("bus_0500-s", "row of bus_data.csv without an image"),
    }


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_table_that_a_spreadsheet_saved_again_is_read(folder: Path, encoding: str) -> None:
    expected = read_busbra(folder)
    for path in folder.glob("*.csv"):
        text = path.read_text().replace('"[20,20,40,30]"', "[20.20.40.30]").replace(",", ";")
        path.write_text(text.replace("benign", " Benign "), encoding=encoding)
    assert read_busbra(folder) == expected


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "has no rows"),
        (b"ID,Case,Pathology,BIRADS,Device\n", "has no rows"),
        (b"ID,Pathology\nbus_0001-l,benign\n", "has no column Case, BIRADS, Device"),
        (b"ID,Case\nbus_0001-l\n", "is damaged: row 2"),
        (b"PK\x03\x04", "workbook of a spreadsheet program: save it as CSV"),
        (b"\xff\x00\xff", "is damaged, no table, or in an unknown encoding"),
    ],
)
def test_a_damaged_table_is_one_error(folder: Path, content: bytes, words: str) -> None:
    (folder / "bus_data.csv").write_bytes(content)
    with pytest.raises(InputError, match=words):
        read_busbra(folder)


def test_a_folder_in_place_of_the_table_is_one_error(folder: Path) -> None:
    (folder / "bus_data.csv").unlink()
    (folder / "bus_data.csv").mkdir()
    with pytest.raises(InputError, match=r"cannot read .*bus_data\.csv: Is a directory"):
        read_busbra(folder)


@pytest.mark.real
def test_real_folder_has_what_was_published() -> None:
    if "BUSBRA_ROOT" not in os.environ:
        pytest.skip("BUSBRA_ROOT is not set: the real data is not here")
    records, problems = read_busbra(Path(os.environ["BUSBRA_ROOT"]))
    assert problems == []
    assert Counter(record.label for record in records) == {BENIGN: 1268, MALIGNANT: 607}
    assert len({record.patient for record in records}) == 1064
    assert Counter(record.scanner for record in records) == {
        "GE Logiq 5 @10-12MHz": 809,
        "GE Logiq 7 @10-14MHz": 902,
        "Toshiba Aplio 300 @12-14 MHz": 139,
        "U-Systems @10-14MHz": 25,
    }
    assert {record.birads for record in records} == set("2345")
    for k in (5, 10):
        assert {record.published_folds[k] for record in records} == set(range(k))
