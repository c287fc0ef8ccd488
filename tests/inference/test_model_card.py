from dataclasses import replace
from pathlib import Path

from busi.data import CITATIONS
from busi.inference.bundle import PRETRAINED
from busi.inference.model_card import write_texts
from busi.inference.model_info import read_model_json


def test_a_model_of_several_hospitals_has_a_table_and_a_license_for_each(tmp_path: Path) -> None:
    info, graph = read_model_json(PRETRAINED)
    metrics: dict[str, list[float | None]] = {
        "test/dice": [0.8, 0.7, 0.9],
        "test/busi/dice": [0.75, 0.7, 0.8],
        "test/my_own/dice": [0.85, 0.8, 0.9],
        "test/shortcut/source_auroc": [0.95, 0.9, 0.99],
    }
    origin = info.origin | {"data": "pooled", "sources": ["busi", "my_own"]}
    told = origin | {"told_source": "weights"}
    del origin["told_source"]
    write_texts(tmp_path, replace(info, metrics=metrics, origin=origin), graph)
    text = (tmp_path / "README.md").read_text()
    parts = {part.partition("\n")[0]: part for part in text.split("\n### ")}
    assert "| dice | 0.750 | 0.700 to 0.800 |" in parts["Images of busi"]
    assert "| dice | 0.850 | 0.800 to 0.900 |" in parts["Images of my_own"]
    assert "| shortcut/source_auroc | 0.950 | 0.900 to 0.990 |" in parts["Mean over the data sets"]
    assert f"it was trained on: {CITATIONS['busi']}" in text
    assert "The images of my_own that it was trained on: see their owner" in text
    assert "No image of other data trained, chose or calibrated it." in text
    assert "is told the hospital of each image" not in text
    write_texts(tmp_path, replace(info, metrics=metrics, origin=told), graph)
    assert "is told the hospital of each image" in (tmp_path / "README.md").read_text()
    write_texts(tmp_path, replace(info, origin=origin | {"started_from": ["busbra"]}), graph)
    assert "No image of other data" not in (tmp_path / "README.md").read_text()
