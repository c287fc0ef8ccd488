import csv
import io
import random
from pathlib import Path

import pytest

from busi.core.tables import read_table, write_table
from busi.core.text import one_line, printable
from busi.core.types import InputError

FORMULAS = (
    "=1+1",
    "+A1",
    "-A1",
    "@SUM(A1)",
    " =1",
    "\uff1d1",
    "-",
    "'=1",
    "''@x",
    '"=1',
    "-1 x",
    "--1",
    "-1 [-2, A1]",
)
NO_FORMULAS = (
    "a=b",
    "x",
    "",
    "'quoted'",
    "it's",
    "-1",
    "+2.5e-3",
    "'-1",
    "-inf",
    "-1E5",
    "-0.012 [-0.030, 0.010]",
    "p (1)",
    "ä",
    "a;b",
)
SPLIT = {  # what spreadsheets split that do not split at commas
    "\t=1": "\t'=1",
    "\r=1": "\r'=1",
    "\n=1": "\n'=1",
    "a;=1+1": "a;'=1+1",
    "a|-1": "a|'-1",
    'a;"@x;b': "a;'\"@x;b",
    "=1;\t =2;'+3": "'=1;\t' =2;''+3",
}


def read_raw(path: Path) -> list[list[str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def test_table_keeps_full_precision_and_leaves_undefined_values_empty(tmp_path: Path) -> None:
    path = write_table(tmp_path / "x.csv", [{"id": "a, b", "x": 0.1 + 0.2}, {"id": "c", "x": float("nan")}])
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert float(rows[0]["x"]) == 0.1 + 0.2
    assert rows[1] == {"id": "c", "x": ""}
    assert [file.name for file in tmp_path.iterdir()] == ["x.csv"]


def test_a_table_of_no_rows_is_an_empty_file(tmp_path: Path) -> None:
    path = write_table(tmp_path / "t.csv", [])
    assert path.read_bytes() == b""
    assert read_table(path) == []


def test_table_of_a_spreadsheet_is_read_without_its_byte_order_mark(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("id,x\nä,1\n", encoding="utf-8-sig")
    assert read_table(tmp_path / "x.csv") == [{"id": "ä", "x": "1"}]


def test_no_cell_is_a_formula_and_all_text_comes_back(tmp_path: Path) -> None:
    wanted = {**{text: f"'{text}" for text in FORMULAS}, **{text: text for text in NO_FORMULAS}, **SPLIT}
    rows = [{"id": text} for text in wanted]
    path = write_table(tmp_path / "x.csv", rows)
    assert [row[0] for row in read_raw(path)[1:]] == list(wanted.values())
    assert read_table(path) == rows


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_no_cell_is_a_formula_at_whatever_sign_the_table_is_split(tmp_path: Path, separator: str) -> None:
    rng, signs = random.Random(0), "=+-@\uff1d \t\r\n\";|,'1a"
    rows = [{"id": f"{k}", "text": "".join(rng.choices(signs, k=9)), "end": "x"} for k in range(3000)]
    content = write_table(tmp_path / "x.csv", rows).read_bytes().decode()
    for row in csv.reader(io.StringIO(content, newline=""), delimiter=separator):
        for cell in row:
            assert not cell.strip().startswith(("=", "+", "-", "@", "\uff1d")), row


def test_numbers_are_written_as_numbers_also_after_they_were_read(tmp_path: Path) -> None:
    rows = [{"id": "-a", "logit": -1.25e-07, "low": float("-inf"), "set": ("benign", "normal"), "+x": -3}]
    path = write_table(tmp_path / "x.csv", rows)
    expected = [["id", "logit", "low", "set", "'+x"], ["'-a", "-1.25e-07", "-inf", "benign normal", "-3"]]
    assert read_raw(path) == expected
    again = read_table(path)
    assert again == [{"id": "-a", "logit": "-1.25e-07", "low": "-inf", "set": "benign normal", "+x": "-3"}]
    assert read_raw(write_table(tmp_path / "y.csv", again)) == expected


def test_any_text_survives_writing_and_reading(tmp_path: Path) -> None:
    rng, signs = random.Random(0), "'=+-@ \t\r\n\",;|1.ea\u00e9\uff0b\u2028"
    rows = [{"id": f"{k}", "text": "".join(rng.choices(signs, k=rng.randrange(8)))} for k in range(3000)]
    assert read_table(write_table(tmp_path / "x.csv", rows)) == rows


def test_table_is_written_whatever_a_file_was_called(tmp_path: Path) -> None:
    path = write_table(tmp_path / "x.csv", [{"id": "caf\udce9", "x": 1}])
    assert read_table(path) == [{"id": "caf\\udce9", "x": "1"}]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"id,x\na,1\nb\n", "row 3 has 1 cells, its header 2"),
        (b'id,x\na,1\n"b,2\n', "damaged after row 2"),
        (b"id,x\n\xe4,1\n", "unknown encoding"),
        (b"id,x\n\0\0,1\n", "damaged"),
    ],
)
def test_damaged_table_of_busi_is_one_error(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "x.csv").write_bytes(content)
    with pytest.raises(InputError, match=words):
        read_table(tmp_path / "x.csv")


def test_text_is_printed_on_one_line() -> None:
    assert printable("ä (1) \u200d") == "ä (1) \u200d"
    assert printable("a\nb\tc\udce9\u2028") == "a\\nb\\tc\\xe9\\u2028"
    assert printable("a\nb\udce9", "_") == "a_b_"


def test_an_error_of_hydra_is_told_as_what_led_to_it() -> None:
    ours, outer = InputError("give\n a path"), InputError("table: give a path")
    told, wrapped = ValueError("two\n lines"), RuntimeError("error in call")
    wrapped.__cause__ = outer.__cause__ = ours
    expected = {told: "two lines", ours: "give a path", wrapped: "give a path", outer: "table: give a path"}
    assert {error: one_line(error) for error in expected} == expected
