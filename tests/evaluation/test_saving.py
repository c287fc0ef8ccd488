"""A bundle whose model.json has another temperature than its graph."""

import importlib.util
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.special import softmax

from busi.core.types import InputError
from busi.data.catalog import DataSet
from busi.evaluation.opening import OpenedModel
from busi.evaluation.recalibration import DecisionRule, rule_of
from busi.evaluation.saving import check_free, check_no_bundle, save_bundle
from busi.inference.answers import answer_as_bundle
from busi.inference.bundle import PRETRAINED, load_bundle
from busi.inference.model_info import ModelInfo, read_model_info, read_model_json
from busi.inference.predictor import Predictor
from busi.inference.renewal import copy_bundle
from busi.runs.seen_images import SeenImages
from tests.inference.test_predictor import make_image
from tests.made_runs import make_cohort


def test_another_temperature_changes_what_is_predicted_and_not_the_logits(tmp_path: Path) -> None:
    info, gray = read_model_info(PRETRAINED), make_image(90, 120)
    copy_bundle(PRETRAINED, tmp_path / "warm", replace(info, temperature=2.5))
    before, after = (
        answer_as_bundle(load_bundle(x))([gray], [None])[0] for x in (PRETRAINED, tmp_path / "warm")
    )
    assert before.logits is not None
    assert after.logits is not None
    shift = before.logits - after.logits
    np.testing.assert_allclose(shift, shift.mean(), atol=1e-5)
    np.testing.assert_array_equal(before.mask_probs, after.mask_probs)
    found = Predictor(tmp_path / "warm")(gray)
    np.testing.assert_allclose(list(found.probs.values()), softmax(before.logits / 2.5), atol=1e-6)
    # Biases come after the temperature, and are taken off again.
    biases = (0.5, -1.5, 1.0)
    copy_bundle(PRETRAINED, tmp_path / "biased", replace(info, temperature=2.5, biases=biases))
    assert read_model_info(tmp_path / "biased").biases == biases
    (with_biases,) = answer_as_bundle(load_bundle(tmp_path / "biased"))([gray], [None])
    assert with_biases.logits is not None
    shift = before.logits - with_biases.logits
    np.testing.assert_allclose(shift, shift.mean(), atol=1e-4)
    expected = softmax(before.logits / 2.5 + np.array(biases))
    np.testing.assert_allclose(list(Predictor(tmp_path / "biased")(gray).probs.values()), expected, atol=1e-6)
    spec = importlib.util.spec_from_file_location("example", tmp_path / "biased" / "example.py")
    assert spec is not None
    assert spec.loader is not None
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    session = example.onnxruntime.InferenceSession(str(tmp_path / "biased" / "model.onnx"))
    np.testing.assert_allclose(example.predict(gray, example.MODEL, session)[1], expected, atol=1e-5)
    card = (tmp_path / "biased" / "README.md").read_text()
    assert "biases 0.500 (normal), -1.500 (benign), 1.000 (malignant)" in card
    # A copy of a copy knows the temperature of the graph still, and going back leaves no trace.
    copy_bundle(tmp_path / "warm", tmp_path / "cold", replace(info, temperature=0.5))
    assert read_model_json(tmp_path / "cold")[1]["temperature"] == info.temperature
    copy_bundle(tmp_path / "cold", tmp_path / "same", info)
    for name in ("model.json", "model.onnx", "README.md"):
        assert (tmp_path / "same" / name).read_bytes() == (PRETRAINED / name).read_bytes()


def test_only_a_bundle_of_an_earlier_evaluation_is_replaced(tmp_path: Path) -> None:
    check_free(tmp_path / "new")
    check_no_bundle(tmp_path / "new", None)
    own = shutil.copytree(PRETRAINED, tmp_path / "own")
    with pytest.raises(InputError, match="holds something else"):
        check_free(own)
    (tmp_path / "notes").mkdir()
    check_free(tmp_path / "notes")
    (tmp_path / "notes" / "a.txt").write_text("")
    with pytest.raises(InputError, match="holds something else"):
        check_free(tmp_path / "notes")
    made = {"data": "a", "fingerprint": "b", "num_images": 1, "date": "c", "kept": []}
    info = read_model_info(own)
    copy_bundle(own, tmp_path / "made", replace(info, origin=info.origin | {"recalibrated": made}))
    check_free(tmp_path / "made")
    check_no_bundle(tmp_path / "made", tmp_path / "made")
    with pytest.raises(InputError, match="made is of an earlier calibration: give another --output"):
        check_no_bundle(tmp_path / "made", None)


def make_rule(info: ModelInfo, temperature: float) -> DecisionRule:
    own = rule_of(info)
    return replace(own, calibration=replace(own.calibration, temperature=temperature))


@pytest.mark.parametrize("damaged", [False, True])
def test_a_model_that_is_calibrated_into_its_own_place_is_never_lost(tmp_path: Path, damaged: bool) -> None:
    info, folder = read_model_info(PRETRAINED), tmp_path / "local" / "bundle"
    cohort = make_cohort(0, {"mine": (6, 6, 6)}, (), None)

    def save(source: Path, temperature: float) -> str:
        opened = OpenedModel(source, read_model_info(source), lambda *_: [], (), SeenImages(set(), [], []))
        check_free(folder)
        data = DataSet("mine", tmp_path, {})
        numbers: dict[str, dict[str, list[float | None]]] = {"before": {}, "after": {}}
        rule = make_rule(info, temperature)
        return save_bundle(opened, rule, cohort, data, numbers, folder)

    assert save(PRETRAINED, 1.5) == ""
    if damaged:
        with (folder / "model.onnx").open("ab") as file:
            file.write(b"0")
    assert ("is not the graph" in save(folder, 2.5)) == damaged
    assert read_model_info(folder).temperature == (1.5 if damaged else 2.5)
    assert [path.name for path in folder.parent.iterdir()] == ["bundle"]
