"""Bundles of unknown origin: opened as data, checked field by field, and silent about nothing."""

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper
from PIL import Image

from busi import Predictor
from busi.core.types import InputError
from busi.inference.bundle import PRETRAINED, Model, load_bundle
from busi.inference.demo_server import open_model
from busi.inference.export import write_bundle
from busi.inference.graph import open_graph
from busi.inference.model_info import FORMAT, read_model_info, write_model_info
from busi.models.two_stage import TwoStage
from busi.runs.run import open_run
from tests.inference.test_predictor import make_image
from tests.processes import call

SIZE = 32
CONTENT = json.loads((PRETRAINED / "model.json").read_text())
NULLABLE = ("quantiles", "graph.float32.macro_f1", "graph.reduced.macro_f1")
"""Fields of ``model.json``, beside thresholds, that may be null."""
NAN, INFINITY = float("nan"), float("inf")


def change(place: str, value: Any) -> dict[str, Any]:
    """The content of ``model.json`` with another value; `...` removes the key."""
    content: dict[str, Any] = json.loads(json.dumps(CONTENT))
    inside, (*folders, key) = content, place.split(".")
    for name in folders:
        inside = inside[name]
    if value is ...:
        del inside[key]
    else:
        inside[key] = value
    return content


def places(content: dict[str, Any], above: str = "") -> Iterator[str]:
    for key, value in content.items():
        yield f"{above}{key}"
        if isinstance(value, dict):
            yield from places(value, f"{above}{key}.")


def refused(call: Callable[[], object]) -> str:
    """The one line with which something is refused."""
    with pytest.raises(InputError) as caught:
        call()
    text = str(caught.value)
    assert text.isprintable(), "more than one line"
    return text


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        ("biases", [0.1, 0.2], "biases must be one number for each class"),
        ("biases", [0.1, NAN, 0.2], "biases must be one number for each class"),
        ("biases", [0.1, 1e6, 0.2], "biases must be one number for each class"),
        ("biases", "none", "biases must be one number for each class"),
        ("quantiles", [0.9, NAN, 0.9], "quantiles must be one number from 0 to 1 for each class, or null"),
        ("quantiles", [0.9, 0.9, INFINITY], "quantiles must be one number from 0 to 1"),
        ("quantiles", [0.9, 0.9], "quantiles must be"),
        ("quantiles", [0.9, 0.9, 1.5], "quantiles must be"),
        ("quantiles", [0.9, 0.9, "1"], "quantiles must be"),
        ("quantiles", [0.9, 0.9, True], "quantiles must be"),
        ("quantiles", "123", "quantiles must be"),
        ("temperature", NAN, "temperature must be a number from 1e-06 to 1e.06, not nan"),
        ("temperature", 0, "temperature must be"),
        ("temperature", -1.0, "temperature must be"),
        ("temperature", None, "temperature must be"),
        ("temperature", 10**400, "temperature must be"),
        ("postprocess.threshold", NAN, "postprocess.threshold must be a number from 0 to 1, not nan"),
        ("postprocess.high_threshold", 1.01, "postprocess.high_threshold must be a number from 0 to 1"),
        ("postprocess.threshold", ..., "threshold is missing in postprocess"),
        ("postprocess.min_share", 0.5, "'min_share' is unknown in postprocess"),
        ("postprocess", 0.5, "postprocess must be an object, not 0.5"),
        ("malignant_thresholds.sensitivity_95", -INFINITY, "malignant_thresholds.sensitivity_95 must be"),
        ("malignant_thresholds", None, "malignant_thresholds must be an object"),
        ("image_size", 0, "image_size must be a whole number from 1 to 4096, not 0"),
        ("image_size", 100_000, "image_size must be a whole number from 1 to 4096"),
        ("image_size", 320.0, "image_size must be a whole number"),
        ("image_size", True, "image_size must be a whole number"),
        ("image_size", "320", "image_size must be a whole number"),
        ("classes", ["benign", "normal", "malignant"], "classes must be normal, benign, malignant"),
        ("classes", ["normal", "benign"], "classes must be"),
        ("classes", 3, "classes must be"),
        ("level", 90, "level must be a number from 0 to 1"),
        ("metrics.test/dice", [0.8, NAN, 0.9], "metrics.test/dice must be a value and both ends"),
        ("metrics.test/dice", [0.8], "metrics.test/dice must be"),
        ("metrics.test/dice", 0.8, "metrics.test/dice must be"),
        ("origin.name", "\x1b[2Ja", "origin.name must be printable text"),
        ("origin.name", "\ud800", "origin.name must be printable text"),
        ("origin.name", "a" * 10_000, "origin.name must be printable text of 1 to 300"),
        ("origin.fold", "0", "origin.fold must be a whole number"),
        ("origin.seeds", [], "origin.seeds must be"),
        ("origin.guide", ..., "guide is missing in origin"),
        ("fingerprints.split", 7, "fingerprints.split must be"),
        ("graph.file", "../other.onnx", "graph.file must be model.onnx, not '../other.onnx'"),
        ("graph.sha256", "no", "graph.sha256 must be 64 hexadecimal digits"),
        ("graph.sha256", "0" * 64, "is not the graph that its model.json describes"),
        ("graph.precision", "f8", "graph.precision must be float32 or f16 or int8"),
        ("format", 2, f"of an older busi (format 2, not {FORMAT}): export its run again"),
        ("format", 99, f"of a newer busi (format 99, not {FORMAT}): update busi"),
        ("format", "3", "is not of busi"),
        ("format", True, "is not of busi"),
        ("temprature", 1.0, "'temprature' is unknown"),
    ],
)
def test_a_wrong_field_is_named(place: str, value: Any, words: str, tmp_path: Path) -> None:
    folder = shutil.copytree(PRETRAINED, tmp_path / "bundle")
    (folder / "model.json").write_text(json.dumps(change(place, value)))
    text = refused(lambda: Predictor(folder))
    assert str(folder) in text
    assert re.search(re.escape(words).replace(r"1e\.06", r"1e\+06"), text), text


