"""Graphs as files: what is in them beside the networks."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

import busi
from busi.inference.export import split_records
from busi.inference.graph import open_graph
from busi.inference.onnx import name_exact, write_graph, write_int8
from busi.models.two_stage import Segmenter, TwoStage
from busi.models.two_views import TwoViews
from busi.runs.run import open_run


def test_graph_names_no_folder_of_the_machine_that_made_it(bundle: Path) -> None:
    content = (bundle / "model.onnx").read_bytes()
    assert b"stack_trace" not in content
    assert str(Path(busi.__file__).parent).encode() not in content


def test_what_gives_nothing_to_a_convolution_stays_exact() -> None:
    from onnx import helper

    steps = [
        ("scaled", "Div", ["image"], ["gray"]),
        ("within", "Relu", ["gray"], ["a"]),
        ("first", "Conv", ["a", "weights"], ["b"]),
        ("between", "Add", ["b", "gray"], ["c"]),
        ("last", "Conv", ["c", "weights"], ["d"]),
        ("measured", "MaxPool", ["d"], ["e"]),
        ("compared", "Sub", ["e", "gray"], ["f"]),
    ]
    nodes = [helper.make_node(kind, given, made, name) for name, kind, given, made in steps]
    assert sorted(name_exact(nodes)) == ["compared", "measured", "scaled"]


class Same(nn.Module):
    """In place of a segmentation network: the image itself is the lesion probability."""

    def forward(self, image: Tensor) -> Tensor:
        return image.logit(1e-6)


class Sums(nn.Module):
    """In place of a classifier: logits whose probabilities are shares of sums over the guide."""

    def forward(self, image: Tensor, guide: Tensor) -> Tensor:
        del image
        letterboxed = guide[:, 0]
        sums = [guide.sum((1, 2, 3)), guide.sum((-1, 1))[:, 130], letterboxed.sum((1, 2), True)[:, 0, 0]]
        return torch.stack(sums, dim=1).log()


def test_sums_over_an_image_keep_its_small_pixels(tmp_path: Path) -> None:
    """A guide of one step on most pixels and of all steps on some."""
    letterboxed = np.ones((3, 320, 320), np.uint8)
    letterboxed[:, 100:180, 100:180] = 255
    write_graph(TwoStage(Segmenter(Same(), 320), Sums(), 1.0).eval(), 320, tmp_path / "sums.onnx")
    _, class_probs = open_graph(tmp_path / "sums.onnx", 320)(letterboxed)
    guide = letterboxed / 255
    sums = np.stack([guide.sum(axis=(1, 2)), guide[:, 130].sum(axis=1), guide.sum(axis=(1, 2))], axis=1)
    np.testing.assert_allclose(class_probs, sums / sums.sum(axis=1, keepdims=True), rtol=1e-5)


def test_a_classifier_of_two_views_can_be_quantized(trained: Path, tmp_path: Path) -> None:
    graph = tmp_path / "views.onnx"
    write_graph(TwoStage(Segmenter(Same(), 64), TwoViews("resnet10t", 32), 1.0).eval(), 64, graph)
    letterboxed = np.random.default_rng(0).integers(0, 256, (3, 64, 64), np.uint8)
    expected, size = open_graph(graph, 64)(letterboxed), graph.stat().st_size
    write_int8(graph, split_records(open_run(trained), None)["train"], 64)
    assert graph.stat().st_size < size / 2
    for found, before in zip(open_graph(graph, 64)(letterboxed), expected, strict=True):
        np.testing.assert_allclose(found, before, atol=0.1)
