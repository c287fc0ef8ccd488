"""The notebook of the docs: small, as it was made, and run from top to bottom."""

import ast
import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.test_docs import OLD

PATH = Path(__file__).parents[1] / "docs" / "first-notebook.ipynb"
NOTEBOOK: dict[str, Any] = json.loads(PATH.read_text())
CODE = [cell for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"]
WORDS = "\n".join("".join(cell["source"]) for cell in NOTEBOOK["cells"] if cell["cell_type"] == "markdown")
SMALL = {
    "num_benign=60, num_malignant=40, num_normal=30": "num_benign=25, num_malignant=20, num_normal=15",
    "height=128": "height=64",
    "image_size=96": "image_size=32",
    "unet()": 'unet("test_efficientnet", weights="none")',
    "max_epochs=3": "max_epochs=1",
}
"""What the test makes smaller."""


def test_it_is_small_and_its_outputs_are_those_of_one_run() -> None:
    assert PATH.stat().st_size < 300_000
    assert [cell["execution_count"] for cell in CODE] == list(range(1, len(CODE) + 1))
    outputs = [one for cell in CODE for one in cell["outputs"]]
    assert not [one for one in outputs if one["output_type"] == "error" or one.get("name") == "stderr"]
    assert sum("image/png" in one.get("data", {}) for one in outputs) == 5
    assert "/tmp" not in json.dumps([{**one, "data": {}} for one in outputs])


def test_its_words_are_those_of_the_pages_and_its_links_lead_somewhere() -> None:
    assert not OLD.search(WORDS)
    links = [part.partition(")")[0] for part in WORDS.split("](")[1:]]
    assert links
    assert all((PATH.parent / link).is_file() for link in links)


def test_one_line_makes_it_a_notebook_of_real_data() -> None:
    (cell,) = (text for one in CODE if "# ROOT" in (text := "".join(one["source"])))
    lines = cell.splitlines()
    (place,) = (k for k, line in enumerate(lines) if line.startswith("# ROOT"))
    names = [ast.unparse(ast.parse(line).body[0].targets[0]) for line in (lines[place - 1], lines[place][2:])]  # type: ignore[attr-defined]
    assert names == ["(ROOT, READ)", "(ROOT, READ)"]
    assert "read_busi" in lines[place]


@pytest.mark.slow
def test_it_runs_from_top_to_bottom(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import nbformat
    from nbclient import NotebookClient

    text = PATH.read_text()
    for words, small in SMALL.items():
        escaped = json.dumps(words)[1:-1]
        assert escaped in text, words
        text = text.replace(escaped, json.dumps(small)[1:-1])
    monkeypatch.setenv("BUSI_CACHE", str(cache))
    monkeypatch.setenv("PYTHONPATH", f"{PATH.parents[1]}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    notebook = nbformat.reads(text, as_version=4)  # type: ignore[no-untyped-call]
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(tmp_path)}}).execute()
    assert not list(tmp_path.iterdir())  # it leaves nothing behind