@pytest.mark.parametrize("place", list(places(CONTENT)))
def test_no_field_may_be_of_another_kind_or_missing(place: str, tmp_path: Path) -> None:
    """Fields that may be null or missing are the only ones that are."""
    name, words = tmp_path / "model.json", place.split(".", maxsplit=1)
    optional = (
        "seen",
        *(f"origin.{one}" for one in ("recipe", "settings", "finished", "sources", "told_source")),
    )
    optional += ("graph.float32", "graph.reduced")
    free = words[0] in ("metrics", "malignant_thresholds") and len(words) > 1
    values: tuple[Any, ...] = (None, True, -1, NAN, INFINITY, "", [], [None] * 4, {"a": {}}, "\0", ...)
    for value in values:
        name.write_text(json.dumps(change(place, value)))
        nullable = place in NULLABLE or (words[0] == "malignant_thresholds" and free)
        if (value is None and nullable) or (value is ... and (place in optional or free)):
            read_model_info(tmp_path)
        else:
            text = refused(lambda: read_model_info(tmp_path))
            assert place.rpartition(".")[2] in text or place == "format", text


def test_quantiles_and_biases_need_classes(tmp_path: Path) -> None:
    path = tmp_path / "model.json"
    path.write_text(json.dumps({**CONTENT, "classes": []}))
    assert "quantiles are of classes" in refused(lambda: read_model_info(tmp_path))
    path.write_text(json.dumps({**CONTENT, "classes": [], "quantiles": None, "biases": [0.1, 0.2, 0.3]}))
    assert "biases are of classes" in refused(lambda: read_model_info(tmp_path))
    path.write_text(json.dumps({**CONTENT, "classes": [], "quantiles": None}))
    assert read_model_info(tmp_path).classes == ()


def test_what_is_no_model_json_says_so(tmp_path: Path) -> None:
    path, whole = tmp_path / "model.json", json.dumps(CONTENT)
    for content, words in (
        (b"", "is empty"),
        (whole[:99].encode(), "is damaged"),
        (b"\xff\xfe{}", "is damaged"),
        (b"[" * 100_000, "is damaged"),
        (b'{"format": 3, "format": 3}', "'format' stands there twice"),
        (b"[]", "is not of busi"),
        (b"null", "is not of busi"),
        (b'{"model_type": "bert", "hidden_size": 768}', "is not of busi: it names no format"),
        (json.dumps({"made_by": {}, "predictions": []}).encode(), "is not of busi"),
        (b'{"format": 3}', "classes, image_size, postprocess"),
        (b'{"format": ' + b"9" * 5000 + b"}", "is damaged"),
        (whole.encode() + b" " * 9_000_000, "over 8000000"),
    ):
        path.write_bytes(content)
        assert words in refused(lambda: read_model_info(tmp_path))


