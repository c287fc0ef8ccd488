"""The recipes of conf/experiment, whole, on synthetic data: what they decide is what is used ever after."""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import hydra
import numpy as np
import pytest
import torch
from omegaconf import DictConfig, OmegaConf
from scipy.special import softmax

from busi import Predictor
from busi.core.tables import read_table
from busi.core.types import CLASSES, InputError
from busi.data.masks import read_mask
from busi.guides.prepare import fill_guides
from busi.inference.loading import load_networks
from busi.models.postprocess import Postprocess, tune_postprocess
from busi.runs.checkpoints import load_segmenter, postprocess_of, read_checkpoint
from busi.runs.finding import find_same
from busi.runs.predictions import find_records
from busi.runs.run import Run
from busi.training.build import check_upstream
from busi.training.fitting import fit
from busi.training.predicting import annotated_maps

Compose = Callable[..., DictConfig]
ENCODER = "encoder=tf_efficientnet_lite0"
"""The one with packaged weights, from which a second view of the image starts."""


@pytest.fixture(scope="module")
def seg(configs: Compose) -> Run:
    cfg = configs("stage=seg", "experiment=best_seg", ENCODER, "image_size=32", "trainer.max_epochs=2")
    return fit(cfg, Path(cfg.output_dir) / "seg" / "recipe")


@pytest.fixture(scope="module")
def cls(configs: Compose, seg: Run) -> Run:
    sizes = ("image_size=64", "model.network.view_size=32", "trainer.max_epochs=1")
    choice = ("stage=cls", "experiment=best_cls", "guide=predicted", "encoder_weights=segmenter")
    cfg = configs(*choice, ENCODER, f"seg_ckpt={seg.folder}", *sizes)
    return fit(cfg, Path(cfg.output_dir) / "cls" / "recipe")


def test_the_validation_fold_tunes_the_postprocessing(seg: Run) -> None:
    checkpoint = read_checkpoint(seg.best_checkpoint)
    data = hydra.utils.instantiate(seg.config.data)
    segmenter = load_segmenter(checkpoint)
    assert segmenter is not None
    tuned = tune_postprocess(annotated_maps(segmenter, data))
    assert json.loads((seg.folder / "postprocess.json").read_text()) == asdict(tuned)
    assert postprocess_of(checkpoint.metadata) == seg.postprocess == tuned


def test_the_last_epoch_is_saved_and_scored(seg: Run) -> None:
    best, last = (read_checkpoint(path) for path in (seg.best_checkpoint, seg.last_checkpoint))
    assert best.epoch == last.epoch == 1
    rows = [row["val/dice_net"] for row in read_table(seg.folder / "log" / "metrics.csv")]
    assert seg.monitored[1] == float([x for x in rows if x][-1])


def test_a_run_that_ended_without_saying_so_keeps_its_monitored_value(
    configs: Compose, tmp_path: Path
) -> None:
    """Stopped while it was scored: it goes on after the last epoch, and trains none."""
    cfg, folder = configs("stage=seg", "callbacks.checkpoint.monitor=null"), tmp_path / "run"
    monitored = fit(cfg, folder).monitored
    provenance = json.loads((folder / "provenance.json").read_text())
    (folder / "provenance.json").write_text(json.dumps(provenance | {"finished": None, "monitored": None}))
    assert monitored[1] is not None
    assert fit(cfg, folder, resume=True).monitored == monitored


def test_a_run_without_its_log_is_refused(configs: Compose, tmp_path: Path) -> None:
    for logger in ("csv", "tensorboard"):
        with pytest.raises(
            InputError, match="logger.csv keeps the curves that a run is read by: leave it in"
        ):
            fit(configs("stage=seg", f"logger={logger}", "~logger.csv"), tmp_path / "run")


def test_postprocessing_travels_to_everything_that_predicts(cls: Run, seg: Run) -> None:
    """That of the segmentation run, whatever it is, makes the masks of the classifier that carries it."""
    checkpoint = read_checkpoint(cls.best_checkpoint)
    assert postprocess_of(checkpoint.metadata["upstream"]) == seg.postprocess
    assert load_networks(cls.folder)[1].postprocess == seg.postprocess
    predictor, records = Predictor(cls.folder), find_records(seg)
    for row in read_table(seg.folder / "predictions.csv")[:8]:
        found = predictor(records[row["id"]].image)
        np.testing.assert_array_equal(found.mask, seg.postprocess(found.mask_probs))
        mask = read_mask(records[row["id"]], *found.mask.shape)
        assert mask.sum() == int(row["area"])


