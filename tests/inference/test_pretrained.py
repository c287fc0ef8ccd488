"""The model that comes with the package: whole, described, and as good as it says."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import hydra
import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import f1_score

from busi import Predictor
from busi.core.files import conf_dir
from busi.core.tables import read_table
from busi.core.types import CLASSES, NORMAL, InputError
from busi.data.datamodule import BUSIDataModule
from busi.data.masks import read_mask
from busi.evaluation.evaluation import evaluate
from busi.inference.bundle import PRETRAINED
from busi.inference.export import write_bundle
from busi.inference.model_info import read_model_info
from busi.metrics.segmentation import dice
from tests.inference.test_predictor import make_image


def test_it_is_small_calibrated_and_says_what_it_is() -> None:
    info, model_card = read_model_info(PRETRAINED), (PRETRAINED / "README.md").read_text()
    assert sum(path.stat().st_size for path in PRETRAINED.rglob("*") if path.is_file()) <= 20e6
    assert info.quantiles is not None
    assert len(info.seen or ()) == 608
    assert (info.origin["data"], info.origin["fold"], info.origin["guide"]) == ("busi", 0, "crossfit")
    for words in (
        "no medical device",
        "CC BY 4.0",
        "Apache-2.0",
        f"| dice | {info.metrics['test/dice'][0]:.3f} |",
    ):
        assert words in model_card


def test_an_image_needs_no_run(tmp_path: Path) -> None:
    Image.fromarray(make_image(120, 160)).save(tmp_path / "image.png")
    command = [sys.executable, "-m", "busi.predict", "image.png", "--output", "out"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "The model that comes with busi" in done.stderr + done.stdout
    (row,) = read_table(tmp_path / "out" / "predictions.csv")
    assert row["calibrated"] == "1"
    found = Predictor()(tmp_path / "image.png")
    assert row["pred"] == found.pred
    assert float(row["prob_malignant"]) == pytest.approx(found.probs["malignant"], abs=1e-6)


@pytest.mark.slow
@pytest.mark.skipif("BUSI_ROOT" not in os.environ, reason="needs the BUSI files")
def test_it_reaches_on_its_test_fold_what_its_model_card_says(cache: Path) -> None:
    with hydra.initialize_config_dir(config_dir=str(conf_dir()), version_base="1.3"):
        cfg = hydra.compose("train", overrides=[f"cache_dir={cache}", "data.fold=0"])
    data: BUSIDataModule = hydra.utils.instantiate(cfg.data)
    predictor, info = Predictor(), read_model_info(PRETRAINED)
    content = json.loads((PRETRAINED / "model.json").read_text())
    assert content["fingerprints"]["data"] == data.cohort.data_fingerprint
    assert content["fingerprints"]["split"] == data.cohort.split_fingerprint
    labels, preds, scores = [], [], []
    for i in data.cohort.indices("test"):
        record = data.cohort.records[i]
        found = predictor(record.image)
        labels.append(record.label)
        preds.append(CLASSES.index(found.pred))
        if record.label != NORMAL:
            scores.append(dice(found.mask, read_mask(record, *found.mask.shape).astype(bool)))
    assert np.mean(scores) == pytest.approx(info.metrics["test/dice"][0], abs=0.005)
    # One answer of 153 is 0.007; 16-bit weights may change two.
    assert f1_score(labels, preds, average="macro") == pytest.approx(
        info.metrics["test/macro_f1"][0], abs=0.02
    )


@pytest.mark.slow
@pytest.mark.skipif("BUSI_ROOT" not in os.environ, reason="needs the BUSI files")
def test_what_it_has_seen_is_found_again_from_its_data(tmp_path: Path) -> None:
    old = shutil.copytree(PRETRAINED, tmp_path / "old")
    content = json.loads((old / "model.json").read_text())
    seen = content.pop("seen")
    (old / "model.json").write_text(json.dumps({**content, "format": 3}))
    write_bundle(old, tmp_path / "new")
    assert list(read_model_info(tmp_path / "new").seen or ()) == seen
    assert (tmp_path / "new" / "README.md").read_text() == (PRETRAINED / "README.md").read_text()
    assert (tmp_path / "new" / "model.onnx").read_bytes() == (PRETRAINED / "model.onnx").read_bytes()
    content["fingerprints"]["split"] = "0" * 16
    (old / "model.json").write_text(json.dumps({**content, "format": 3}))
    with pytest.raises(InputError, match="another fingerprint of its split"):
        write_bundle(old, tmp_path / "other")


@pytest.mark.slow
@pytest.mark.skipif("BUSI_ROOT" not in os.environ, reason="needs the BUSI files")
def test_evaluated_on_its_own_data_its_test_fold_remains_with_the_numbers_of_the_card(
    cache: Path, tmp_path: Path
) -> None:
    evaluate(None, "busi", tmp_path / "out", cache_dir=cache)
    found = json.loads((tmp_path / "out" / "metrics.json").read_text())
    for name, (value, *_) in read_model_info(PRETRAINED).metrics.items():
        if not name.startswith("test/hd95"):
            assert found[name] == pytest.approx(value, abs=0.005), name