def test_a_whole_number_does_where_a_number_is_meant(tmp_path: Path) -> None:
    content = change("quantiles", [1, 0, 1])
    content["temperature"], content["postprocess"]["threshold"] = 1, 0
    (tmp_path / "model.json").write_text(json.dumps(content))
    info = read_model_info(tmp_path)
    assert (info.temperature, info.quantiles, info.postprocess.threshold) == (1.0, (1.0, 0.0, 1.0), 0.0)


def make_graph(
    mask: float = 0.5,
    classes: tuple[float, ...] = (0.2, 0.3, 0.5),
    size: int = SIZE,
    batch: str | int = "batch",
    kind: int = TensorProto.FLOAT,
    names: tuple[str, ...] = ("images", "mask_probs", "class_probs"),
    extra: tuple[Any, ...] = (),
) -> ModelProto:
    """A graph of the signature of busi's, which answers the same of every image."""
    images, mask_probs, class_probs = names
    nodes = [
        helper.make_node("Cast", [images], ["x"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["x", "zero"], ["zeros"]),
        helper.make_node("Add", ["zeros", "level"], ["m"]),
        helper.make_node("Cast", ["m"], [mask_probs], to=kind),
        helper.make_node("ReduceSum", ["zeros", "axes"], ["z"], keepdims=0),
        helper.make_node("Unsqueeze", ["z", "axis"], ["column"]),
        helper.make_node("Add", ["column", "classes"], [class_probs]),
        *extra,
    ]
    constants = {
        "zero": np.float32(0),
        "level": np.float32(mask),
        "classes": np.array([classes], np.float32),
        "axes": np.array([1, 2]),
        "axis": np.array([1]),
    }
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info(images, TensorProto.UINT8, [batch, size, size])],
        [
            helper.make_tensor_value_info(mask_probs, kind, [batch, size, size]),
            helper.make_tensor_value_info(class_probs, TensorProto.FLOAT, [batch, len(classes)]),
        ],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("somebody.else", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


def make_bundle(folder: Path, graph: ModelProto | bytes) -> Path:
    """A bundle whose model.json is right, and describes this graph."""
    content = graph if isinstance(graph, bytes) else graph.SerializeToString()
    folder.mkdir()
    (folder / "model.onnx").write_bytes(content)
    whole = change("image_size", SIZE)
    whole["graph"]["sha256"] = sha256(content).hexdigest()
    (folder / "model.json").write_text(json.dumps(whole))
    return folder


def test_a_bundle_needs_two_files_alone(tmp_path: Path) -> None:
    found = Predictor(make_bundle(tmp_path / "bundle", make_graph()))(make_image(40, 50))
    assert list(found.probs.values()) == pytest.approx([0.2, 0.3, 0.5])
    assert np.allclose(found.mask_probs, 0.5)


@pytest.mark.parametrize(
    ("mask", "classes", "words"),
    [
        (5.0, (0.2, 0.3, 0.5), "lesion probabilities from 5 to 5"),
        (-0.5, (0.2, 0.3, 0.5), "lesion probabilities from -0.5 to -0.5"),
        (NAN, (0.2, 0.3, 0.5), "lesion probabilities from nan to nan"),
        (INFINITY, (0.2, 0.3, 0.5), "lesion probabilities"),
        (0.5, (5.0, -2.0, -2.0), "class probabilities from -2 to 5"),
        (0.5, (0.5, NAN, 0.5), "class probabilities from nan to nan"),
        (0.5, (0.5, 0.5, 0.5), "class probabilities that add up to 1.5"),
        (0.5, (0.0, 0.0, 0.0), "class probabilities that add up to 0"),
    ],
)
def test_answers_that_are_no_probabilities_are_refused(
    mask: float, classes: tuple[float, ...], words: str, tmp_path: Path
) -> None:
    folder = make_bundle(tmp_path / "bundle", make_graph(mask, classes))
    for tta in ("none", "flip"):
        text = refused(lambda tta=tta: Predictor(folder, tta)(make_image(40, 50)))
        assert words in text
        assert f"{folder}/model.onnx gives" in text
        assert "is damaged" in text


def outside(name: str, location: str) -> TensorProto:
    """Weights that lie in another file."""
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=[1])
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", "0"), ("length", "4")):
        tensor.external_data.add(key=key, value=value)
    return tensor