def test_held_out_images_get_the_logits_of_the_run(cls: Run) -> None:
    """Where the classifier sees twice the size of its segmentation model too."""
    predictor = Predictor(cls.folder)
    (info,) = predictor.infos
    records = find_records(cls)
    for row in [row for row in read_table(cls.folder / "predictions.csv") if row["split"] == "test"]:
        logits = np.array([float(row[f"logit_{name}"]) for name in CLASSES])
        found = predictor(records[row["id"]].image)
        assert list(found.probs.values()) == pytest.approx(softmax(logits / info.temperature), abs=5e-3)


def test_guides_at_a_multiple_are_those_of_prediction(cls: Run) -> None:
    two_stage, _ = load_networks(cls.folder)
    data = hydra.utils.instantiate(cls.config.data)
    guides, positions = np.zeros_like(data.letterboxed[:, 0]), np.arange(8)
    fill_guides(guides, data, positions, two_stage.segmenter)
    letterboxed = torch.from_numpy(np.ascontiguousarray(data.letterboxed[:8, 0]))
    with torch.inference_mode():
        expected = two_stage(letterboxed)[0].numpy()
    assert np.abs(guides[:8] / 255 - expected).max() <= 0.5 / 255 + 1e-5


def test_a_run_that_guides_others_tunes_nothing(configs: Compose) -> None:
    cfg = configs(
        "stage=seg",
        "experiment=best_seg",
        "image_size=32",
        "trainer.max_epochs=1",
        "data.num_folds=5",
        "data.leave_out=2",
    )
    inner = fit(cfg, Path(cfg.output_dir) / "seg" / "inner")
    assert inner.postprocess == Postprocess()
    assert inner.monitored[1] is None


def test_a_run_of_the_best_epoch_is_not_reused_for_one_of_the_last(seg: Run) -> None:
    cfg = OmegaConf.merge(seg.config, {"reuse": True})
    cohort = hydra.utils.instantiate(cfg.data).cohort
    same = find_same(cfg, cohort, {})  # type: ignore[arg-type]
    assert same is not None
    assert same.folder == seg.folder
    cfg.callbacks.checkpoint.monitor = "val/dice_net"
    assert find_same(cfg, cohort, {}) is None  # type: ignore[arg-type]


def test_given_thresholds_hold_in_every_checkpoint(configs: Compose, tmp_path: Path) -> None:
    given = ("postprocess.threshold=0.4", "postprocess.high_threshold=0.45")
    for name, more in (("outer", ()), ("inner", ("data.num_folds=5", "data.leave_out=2"))):
        run = fit(configs("stage=seg", *given, *more), tmp_path / name)
        assert run.postprocess == Postprocess(0.4, 0.45)
        for path in (run.best_checkpoint, run.last_checkpoint):
            assert postprocess_of(read_checkpoint(path).metadata) == run.postprocess


def test_classifier_of_another_encoder_cannot_start_from_its_segmenter(configs: Compose, seg: Run) -> None:
    choice = ("stage=cls", f"seg_ckpt={seg.folder}", "encoder_weights=segmenter", "encoder=resnet18")
    cfg = configs(*choice)
    with pytest.raises(InputError, match="has encoder=tf_efficientnet_lite0. Give the same here"):
        fit(cfg, Path(cfg.output_dir) / "cls" / "other")


def test_sizes_that_cannot_be_predicted_with_are_said_before_training(
    configs: Compose, seg: Run, caplog: pytest.LogCaptureFixture
) -> None:
    upstream = read_checkpoint(seg.best_checkpoint)
    for size, said in ((64, False), (48, True)):
        caplog.clear()
        check_upstream(OmegaConf.merge(configs("stage=cls"), {"image_size": size}), upstream)  # type: ignore[arg-type]
        assert ("will refuse it" in caplog.text) == said


def test_damaged_postprocess_is_an_error(seg: Run, tmp_path: Path) -> None:
    (tmp_path / "postprocess.json").write_text('{"threshold": 3.0}')
    with pytest.raises(InputError, match="from 0 to 1"):
        _ = Run(tmp_path, seg.provenance | {"files": {}}).postprocess
    (tmp_path / "postprocess.json").write_text("{")
    with pytest.raises(InputError, match="is missing or damaged"):
        _ = Run(tmp_path, seg.provenance | {"files": {}}).postprocess
