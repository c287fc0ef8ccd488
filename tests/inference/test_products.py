"""8-bit products: exact on every processor."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from busi.data.class_folders import read_busi
from busi.data.synthetic import make_synthetic
from busi.inference import products
from busi.inference.graph import open_graph
from busi.inference.onnx import write_graph, write_int8
from busi.models.two_stage import Segmenter, TwoStage
from busi.models.two_views import TwoViews
from tests.inference.test_onnx import Same

ROOT = Path(__file__).parents[2]
EMULATOR = shutil.which("qemu-x86_64")
ASKED = """
import sys
from pathlib import Path
import numpy as np
from busi.inference import products
from busi.inference.graph import open_graph

folder = Path(sys.argv[1])
answers = open_graph(folder / "model.onnx", 64)(np.load(folder / "images.npy"))
np.savez(folder / "answers.npz", *answers, overflow=products.overflow())
"""


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An int8 graph for images of 64 px, and images beside it."""
    folder = tmp_path_factory.mktemp("int8")
    records, _ = read_busi(make_synthetic(folder / "data", (10, 10, 10), 64, 0))
    path = folder / "model.onnx"
    write_graph(TwoStage(Segmenter(Same(), 64), TwoViews("resnet10t", 32), 1.0).eval(), 64, path)
    write_int8(path, records, 64)
    np.save(folder / "images.npy", np.random.default_rng(0).integers(0, 256, (3, 64, 64), np.uint8))
    return path


def test_the_processor_is_asked_for_products_that_do_not_fit_in_16_bits() -> None:
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    given = {"s": np.float32(1), "z": np.uint8(0), "w": np.full((1, 4, 1, 1), 127, np.int8)}
    given |= {"zw": np.int8(0), "t": np.float32(1024)}
    made = helper.make_graph(
        [helper.make_node("QLinearConv", ["x", "s", "z", "w", "s", "zw", "t", "z"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.UINT8, [1, 4, 1, 1])],
        [helper.make_tensor_value_info("y", TensorProto.UINT8, [1, 1, 1, 1])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in given.items()],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    assert model == onnx.load_from_string(products.GRAPH)
    assert np.iinfo(np.int16).max < 2 * 255 * 127


def test_where_products_overflow_the_answers_are_the_same_and_the_price_is_said(
    graph: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    images = np.load(graph.parent / "images.npy")
    expected = open_graph(graph, 64)(images)
    caplog.clear()
    monkeypatch.setattr(products, "overflow", lambda: True)
    for found, one in zip(open_graph(graph, 64)(images), expected, strict=True):
        np.testing.assert_allclose(found, one, atol=1e-6)
    assert f"{graph}: int8 may be slower than float32 on this processor" in caplog.text


def test_a_graph_of_floats_asks_nothing(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "overflow", lambda: pytest.fail("asked"))
    open_graph(bundle / "model.onnx", 32)


@pytest.mark.slow
@pytest.mark.skipif(EMULATOR is None, reason="emulates an older processor: needs QEMU (Debian: qemu-user)")
def test_a_processor_of_2013_gives_the_same_answers(graph: Path) -> None:
    command = [str(EMULATOR), "-cpu", "Haswell", sys.executable, "-c", ASKED, str(graph.parent)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = np.load(graph.parent / "answers.npz")
    assert found["overflow"]
    expected = open_graph(graph, 64)(np.load(graph.parent / "images.npy"))
    for number, one in enumerate(expected):
        np.testing.assert_allclose(found[f"arr_{number}"], one, atol=1e-5)
