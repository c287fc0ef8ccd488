"""A bundle whose model.json has another temperature than its graph."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.special import softmax

from busi.core.types import InputError
from busi.evaluation.saving import check_free
from busi.inference.answers import answer_as_bundle
from busi.inference.bundle import PRETRAINED, load_bundle
from busi.inference.model_info import read_model_info, read_model_json
from busi.inference.predictor import Predictor
from busi.inference.renewal import copy_bundle
from tests.inference.test_predictor import make_image


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
    # A copy of a copy knows the temperature of the graph still, and going back leaves no trace.
    copy_bundle(tmp_path / "warm", tmp_path / "cold", replace(info, temperature=0.5))
    assert read_model_json(tmp_path / "cold")[1]["temperature"] == info.temperature
    copy_bundle(tmp_path / "cold", tmp_path / "same", info)
    for name in ("model.json", "model.onnx", "README.md"):
        assert (tmp_path / "same" / name).read_bytes() == (PRETRAINED / name).read_bytes()


def test_only_a_bundle_of_an_earlier_evaluation_is_replaced(tmp_path: Path) -> None:
    check_free(tmp_path / "new")
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