def hidden(where: str, location: str) -> ModelProto:
    """A graph that reads a file, by a tensor in one of the places where ONNX has tensors."""
    tensor, graph = outside("w", location), make_graph()
    constant = helper.make_node("Constant", [], ["w"], value=tensor)
    branch = helper.make_graph(
        [constant], "branch", [], [helper.make_tensor_value_info("w", TensorProto.FLOAT, [1])]
    )
    if where == "initializer":
        graph.graph.initializer.append(tensor)
    elif where == "constant":
        graph.graph.node.append(constant)
    elif where == "branch":
        yes = numpy_helper.from_array(np.array(True), "yes")
        graph.graph.initializer.append(yes)
        graph.graph.node.append(
            helper.make_node("If", ["yes"], ["y"], then_branch=branch, else_branch=branch)
        )
    elif where == "sparse":
        sparse = graph.graph.sparse_initializer.add(dims=[1])
        sparse.values.CopyFrom(tensor)
        sparse.indices.CopyFrom(numpy_helper.from_array(np.array([0]), "i"))
    elif where == "function":
        opsets = [helper.make_opsetid("", 18)]
        graph.functions.append(helper.make_function("", "F", [], ["w"], [constant], opsets))
    elif where == "training":
        graph.training_info.add().initialization.initializer.append(tensor)
    return graph


