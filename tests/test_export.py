"""Bundles: what they hold, that they check themselves, and that anybody can use them."""

import json
import logging
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from PIL import Image
from sklearn.metrics import f1_score

from busi import Predictor
from busi.core.tables import read_table, write_table
from busi.core.types import CLASSES, InputError
from busi.data.masks import read_mask
from busi.inference.bundle import Model
from busi.inference.export import (
    Quality,
    check_graph,
    lower_precision,
    measure_quality,
    split_records,
    write_bundle,
)
from busi.inference.graph import open_graph
from busi.inference.loading import load_networks
from busi.inference.model_info import ModelInfo, read_model_info
from busi.models.two_stage import TwoStage
from busi.runs.run import open_run
from tests.conftest import accept
from tests.inference.test_predictor import make_image
from tests.processes import call


def test_graph_takes_any_number_of_images(bundle: Path) -> None:
    session = onnxruntime.InferenceSession(bundle / "model.onnx")
    letterboxed = np.stack([make_image(32, 32 + k)[:, :32] for k in range(5)])
    for count in (1, 2, 5):
        mask_probs, class_probs = session.run(["mask_probs", "class_probs"], {"images": letterboxed[:count]})
        assert mask_probs.shape == (count, 32, 32)
        assert np.allclose(class_probs.sum(axis=1), 1, atol=1e-6)
        assert ((mask_probs >= 0) & (mask_probs <= 1)).all()


def test_bundle_says_what_the_run_knows(trained: Path, bundle: Path) -> None:
    _, info = load_networks(trained)
    assert read_model_info(bundle) == info
    metrics = json.loads((trained / "metrics.json").read_text())
    assert info.metrics["test/macro_f1"][0] == metrics["test/macro_f1"]
    assert "test/dice" in info.metrics
    content = json.loads((bundle / "model.json").read_text())
    assert content["classes"] == list(CLASSES)
    assert 0 <= content["graph"]["largest_difference"] <= 1e-3
    model_card = (bundle / "README.md").read_text()
    assert "research only" in model_card
    assert "Data synthetic, fingerprint" in model_card
    assert "Synthetic data: these numbers mean nothing medically." in model_card
    assert f"| macro_f1 | {metrics['test/macro_f1']:.3f} |" in model_card
    assert "Apache License" in (bundle / "LICENSE").read_text()


def test_example_needs_four_packages_and_agrees_with_the_command(bundle: Path, tmp_path: Path) -> None:
    text = (bundle / "example.py").read_text()
    lines = [line for line in text.splitlines() if line.startswith(("import", "from"))]
    imported = {line.split()[1].split(".")[0] for line in lines}
    assert imported == {"json", "os", "sys", "pathlib", "typing", "numpy", "onnxruntime", "PIL", "scipy"}
    assert text.index("ORT_DISABLE_TELEMETRY") < text.index("import onnxruntime")
    for size in ((40, 70), (200, 150)):
        path = tmp_path / f"{size[0]}.png"
        Image.fromarray(make_image(*size)).save(path)
        command = [sys.executable, str(bundle / "example.py"), path.name]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
        found, mask = Predictor(bundle)(path), tmp_path / f"{size[0]}_mask.png"
        assert np.array_equal(np.asarray(Image.open(mask)), found.mask)
        before = mask.read_bytes()
        again = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert (again.returncode, again.stderr) == (
            1,
            f"{mask.name} is here already: move it, or go to another folder\n",
        )
        assert mask.read_bytes() == before
        lines = done.stdout.splitlines()
        for line, name in zip(lines, CLASSES, strict=False):
            assert line.split()[:2] == [name, f"{found.probs[name]:.3f}"]
            assert ("cannot be excluded" in line) == (name in (found.conformal_set or ()))


def test_graph_that_differs_is_refused(trained: Path, bundle: Path) -> None:
    two_stage, info = load_networks(trained)
    assert isinstance(two_stage, TwoStage)
    records = split_records(open_run(trained), None)["val"]
    for weight in two_stage.segmenter.parameters():
        weight.data *= 1.01
    with pytest.raises(InputError, match="differs from PyTorch"):
        check_graph(two_stage, info, bundle, records)


def test_quality_agrees_with_an_image_by_image_loop(trained: Path, bundle: Path) -> None:
    records, info = split_records(open_run(trained), None)["val"], read_model_info(bundle)
    predictor, found, names = Predictor(bundle), [], []
    for record in records:
        prediction = predictor(record.image)
        names.append(CLASSES.index(str(prediction.pred)))
        if record.label:
            mask = read_mask(record, *prediction.mask.shape).astype(bool)
            found.append(2 * (mask & prediction.mask).sum() / (mask.sum() + prediction.pred_area))
    quality = measure_quality(bundle, info, records)
    assert quality.dice == pytest.approx(np.mean(found))
    labels = [record.label for record in records]
    assert quality.macro_f1 == pytest.approx(f1_score(labels, names, average="macro", labels=[0, 1, 2]))
    assert quality.num_images == len(records)


