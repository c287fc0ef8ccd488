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
from busi.core.building import open_configs
from busi.core.tables import read_table
from busi.core.types import CLASSES, NORMAL, InputError
from busi.data.citations import CITATIONS
from busi.data.datamodule import BUSIDataModule
from busi.data.masks import read_mask
from busi.evaluation.evaluation import evaluate
from busi.inference.bundle import PRETRAINED
from busi.inference.export import write_bundle
from busi.inference.folder import predict_inputs
from busi.inference.model_info import read_model_info
from busi.metrics.segmentation import dice
from tests.inference.test_predictor import make_image


def test_it_is_small_calibrated_and_says_what_it_is() -> None:
    info, model_card = read_model_info(PRETRAINED), (PRETRAINED / "README.md").read_text()
    assert sum(path.stat().st_size for path in PRETRAINED.rglob("*") if path.is_file()) <= 20e6
    assert info.quantiles is not None
    assert len(info.seen or ()) == 608 + 1500  # of BUSI and BUS-BRA: all but their test folds and conflicts
    assert info.origin["sources"] == ["busi", "busbra"]
    assert (info.origin["fold"], info.origin["guide"]) == (0, "crossfit")
    for words in (
        "no medical device",
        *(CITATIONS[name] for name in ("busi", "busbra")),
        "Apache-2.0",
        *(f"| dice | {info.metrics[f'test/{name}dice'][0]:.3f} |" for name in ("", "busi/", "busbra/")),
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


def test_no_files_are_no_rows(tmp_path: Path) -> None:
    assert predict_inputs(Predictor(), [], tmp_path) == []
    assert (tmp_path / "index.html").exists()
    assert read_table(tmp_path / "predictions.csv") == []


@pytest.mark.slow
@pytest.mark.skipif("BUSI_ROOT" not in os.environ, reason="needs the BUSI files")
def test_it_reaches_on_its_test_fold_what_its_model_card_says(cache: Path) -> None:
    with open_configs():
        cfg = hydra.compose("train", overrides=[f"cache_dir={cache}", "data.fold=0"])
    data: BUSIDataModule = hydra.utils.instantiate(cfg.data)
    predictor, info = Predictor(), read_model_info(PRETRAINED)
    assert not {data.cohort.contents[i].pixel_hash for i in data.cohort.indices("test")} & set(
        info.seen or ()
    )
    labels, preds, scores = [], [], []
    for i in data.cohort.indices("test"):
        record = data.cohort.records[i]
        found = predictor(record.image)
        labels.append(record.label)
        preds.append(CLASSES.index(found.pred))
        if record.label != NORMAL:
            scores.append(dice(found.mask, read_mask(record, *found.mask.shape).astype(bool)))
    assert np.mean(scores) == pytest.approx(info.metrics["test/busi/dice"][0], abs=0.005)
    # One answer of 153 is 0.007; 16-bit weights may change two.
    assert f1_score(labels, preds, average="macro") == pytest.approx(
        info.metrics["test/busi/macro_f1"][0], abs=0.02
    )


@pytest.mark.slow
@pytest.mark.skipif("BUSI_ROOT" not in os.environ, reason="needs the BUSI files")
def test_what_it_has_seen_is_found_again_from_its_data(tmp_path: Path) -> None:
    old = shutil.copytree(PRETRAINED, tmp_path / "old")
    content = json.loads((old / "model.json").read_text())
    seen = content.pop("seen")
    # As if it were of BUSI alone, like the bundles of that time.
    content["origin"]["data"] = "busi"
    del content["origin"]["sources"]
    content["fingerprints"] |= {"data": "2a3beed671f08fca", "split": "9a62f18d7a718044"}
    (old / "model.json").write_text(json.dumps({**content, "format": 3}))
    write_bundle(old, tmp_path / "new")
    found = read_model_info(tmp_path / "new").seen or ()
    assert len(found) == 608
    assert set(found) < set(seen)
    assert (tmp_path / "new" / "model.onnx").read_bytes() == (PRETRAINED / "model.onnx").read_bytes()
    content["fingerprints"]["split"] = "0" * 16
    (old / "model.json").write_text(json.dumps({**content, "format": 3}))
    with pytest.raises(InputError, match="another fingerprint of its split"):
        write_bundle(old, tmp_path / "other")


@pytest.mark.slow
@pytest.mark.skipif("BUSI_ROOT" not in os.environ, reason="needs the BUSI files")
def test_evaluated_on_its_own_data_its_test_fold_remains_with_the_numbers_of_the_card(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The images of the other hospital are known by their pixels; a search among them would take minutes.
    monkeypatch.delenv("BUSBRA_ROOT", raising=False)
    evaluate(None, "busi", tmp_path / "out", cache_dir=cache)
    found = json.loads((tmp_path / "out" / "metrics.json").read_text())
    for name, (value, *_) in read_model_info(PRETRAINED).metrics.items():
        _, source, metric = ["", "", *name.split("/")][-3:]
        # The calibration error is the root of a difference that is cut at 0, and jumps near it.
        if source == "busi" and metric not in ("hd95", "calibration_error"):
            assert found[f"test/{metric}"] == pytest.approx(value, abs=largest_change(metric)), name


def largest_change(metric: str) -> float:
    """How far a metric of 27 normal, 85 benign and 41 malignant images may be from that of the run.

    Masks are those of images of 448 px that were made smaller, and of images of 224 px in the run. So one
    normal image may have another mask. No image may have another class. The calibration slope, which is about
    1.4, may differ by 1 %.
    """
    if metric.startswith(("dice", "iou")) and metric != "dice_all":
        return 0.0075
    return {"dice_all": 0.011, "normal_fp_rate": 0.038, "calibration_slope": 0.014}.get(metric, 0.0055)