@pytest.mark.parametrize("where", ["initializer", "constant", "branch", "sparse", "function", "training"])
@pytest.mark.parametrize("location", ["weights.bin", "../secret", "/etc/passwd", "a/../../secret"])
def test_a_graph_reads_no_other_file(where: str, location: str, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(np.float32(1).tobytes())
    folder = make_bundle(tmp_path / "bundle", hidden(where, location))
    (folder / "weights.bin").write_bytes(np.float32(1).tobytes())
    assert "reads weights from other files" in refused(lambda: Predictor(folder))


def test_a_graph_of_another_kind_is_refused_when_it_is_opened(tmp_path: Path) -> None:
    body = helper.make_graph([], "body", [], [])
    of_others = helper.make_node("Evil", ["x"], ["y"], domain="somebody.else")
    unknown = helper.make_node("Evil", ["x"], ["y"])
    endless = helper.make_node("Loop", ["", "", "x"], ["y"], body=body)
    whole = make_graph().SerializeToString()
    huge, bomb = make_graph(), make_graph()
    huge.graph.initializer[2].dims[:] = [2**40, 2**40]
    bomb.graph.node[6].input[1] = "many"
    bomb.graph.initializer.append(numpy_helper.from_array(np.array([2**45, 3]), "shape"))
    bomb.graph.node.insert(0, helper.make_node("ConstantOfShape", ["shape"], ["many"]))
    for k, (graph, words) in enumerate(
        (
            (
                make_graph(size=64),
                "images is tensor(uint8) ['batch', 64, 64], not tensor(uint8) ['batch', 32, 32]",
            ),
            (make_graph(batch=1), "images is tensor(uint8) [1, 32, 32]"),
            (make_graph(classes=(0.5, 0.5)), "class_probs is tensor(float) ['batch', 2]"),
            (make_graph(kind=TensorProto.DOUBLE), "mask_probs is tensor(double)"),
            (make_graph(names=("input", "mask_probs", "class_probs")), "has no images"),
            (make_graph(names=("images", "mask", "class_probs")), "has no mask_probs"),
            (make_graph(extra=(of_others,)), "has operators of b'somebody.else'"),
            (make_graph(extra=(unknown,)), "ONNX Runtime cannot open"),
            (make_graph(extra=(endless,)), "has the operator b'Loop'"),
            (huge, "ONNX Runtime cannot open"),
            (bomb, "class_probs is tensor(float) [35184372088832, 3]"),
            (whole[:-9], "is no ONNX graph, or not a whole one"),
            (whole[: len(whole) // 2], "is no ONNX graph"),
            (b"noise", "is no ONNX graph"),
            (b"\0", "is no ONNX graph"),
            (json.dumps(CONTENT).encode(), "is no ONNX graph"),
            (ModelProto(ir_version=10).SerializeToString(), "ONNX Runtime cannot open"),
            (b"\x08\x0a\x38\x01", "is no ONNX graph"),  # a number where the graph should be
        )
    ):
        folder = make_bundle(tmp_path / str(k), graph)
        text = refused(lambda folder=folder: Predictor(folder))
        assert words in text
        assert str(folder) in text


@pytest.mark.parametrize("cores", [1, 2, 5, 64, None])
def test_a_batch_is_answered_alike_in_pieces_of_any_size(
    cores: int | None, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    letterboxed = np.random.default_rng(0).integers(0, 256, (5, 32, 32), np.uint8)
    network = load_bundle(bundle).network
    whole = [network(image[None]) for image in letterboxed]
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    for k, found in enumerate(load_bundle(bundle).network(letterboxed)):
        np.testing.assert_allclose(found, np.concatenate([answers[k] for answers in whole]), atol=1e-6)


def test_a_graph_that_fails_on_an_image_says_so(tmp_path: Path) -> None:
    """It looks up a table by the highest gray value, and the table is too short for most."""
    graph = make_graph()
    graph.graph.node[2].input[1] = "picked"
    for node in (
        helper.make_node("Gather", ["classes", "index"], ["picked"], axis=1),
        helper.make_node("Cast", ["highest"], ["index"], to=TensorProto.INT64),
        helper.make_node("ReduceMax", ["x"], ["highest"], keepdims=0),
    ):
        graph.graph.node.insert(1, node)
    folder = make_bundle(tmp_path / "bundle", graph)
    assert "ONNX Runtime cannot run" in refused(lambda: Predictor(folder)(make_image(40, 50)))


def test_files_of_another_kind_say_so(tmp_path: Path) -> None:
    whole = make_bundle(tmp_path / "whole", make_graph())

    def spoil(name: str, file: str, how: Callable[[Path], object]) -> Path:
        folder = shutil.copytree(whole, tmp_path / name)
        (folder / file).unlink()
        how(folder / file)
        return folder

    for file in ("model.json", "model.onnx"):
        for how, words in (
            (lambda path: None, f"{file} is missing"),  # noqa: ARG005
            (Path.mkdir, f"{file} is no file"),
            (lambda path: path.write_bytes(b""), f"{file} is empty"),
            (os.mkfifo, f"{file} is no file"),
            (lambda path: path.symlink_to("gone"), f"{file} is no file"),
            (lambda path: path.symlink_to(path), f"{file} is no file"),
            (lambda path: path.symlink_to("/dev/zero"), f"{file} is no file"),
            (lambda path: path.symlink_to("/proc/self/environ"), f"{file} is empty"),
        ):
            folder = spoil("spoiled", file, how)
            assert words in refused(lambda folder=folder: Predictor(folder))
            shutil.rmtree(folder)
        assert "is a part of a bundle: give its folder" in refused(lambda file=file: Predictor(whole / file))
    (tmp_path / "empty").mkdir()
    (tmp_path / "text").write_text("text")
    assert "is not a run folder" in refused(lambda: Predictor(tmp_path / "empty"))
    assert "does not exist" in refused(lambda: Predictor(tmp_path / "gone"))
    assert "no checkpoint" in refused(lambda: Predictor(tmp_path / "text"))
    linked = tmp_path / "linked"
    linked.mkdir()
    for file in ("model.json", "model.onnx"):
        (linked / file).symlink_to(whole / file)
    assert Predictor(linked).calibrated


def test_a_graph_over_a_gigabyte_is_not_read(tmp_path: Path) -> None:
    folder = make_bundle(tmp_path / "bundle", make_graph())
    os.truncate(folder / "model.onnx", 2**31)  # takes no room on the disk
    assert "over 1073741824" in refused(lambda: Predictor(folder))


def test_whoever_opens_a_bundle_says_the_same(tmp_path: Path) -> None:
    folder = shutil.copytree(PRETRAINED, tmp_path / "bundle")
    (folder / "model.json").write_text(json.dumps(change("quantiles", [NAN] * 3)))
    texts = [refused(lambda: Predictor([PRETRAINED, folder])), refused(lambda: open_model(folder))]
    image = tmp_path / "a.png"
    Image.fromarray(make_image(40, 50)).save(image)
    for name, *arguments in (
        ("predict", str(image), "--run", str(folder), "--output", str(tmp_path / "out")),
        ("demo", "--run", str(folder)),
    ):
        done = call(f"busi.{name}", *arguments, cwd=tmp_path)
        assert done.returncode == 1
        assert "Traceback" not in done.stdout + done.stderr
        texts.append(done.stderr.strip().removeprefix("error: "))
    assert len(set(texts)) == 1, texts
    assert "quantiles must be" in texts[0]
    assert not (tmp_path / "out").exists()
    assert "quantiles must be" in refused(lambda: write_bundle(folder, tmp_path / "again"))
    assert "is not a run folder" in refused(lambda: open_run(folder))


def test_predictions_made_before_a_bundle_fails_are_kept(tmp_path: Path) -> None:
    """A network that says 5 of white images; the command goes on with what it has when it is called again."""
    graph = make_graph(mask=0.0)
    graph.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.asarray(np.float32(5 / 255)), "zero"))
    for node, given in ((graph.graph.node[4], "flat"),):
        node.input[0] = given
    flat = helper.make_node("Mul", ["x", "nothing"], ["flat"])
    graph.graph.node.insert(1, flat)
    graph.graph.initializer.append(numpy_helper.from_array(np.asarray(np.float32(0)), "nothing"))
    folder, images = make_bundle(tmp_path / "bundle", graph), tmp_path / "images"
    images.mkdir()
    for k in range(20):
        gray = make_image(40, 50) // 8
        if k == 19:
            gray[:20] = 255
        Image.fromarray(gray).save(images / f"{k:02}.png")
    done = call(
        "busi.predict", str(images), "--run", str(folder), "--output", str(tmp_path / "out"), cwd=tmp_path
    )
    assert done.returncode == 1
    assert done.stderr.strip().startswith(
        f"error: {folder}/model.onnx gives lesion probabilities from 0 to 5"
    )
    assert len(done.stderr.strip().splitlines()) == 1
    assert len(list((tmp_path / "out" / "masks").glob("*.png"))) == 16  # two whole batches


def test_networks_of_any_model_are_checked(trained: Path) -> None:
    """Those of a run too: its weights may be damaged."""
    import torch

    from busi.inference.loading import as_network, load_networks
    from busi.inference.maps import segment

    two_stage, info = load_networks(trained)
    assert isinstance(two_stage, TwoStage)
    with torch.no_grad():
        next(two_stage.classifier.parameters()).fill_(NAN)
    assert "the model gives class probabilities from nan" in refused(
        lambda: Predictor(Model(as_network(two_stage), info))(make_image(40, 50))
    )
    with torch.no_grad():
        next(two_stage.segmenter.parameters()).fill_(NAN)
    assert "the segmentation model gives NaN" in refused(
        lambda: segment(two_stage.segmenter, make_image(32, 32)[None])
    )


def test_what_could_not_be_read_again_is_not_written(bundle: Path, tmp_path: Path) -> None:
    from dataclasses import replace

    shutil.copy(bundle / "model.onnx", tmp_path)
    about = {"precision": "float32", "num_checked": 1, "largest_difference": 0.0}
    info = read_model_info(bundle)
    write_model_info(tmp_path, info, about)
    assert read_model_info(tmp_path) == info
    (tmp_path / "model.json").unlink()
    for wrong in (replace(info, temperature=NAN), replace(info, quantiles=(1.0, 1.0, INFINITY))):
        assert "must be" in refused(lambda wrong=wrong: write_model_info(tmp_path, wrong, about))
        assert not (tmp_path / "model.json").exists()


def test_operators_of_the_graphs_that_come_along_are_those_of_onnx() -> None:
    graph = onnx.load(PRETRAINED / "model.onnx", load_external_data=False).graph
    assert {node.domain for node in graph.node} == {""}
    size = read_model_info(PRETRAINED).image_size
    mask_probs, _ = open_graph(PRETRAINED / "model.onnx", size)(np.zeros((2, size, size), np.uint8))
    assert mask_probs.shape == (2, size, size)


def test_arguments_of_a_program_are_checked(bundle: Path) -> None:
    for batch_size in (0, -1):
        assert f"batch_size={batch_size}: give at least 1" in refused(
            lambda batch_size=batch_size: Predictor(bundle, batch_size=batch_size)
        )
