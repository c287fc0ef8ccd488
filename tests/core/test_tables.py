import csv
from pathlib import Path

from busi.core.tables import read_table, write_table


def test_table_keeps_full_precision_and_leaves_undefined_values_empty(tmp_path: Path) -> None:
    path = write_table(tmp_path / "x.csv", [{"id": "a, b", "x": 0.1 + 0.2}, {"id": "c", "x": float("nan")}])
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert float(rows[0]["x"]) == 0.1 + 0.2
    assert rows[1] == {"id": "c", "x": ""}
    assert [file.name for file in tmp_path.iterdir()] == ["x.csv"]


def test_table_of_a_spreadsheet_is_read_without_its_byte_order_mark(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("id,x\nä,1\n", encoding="utf-8-sig")
    assert read_table(tmp_path / "x.csv") == [{"id": "ä", "x": "1"}]
