"""A segmentation run as a model: masks without classes, from the run and from its bundle."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from busi.core.tables import read_table
from busi.core.types import CLASSES, InputError
from busi.evaluation.evaluation import evaluate
from busi.inference.demo_server import open_model
from busi.inference.demo_text import View, describe_diagnosis, describe_model
from busi.inference.export import write_bundle
from busi.inference.folder import predict_files
from busi.inference.model_info import read_model_info
from busi.inference.predictor import Predictor, as_frame
from busi.runs.predictions import find_records
from busi.runs.run import open_run
from tests.inference.test_predictor import make_image


@pytest.fixture(scope="module")
def masks(trained: Path) -> Path:
    """The segmentation run that guides the run `trained`."""
    return trained.parents[1] / "seg" / "run"


def test_masks_are_those_of_the_classifier_that_it_guides(masks: Path, trained: Path) -> None:
    alone, both = Predictor(masks, tta="flip"), Predictor(trained, tta="flip")
    for size in ((40, 70), (200, 150)):
        found, expected = alone(make_image(*size)), both(make_image(*size))
        assert np.array_equal(found.mask_probs, expected.mask_probs)
        assert np.array_equal(found.mask, expected.mask)
        assert found.pred is None
        assert not found.probs
        assert found.conformal_set is None
        assert found.refer is None
    assert not alone.has_classes
    assert not alone.calibrated
    with pytest.raises(InputError, match="give one kind"):
        Predictor([masks, trained])


def test_prediction_leaves_the_class_out(
    masks: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in "ab":
        Image.fromarray(make_image(40, 50)).save(tmp_path / f"{name}.png")
    caplog.set_level("INFO")
    predict_files([str(tmp_path)], tmp_path / "out", [masks])
    assert "Masks alone" in caplog.text
    assert "Not calibrated" not in caplog.text
    found = Predictor(masks)(tmp_path / "a.png")
    for row in read_table(tmp_path / "out" / "predictions.csv"):
        empty = ("pred", *(f"prob_{name}" for name in CLASSES), "calibrated", "conformal_set", "refer")
        assert {row[name] for name in empty} == {""}
        assert row["pred_area"] == str(found.pred_area)
        assert (np.asarray(Image.open(tmp_path / "out" / "masks" / f"{row['id']}.png")) > 0).sum() == (
            found.pred_area
        )


def test_the_demo_shows_masks_alone(masks: Path) -> None:
    predictor, explainer = open_model(masks)
    assert explainer is None
    assert "It gives masks alone" in describe_model(predictor.infos[0], explained=False)
    frame = as_frame(make_image(40, 50))
    assert describe_diagnosis(View("a", frame, predictor.predict_one(frame)), 0.9) == "<p>a</p>"


@pytest.mark.slow
def test_a_bundle_of_masks(masks: Path, cache: Path, tmp_path: Path) -> None:
    """It predicts and is evaluated like its run, and its card says nothing of classes."""
    bundle = tmp_path / "bundle"
    info = write_bundle(masks, bundle, "f16")
    assert read_model_info(bundle) == info
    assert info.metrics.keys() >= {"test/dice"} or not info.metrics
    about = json.loads((bundle / "model.json").read_text())
    assert about["classes"] == []
    assert about["graph"]["reduced"]["macro_f1"] is None
    card = (bundle / "README.md").read_text()
    for word in ("class_probs", "Temperature", "macro-F1", "Guide"):
        assert word not in card
    path = tmp_path / "a.png"
    Image.fromarray(make_image(90, 70)).save(path)
    found, expected = Predictor(bundle)(path), Predictor(masks)(path)
    assert found.pred is None
    np.testing.assert_allclose(found.mask_probs, expected.mask_probs, atol=0.01)
    command = [sys.executable, str(bundle / "example.py"), "a.png"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == f"lesion of {found.pred_area} pixels: a_mask.png\n"
    assert np.array_equal(np.asarray(Image.open(tmp_path / "a_mask.png")), found.mask)
    own = str(next(iter(find_records(open_run(masks)).values())).image.parents[1])
    dices = []
    for name, model in (("run", masks), ("again", bundle)):
        evaluate(model, own, tmp_path / name, cache_dir=cache)
        rows = read_table(tmp_path / name / "predictions.csv")
        assert "pred" not in rows[0]
        dices.append({row["id"]: float(row["dice"]) for row in rows})
    assert dices[0].keys() == dices[1].keys()
    assert dices[0] == pytest.approx(dices[1], abs=0.1)
