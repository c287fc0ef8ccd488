"""A bundle and its run on other data, and what a local calibration of them leaves behind."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from busi.core.tables import read_table
from busi.core.types import CLASSES, InputError
from busi.data.synthetic import make_synthetic
from busi.evaluation.evaluation import evaluate
from busi.inference.export import write_bundle
from busi.inference.model_info import read_model_info
from busi.inference.predictor import Predictor
from busi.runs.predictions import find_records
from busi.runs.run import open_run

pytestmark = pytest.mark.slow

EVALUATE = "import sys, runpy; runpy.run_module('busi.evaluate', run_name='__main__'); "
WITHOUT_TORCH = f"{EVALUATE} sys.exit(' '.join({{'torch', 'lightning'}} & sys.modules.keys()) or 0)"


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another hospital."""
    return make_synthetic(tmp_path_factory.mktemp("other") / "hospital", (24, 24, 24), 96, 7)


def rows_of(folder: Path, split: str = "test") -> dict[str, dict[str, str]]:
    return {row["id"]: row for row in read_table(folder / "predictions.csv") if row["split"] == split}


def test_a_bundle_needs_no_torch_and_gives_the_numbers_of_its_run(
    trained: Path, bundle: Path, cache: Path, tmp_path: Path
) -> None:
    own = str(next(iter(find_records(open_run(trained)).values())).image.parents[1])
    evaluate(trained, own, tmp_path / "run", cache_dir=cache)
    command = [
        sys.executable,
        "-c",
        WITHOUT_TORCH,
        str(bundle),
        "--data",
        own,
        "--output",
        str(tmp_path / "bundle"),
    ]
    environment = {**os.environ, "BUSI_CACHE": str(cache)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    runs, bundles = rows_of(tmp_path / "run"), rows_of(tmp_path / "bundle")
    # Both leave out what trained or chose them.
    assert runs.keys() == bundles.keys() == {row["id"] for row in rows_of(trained).values()}
    for name, row in runs.items():
        for column in ("dice", *(f"prob_{label}" for label in CLASSES)):
            assert float(bundles[name][column]) == pytest.approx(float(row[column]), abs=2e-3), (name, column)
    contents = [json.loads((tmp_path / name / "report.json").read_text()) for name in ("run", "bundle")]
    assert all({"segmentation", "diagnosis"} <= content.keys() for content in contents)
    (one,), (another,) = (content["diagnosis"]["guides"]["predicted"]["calibration"] for content in contents)
    assert one["temperature"] == pytest.approx(another["temperature"])
    # A bundle does not know its seed, and the page does not make one up.
    assert one["seeds"] == [0]
    assert another["seeds"] == []
    assert "<td>unknown</td>" in (tmp_path / "bundle" / "index.html").read_text()
    titles = [content["title"] for content in contents]
    assert titles[0].startswith("Evaluation of classifier with early guide (test_efficientnet), run ")
    assert titles[1].startswith(f"Evaluation of the bundle {bundle.name} (test_efficientnet, trained on ")


def without_seen(bundle: Path, target: Path) -> Path:
    """A bundle as busi wrote it before it kept what a model has seen."""
    shutil.copytree(bundle, target)
    content = json.loads((target / "model.json").read_text())
    del content["seen"]
    (target / "model.json").write_text(json.dumps({**content, "format": 3}))
    return target


def test_an_old_bundle_works_and_says_what_it_cannot_know(
    trained: Path, bundle: Path, cache: Path, tmp_path: Path
) -> None:
    own = next(iter(find_records(open_run(trained)).values())).image.parents[1]
    old = without_seen(bundle, tmp_path / "old")
    page = evaluate(old, str(own), tmp_path / "out", cache_dir=cache).read_text()
    assert "This bundle does not say which images it has seen" in page
    assert not [row for row in read_table(tmp_path / "out" / "split.csv") if row["reason"] == "seen"]
    with pytest.raises(InputError, match="and says what it has seen"):
        write_bundle(bundle, tmp_path / "again")


def test_a_recalibrated_model_is_a_bundle_that_has_seen_what_calibrated_it(
    bundle: Path, other: Path, cache: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    page = evaluate(bundle, str(other), out, cache_dir=cache, calibrate_on="0.5").read_text()
    content: dict[str, Any] = json.loads((out / "report.json").read_text())
    settings = content["recalibration"]["decision_rules"]
    before, after = read_model_info(bundle), read_model_info(out / "bundle")
    assert (before.temperature, after.temperature) == pytest.approx(
        (settings["frozen"]["temperature"], settings["recalibrated"]["temperature"])
    )
    assert after.temperature != before.temperature
    assert (before.biases, list(after.biases or ())) == (None, settings["recalibrated"]["biases"])
    counts = [sum(row["label"] == label for row in rows_of(out, "val").values()) for label in CLASSES]
    assert "They are {} normal, {} benign, {} malignant".format(*counts) in page
    assert (bundle / "model.onnx").read_bytes() == (out / "bundle" / "model.onnx").read_bytes()
    val, test = rows_of(out, "val"), rows_of(out)
    assert after.origin["recalibrated"]["num_images"] == len(val) > 0
    assert not {row["group"] for row in val.values()} & {row["group"] for row in test.values()}
    # What busi.predict says is what was judged.
    (name, row), found = next(iter(test.items())), content["recalibration"]["diagnosis"]
    prediction = Predictor(out / "bundle")(other / row["label"] / f"{name}.png")
    logits = np.array([float(row[f"logit_{label}"]) for label in CLASSES]) / after.temperature
    logits += np.array(after.biases)
    probs = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
    assert [prediction.probs[label] for label in CLASSES] == pytest.approx(probs.tolist(), abs=1e-4)
    image = str(other / row["label"] / f"{name}.png")
    command = [sys.executable, str(out / "bundle" / "example.py"), image]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    for label, line in zip(CLASSES, done.stdout.splitlines(), strict=False):
        assert float(line.split()[1]) == pytest.approx(prediction.probs[label], abs=1e-3)
        assert ("cannot be excluded" in line) == (label in (prediction.conformal_set or ()))
    # The card has the numbers, and the page the curve.
    card = (out / "bundle" / "README.md").read_text()
    assert f"{len(val)} images of hospital" in card
    brier = found["after"]["hospital"]["brier"]["value"]
    assert f"{brier:.3f} [" in card.partition("| brier |")[2].partition("\n")[0]
    assert "How many labeled images are needed" in page
    assert content["learning_curve"]["sizes"][0] == 10
    # Evaluated again, it leaves out what calibrated it; and an evaluation may be repeated.
    evaluate(out / "bundle", str(other), tmp_path / "again", cache_dir=cache)
    assert not rows_of(tmp_path / "again").keys() & val.keys()
    evaluate(bundle, str(other), out, cache_dir=cache, calibrate_on="0.5", seed=1)
    assert read_model_info(out / "bundle").origin["recalibrated"] != after.origin["recalibrated"]


def test_a_segmentation_run_is_calibrated_by_its_masks_alone(
    trained: Path, other: Path, cache: Path, tmp_path: Path
) -> None:
    run = trained.parents[1] / "seg" / "run"
    evaluate(run, str(other), tmp_path / "out", cache_dir=cache, calibrate_on="0.5")
    content = json.loads((tmp_path / "out" / "report.json").read_text())
    assert content["recalibration"]["kept"] == []
    assert "diagnosis" not in content["recalibration"]
    assert "learning_curve" not in content
    bundle = read_model_info(tmp_path / "out" / "bundle")
    assert not bundle.has_classes
    rule = content["recalibration"]["decision_rules"]["recalibrated"]
    assert asdict(bundle.postprocess) == rule["postprocess"]
    assert "probabilities of" not in (tmp_path / "out" / "bundle" / "README.md").read_text()
    lesions = make_manifest(tmp_path / "lesions.csv", other, ("benign", "malignant"))
    with pytest.raises(InputError, match="0 images without a lesion"):
        evaluate(run, str(lesions), tmp_path / "no", cache_dir=cache, calibrate_on="0.5")
    assert not (tmp_path / "no").exists()


def test_what_no_image_tells_stays_and_unannotated_lesions_count_in_the_diagnosis(
    bundle: Path, other: Path, cache: Path, tmp_path: Path
) -> None:
    lesions = make_manifest(tmp_path / "lesions.csv", other, ("benign", "malignant"), masks=5)
    page = evaluate(bundle, str(lesions), tmp_path / "out", cache_dir=cache, calibrate_on="0.5").read_text()
    info, own = read_model_info(tmp_path / "out" / "bundle"), read_model_info(bundle)
    assert (info.quantiles or ())[0] == (own.quantiles or ())[0]
    assert info.postprocess == own.postprocess
    kept = info.origin["recalibrated"]["kept"]
    assert kept[0] == "the conformal quantile of normal stays (no such images)"
    assert "images without a lesion" in kept[1]
    count = sum(not row["dice"] for row in rows_of(tmp_path / "out").values())
    assert count > 0
    assert f"{count} lesions without a mask count in the diagnosis" in page
    assert f"{len(rows_of(tmp_path / 'out'))} test images in " in page
    alone = make_manifest(tmp_path / "benign.csv", other, ("benign",))
    with pytest.raises(InputError, match="images of one class alone"):
        evaluate(bundle, str(alone), tmp_path / "no", cache_dir=cache, calibrate_on="0.5")


def make_manifest(path: Path, root: Path, labels: tuple[str, ...], masks: int = 100) -> Path:
    """A manifest of some classes, with the masks of the first images alone."""
    lines = ["image,mask,label"]
    for label in labels:
        images = sorted(file for file in (root / label).glob("*.png") if "_mask" not in file.name)
        for number, image in enumerate(images):
            mask = image.with_name(f"{image.stem}_mask.png") if number < masks else ""
            lines.append(f"{image},{mask},{label}")
    path.write_text("\n".join(lines))
    return path
