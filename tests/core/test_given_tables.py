"""Tables that users make: what is read, and what is refused in one line."""

from pathlib import Path

import pytest

from busi.core.given_tables import read_given_table
from busi.core.types import InputError

TEXT = "image,label,patient\nscäns/a.png,benign,p1\nb.png, malignant ,\n"
ROWS = {
    2: {"image": "scäns/a.png", "label": "benign", "patient": "p1"},
    3: {"image": "b.png", "label": "malignant", "patient": ""},
}
MEANT = {"patient": ("group", "subject"), "image": ("file", "path"), "label": ("class",)}


def read(path: Path, content: bytes | str) -> dict[int, dict[str, str]]:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_given_table(path, ("image", "label"), ("patient",), MEANT, {"group": "patient"})


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "cp1252"])
@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_what_spreadsheets_save_is_read(tmp_path: Path, encoding: str, separator: str, end: str) -> None:
    text = TEXT.replace(",", separator).replace("\n", end)
    assert read(tmp_path / "x.csv", text.encode(encoding)) == ROWS


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_utf16_has_a_byte_order_mark_in_either_order(tmp_path: Path, encoding: str) -> None:
    assert read(tmp_path / "x.csv", f"\ufeff{TEXT}".encode(encoding)) == ROWS


def test_another_encoding_than_utf8_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    read(tmp_path / "x.csv", TEXT)
    assert not caplog.messages
    read(tmp_path / "x.csv", TEXT.encode("cp1252"))
    assert "x.csv is not in UTF-8: reading it as Windows-1252" in caplog.text


def test_empty_rows_and_columns_are_passed_over(tmp_path: Path) -> None:
    text = "\n,,,,\nimage,label, patient ,,\n\nscäns/a.png,benign,p1,,\n ,,,,\nb.png, malignant ,,,\n,,,,\n\n"
    assert list(read(tmp_path / "x.csv", text).values()) == list(ROWS.values())
    assert list(read(tmp_path / "x.csv", text)) == [5, 7]  # as a spreadsheet numbers them


def test_excel_is_told_the_separator_in_a_line_of_its_own(tmp_path: Path) -> None:
    text = "sep=;\r\n" + TEXT.replace(",", ";")
    assert list(read(tmp_path / "x.csv", text)) == [3, 4]


def test_missing_columns_are_empty_and_own_columns_are_passed_over(tmp_path: Path) -> None:
    found = read(tmp_path / "x.csv", 'label,_age,image,_,_\nbenign,7,"a,b.png",x,"x\ny"\n')
    assert found == {2: {"image": "a,b.png", "label": "benign", "patient": ""}}


def test_column_may_have_its_other_name(tmp_path: Path) -> None:
    assert read(tmp_path / "x.csv", TEXT.replace("patient", "group")) == ROWS


def test_cell_that_busi_disarmed_is_read_as_it_was(tmp_path: Path) -> None:
    assert read(tmp_path / "x.csv", "image,label\n'=a.png,benign\n")[2]["image"] == "=a.png"


@pytest.mark.parametrize(
    ("name", "guess"),
    [
        ("Group", "patient"),
        ("Patient", "patient"),
        ("patient_id", "patient"),
        ("PatientID", "patient"),
        ("patients", "patient"),
        ("pateint", "patient"),
        ("subject nr.", "patient"),
    ],
)
def test_unknown_column_is_an_error_that_guesses(tmp_path: Path, name: str, guess: str) -> None:
    with pytest.raises(InputError) as caught:
        read(tmp_path / "x.csv", TEXT.replace("patient", name))
    assert f"unknown columns: '{name}' (did you mean {guess}?)" in str(caught.value)
    assert f"'_{name}'" in str(caught.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "has no rows"),
        ("image,label\n", "has no rows: it needs the columns image and label"),
        ("\n,,\n", "has no rows"),
        ("image,patient\na,b\n", "needs the columns image and label, has: image, patient"),
        ("file,Label\na,b\n", r"'file' \(did you mean image\?\), 'Label' \(did you mean label\?\)"),
        ("image,label,age\na,b,7\n", r"unknown columns: 'age'\. It needs"),
        ("image,label,label\na,b,b\n", "has the column label 2 times: keep one"),
        ("image,label,patient,group\na,b,p,g\n", r"column patient 2 times \(group is the same\)"),
        (",image,label\n0,a,b\n", "column 1 has no name: name it, or '_'"),
        ("image,label\na,x.png,b\n", "row 2 has 3 cells, the header 2"),
        ("image,label,patient\na,b\n", "row 2 has 2 cells, the header 3"),
        ('image,label\n"a,b\nc,d\n', "damaged after row 1"),
        ('image,label\na,"b\nc"\n', "row 2: label holds a line end"),
        ("image,label,patient\na,b,NA\n", "row 2: patient is 'NA': leave what is unknown empty"),
        (b"PK\x03\x04rest", "workbook of a spreadsheet program: save it as CSV"),
        (b"\xd0\xcf\x11\xe0rest", "workbook of a spreadsheet program: save it as CSV"),
        (TEXT.encode("utf-16-le"), "unknown encoding: save it as CSV"),
        (b"image,label\n\x81\x8d,b\n", "unknown encoding: save it as CSV"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "no table"),
    ],
)
def test_table_that_is_not_clear_is_one_error(tmp_path: Path, content: bytes | str, words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        read(tmp_path / "x.csv", content)
    assert "\n" not in str(caught.value)


def test_folder_in_place_of_a_table_is_one_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot read .*: Is a directory"):
        read_given_table(tmp_path, ("id",))