def test_int8_is_written_or_refused_by_what_it_loses(
    trained: Path, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, info = shutil.copytree(bundle, tmp_path / "bundle"), read_model_info(bundle)
    splits = split_records(open_run(trained), None)
    size = (folder / "model.onnx").stat().st_size
    qualities = iter([Quality(9, 0.70, 0.8), Quality(9, 0.691, 0.781), Quality(9, 0.70, 0.8)])

    def given(*_: object) -> Quality:
        return next(qualities)

    with monkeypatch.context() as patch:
        patch.setattr("busi.inference.export.measure_quality", given)
        about = lower_precision("int8", info, folder, splits)
        assert about["reduced"] == {"num_images": 9, "dice": 0.691, "macro_f1": 0.781}
        assert (folder / "model.onnx").stat().st_size < size / 2
        mask_probs, class_probs = open_graph(folder / "model.onnx", 32)(make_image(32, 32)[None])
        assert mask_probs.shape == (1, 32, 32)
        assert class_probs.sum() == pytest.approx(1, abs=1e-5)
        for quality, name in ((Quality(9, 0.68, 0.8), "dice"), (Quality(9, 0.7, 0.77), "macro_f1")):
            qualities = iter([Quality(9, 0.70, 0.8), quality])
            shutil.copy(bundle / "model.onnx", folder / "model.onnx")
            with pytest.raises(InputError, match=f"int8 brings the validation {name}"):
                lower_precision("int8", info, folder, splits)
    assert logging.root.manager.disable == logging.NOTSET


def test_16_bit_weights_halve_the_file_and_change_little(trained: Path, bundle: Path, tmp_path: Path) -> None:
    halved = tmp_path / "bundle"
    write_bundle(trained, halved, "f16")
    sizes = [(folder / "model.onnx").stat().st_size for folder in (halved, bundle)]
    assert sizes[0] < 0.55 * sizes[1]
    letterboxed = np.stack([make_image(32, 32) for _ in range(3)])
    answers = [open_graph(folder / "model.onnx", 32)(letterboxed) for folder in (halved, bundle)]
    for found, exact in zip(*answers, strict=True):
        np.testing.assert_allclose(found, exact, atol=0.01)
    assert "f16 against float32" in (halved / "README.md").read_text()


def test_a_graph_that_gives_no_probabilities_is_not_exported(trained: Path, bundle: Path) -> None:
    """NaN is no small difference, and lower precision cannot bring it in."""
    two_stage, info = load_networks(trained)
    assert isinstance(two_stage, TwoStage)
    records = split_records(open_run(trained), None)["val"]
    for weight in two_stage.classifier.parameters():
        weight.data *= float("nan")
    with pytest.raises(InputError, match="class probabilities from nan to nan"):
        check_graph(two_stage, info, bundle, records)
    with pytest.raises(InputError, match="no validation images"):
        check_graph(two_stage, info, bundle, [])


def test_export_says_what_is_missing(trained: Path, bundle: Path, tmp_path: Path) -> None:
    alone = tmp_path / "a.ckpt"
    shutil.copy(trained / "checkpoints" / "last.ckpt", alone)
    with pytest.raises(InputError, match="needs its run folder"):
        write_bundle(alone, tmp_path / "out")
    run = shutil.copytree(trained, tmp_path / "run")
    rows = read_table(run / "split.csv")
    next(row for row in rows if row["split"] == "val")["id"] = "another"
    write_table(run / "split.csv", rows)
    with pytest.raises(InputError, match="split.csv is not the file that this run wrote"):
        write_bundle(run, tmp_path / "out")
    accept(run)
    with pytest.raises(InputError, match=r"1 images of .* are gone, e.g. another"):
        split_records(open_run(run), None)
    assert not (tmp_path / "out").exists()
    with pytest.raises(InputError, match="precision f64: give f32, f16 or int8"):
        write_bundle(trained, tmp_path / "out", "f64")
    with pytest.raises(InputError, match="is not empty"):
        write_bundle(trained, alone)
    done = call("busi.export", str(trained), "--output", str(bundle), cwd=tmp_path)
    assert done.returncode == 1
    assert "is not empty" in done.stderr


def test_model_info_without_calibration_give_no_sets(bundle: Path) -> None:
    info: ModelInfo = replace(read_model_info(bundle), quantiles=None)
    found = Predictor(Model(open_graph(bundle / "model.onnx", 32), info))(make_image(30, 40))
    assert (found.calibrated, found.conformal_set) == (False, None)
