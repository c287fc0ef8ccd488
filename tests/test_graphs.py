"""Graphs as files: what is in them beside the networks."""

from pathlib import Path

import busi


def test_graph_names_no_folder_of_the_machine_that_made_it(bundle: Path) -> None:
    content = (bundle / "model.onnx").read_bytes()
    assert b"stack_trace" not in content
    assert str(Path(busi.__file__).parent).encode() not in content
