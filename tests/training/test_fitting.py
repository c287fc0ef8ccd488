"""Whole runs on synthetic data: what they write, what they refuse, and that they can be trusted."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import hydra
import numpy as np
import pytest
import torch
from hydra.errors import InstantiationException, MissingConfigException
from omegaconf import DictConfig
from PIL import Image
from scipy.special import softmax

from busi.core.types import CLASSES, InputError
from busi.data.datamodule import BUSIDataModule
from busi.data.files import read_gray
from busi.data.geometry import letterbox, quantize
from busi.data.masks import read_mask
from busi.data.records import file_name
from busi.inference.maps import predict_maps, segment
from busi.metrics.segmentation import dice
from busi.runs.checkpoints import load_classifier, load_segmenter, read_checkpoint
from busi.runs.run import Run
from busi.training.fitting import fit
from tests.conftest import SMALL, Fitted, unfinished
from tests.made_runs import record_run

Compose = Callable[..., DictConfig]


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("outputs")


@pytest.fixture(scope="module")
def configs(cache: Path, outputs: Path) -> Compose:
    from busi.core.building import open_configs

    def composed(*overrides: str) -> DictConfig:
        paths = [f"cache_dir={cache}", f"output_dir={outputs}"]
        with open_configs():
            return hydra.compose("train", overrides=[*paths, *SMALL, *overrides])

    return composed


@pytest.fixture(scope="module")
def seg(configs: Compose, outputs: Path) -> Run:
    return fit(configs("stage=seg"), outputs / "seg" / "first")


@pytest.fixture(scope="module")
def cls(configs: Compose, outputs: Path, seg: Run) -> Run:
    return fit(configs("stage=cls", f"seg_ckpt={seg.folder}"), outputs / "cls" / "first")


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def data_of(cfg: DictConfig) -> BUSIDataModule:
    data: BUSIDataModule = hydra.utils.instantiate(cfg.data)
    return data


def test_run_folder_is_complete(seg: Run, cls: Run) -> None:
    common = {"config.yaml", "metrics.json", "predictions.csv", "provenance.json", "split.csv"}
    for run, drawn in ((seg, "test_overlays.png"), (cls, "test_confusion.png")):
        assert run.finished
        assert common <= {path.name for path in run.folder.iterdir()}
        assert {path.name for path in (run.folder / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}
        with Image.open(run.folder / "figures" / drawn) as image:
            assert min(image.size) > 300


def test_metrics_are_flat_with_intervals_around_them(seg: Run, cls: Run) -> None:
    names = {"dice", "iou", "hd95", "dice_all", "normal_fp_rate", "lesion_miss_rate"}
    for run, expected in ((seg, names), (cls, {"accuracy", "macro_f1", "auroc_malignant", "brier"})):
        metrics = json.loads((run.folder / "metrics.json").read_text())
        assert {f"{split}/{name}" for split in ("val", "test") for name in expected} <= metrics.keys()
        for name in expected:
            low, value, high = (metrics[f"test/{name}{end}"] for end in ("_low", "", "_high"))
            assert (low is None and high is None) or low <= value <= high
    assert "test/sensitivity_at_specificity_90" in metrics


def test_predictions_are_those_of_the_scored_images(seg: Run, cls: Run) -> None:
    for run, columns in (
        (seg, ["dice", "iou", "hd95", "area", "pred_area"]),
        (cls, ["pred", *(f"{kind}_{name}" for kind in ("logit", "prob") for name in CLASSES)]),
    ):
        rows, split = table(run.folder / "predictions.csv"), table(run.folder / "split.csv")
        described = ["id", "source", "label", "group", "fold", "split", "lesion_share", "burned_in"]
        assert list(rows[0]) == [*described, *columns]
        assert {row["burned_in"] for row in rows} <= {"0", "1"}
        assert all((row["label"] == "normal") == (float(row["lesion_share"]) == 0) for row in rows)
        scored = {row["id"]: row["split"] for row in split if row["split"] in ("val", "test")}
        assert {row["id"]: row["split"] for row in rows} == scored


def test_probabilities_are_the_softmax_of_the_logits(cls: Run) -> None:
    for row in table(cls.folder / "predictions.csv"):
        logits = [float(row[f"logit_{name}"]) for name in CLASSES]
        probs = [float(row[f"prob_{name}"]) for name in CLASSES]
        assert probs == pytest.approx(softmax(logits), abs=1e-12)
        assert row["pred"] == CLASSES[int(np.argmax(probs))]


def test_split_lists_every_image_and_why_it_was_dropped(seg: Run) -> None:
    rows = table(seg.folder / "split.csv")
    assert len(rows) == 60
    assert {row["split"] for row in rows} == {"train", "val", "test", "dropped"}
    dropped = [row for row in rows if row["split"] == "dropped"]
    assert {row["reason"] for row in dropped} == {"conflict"}
    assert {row["label"] for row in dropped} == {"benign", "malignant"}
    by_group: dict[str, set[str]] = {}
    for row in rows:
        by_group.setdefault(row["group"], set()).add(row["fold"])
    assert all(len(folds) == 1 for folds in by_group.values())


def test_maps_are_stored_for_the_images_that_are_scored(seg: Run, configs: Compose) -> None:
    rows = table(seg.folder / "split.csv")
    maps = {path.name for path in (seg.folder / "maps").iterdir()}
    assert maps == {f"{file_name(row['id'])}.png" for row in rows if row["split"] in ("val", "test")}
    records = {record.id: record for record in data_of(configs("stage=seg")).cohort.records}
    for row in table(seg.folder / "predictions.csv"):
        pred = read_gray(seg.folder / "maps" / f"{row['id']}.png") >= 128
        mask = read_mask(records[row["id"]], *pred.shape).astype(bool)
        assert dice(pred, mask) == float(row["dice"])
        assert int(row["pred_area"]) == pred.sum()


def test_segmentation_network_is_bit_identical_after_training_the_classifier(seg: Run, cls: Run) -> None:
    before = read_checkpoint(seg.best_checkpoint).part("network.")
    for path in (cls.best_checkpoint, cls.last_checkpoint):
        after = read_checkpoint(path).part("segmenter.")
        assert after.keys() == before.keys()
        assert all(torch.equal(after[name], tensor) for name, tensor in before.items())


def test_one_checkpoint_turns_an_image_into_mask_and_diagnosis(seg: Run, cls: Run, configs: Compose) -> None:
    """What the run predicted is found again from the classifier's file alone."""
    checkpoint = read_checkpoint(cls.best_checkpoint)
    parent = checkpoint.metadata["upstream"]
    segmenter = load_segmenter(checkpoint)
    assert segmenter is not None
    assert segmenter.image_size == read_config(parent["config"]).image_size
    classifier = load_classifier(checkpoint)
    records = {record.id: record for record in data_of(configs("stage=cls")).cohort.records}
    for row in table(cls.folder / "predictions.csv")[:6]:
        image = read_gray(records[row["id"]].image)
        (probs,) = predict_maps(segmenter, iter([image]), batch_size=1)
        stored = read_gray(seg.folder / "maps" / f"{row['id']}.png")
        assert np.abs(quantize(probs).astype(int) - stored).max() <= 1
        square = letterbox(image, 32)
        guide = quantize(segment(segmenter, square[None])[0, 0].numpy())
        inputs = (torch.from_numpy(x)[None, None].float() / 255 for x in (square, guide))
        with torch.inference_mode():
            logits = classifier(*inputs)
        assert logits[0].tolist() == pytest.approx(
            [float(row[f"logit_{name}"]) for name in CLASSES], abs=1e-4
        )


def read_config(text: str) -> DictConfig:
    from omegaconf import OmegaConf

    return OmegaConf.create(text)  # type: ignore[return-value]


def test_checkpoint_says_what_it_saw(seg: Run, cls: Run, configs: Compose) -> None:
    cohort = data_of(configs("stage=seg")).cohort
    for run in (seg, cls):
        metadata = read_checkpoint(run.best_checkpoint).metadata
        assert metadata["data"] == cohort.data_fingerprint
        assert metadata["split"] == cohort.split_fingerprint
        for split in ("train", "val"):
            assert metadata[split] == [cohort.contents[i].pixel_hash for i in cohort.indices(split)]
    assert metadata["upstream"] == read_checkpoint(seg.best_checkpoint).metadata
    assert cls.provenance["upstream"] == {"segmentation": str(seg.best_checkpoint.resolve())}


def test_same_seed_gives_the_same_weights_and_another_does_not(
    configs: Compose, seg: Run, tmp_path: Path
) -> None:
    again, other = (
        fit(configs("stage=seg"), tmp_path / "a"),
        fit(configs("stage=seg", "seed=1"), tmp_path / "b"),
    )
    first, second, third = (read_checkpoint(run.last_checkpoint).weights for run in (seg, again, other))
    assert all(torch.equal(tensor, second[name]) for name, tensor in first.items())
    assert not all(torch.equal(tensor, third[name]) for name, tensor in first.items())
    assert (seg.folder / "predictions.csv").read_bytes() == (again.folder / "predictions.csv").read_bytes()


def test_guides_from_the_cache_give_the_same_weights(
    configs: Compose, seg: Run, cls: Run, tmp_path: Path
) -> None:
    again = fit(configs("stage=cls", f"seg_ckpt={seg.folder}"), tmp_path / "a")
    first, second = (read_checkpoint(run.last_checkpoint).weights for run in (cls, again))
    assert all(torch.equal(tensor, second[name]) for name, tensor in first.items())


def test_segmentation_of_another_fold_is_refused(configs: Compose, seg: Run, tmp_path: Path) -> None:
    cfg = configs("stage=cls", f"seg_ckpt={seg.folder}", "data.fold=2")
    with pytest.raises(InputError, match=r"leak: .*best.ckpt.*stage=seg data=synthetic .*data.fold=2"):
        fit(cfg, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_segmentation_of_other_data_is_refused_unless_allowed(
    configs: Compose, seg: Run, tmp_path: Path
) -> None:
    other = ("stage=cls", f"seg_ckpt={seg.best_checkpoint}", "data.read.seed=1")
    with pytest.raises(InputError, match=r"another data set.*allow_other_data=true"):
        fit(configs(*other), tmp_path / "run")
    assert fit(configs(*other, "allow_other_data=true"), tmp_path / "run").finished


@pytest.mark.parametrize("guide", ["empty", "ground_truth"])
def test_other_guides_need_no_segmentation_and_use_the_same_network(
    fitted: Fitted, cls: Run, guide: str
) -> None:
    run = fitted("cls", f"guide={guide}")
    assert run.config.seg_ckpt == "nowhere"
    assert ("upper bound" in run.provenance["guide"]) == (guide == "ground_truth")
    checkpoint = read_checkpoint(run.best_checkpoint)
    assert checkpoint.metadata["upstream"] is None
    assert checkpoint.part("segmenter.") == {}
    reference = read_checkpoint(cls.best_checkpoint).part("network.")
    assert {k: v.shape for k, v in checkpoint.part("network.").items()} == {
        k: v.shape for k, v in reference.items()
    }


@pytest.mark.parametrize("balance", ["none", "weights", "sampler"])
def test_prior_is_corrected_where_training_was_balanced(
    configs: Compose, tmp_path: Path, balance: str
) -> None:
    run = fit(configs("stage=cls", "guide=empty", f"data.balance={balance}"), tmp_path / "run")
    weights = read_checkpoint(run.best_checkpoint).weights
    assert (weights["logit_correction"] == 0).all() == (balance == "none")
    assert (weights["class_weights"] == 1).all() == (balance != "weights")


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["guide=drawn"], r"guide/drawn.*Available options.*crossfit\s+empty\s+ground_truth\s+predicted"),
        (["seg_ckpt=nowhere"], "seg_ckpt=nowhere does not exist"),
        (
            ["output_dir=empty"],
            "found no finished segmentation run.*: python -m busi.train stage=seg.* output_dir=empty;",
        ),
    ],
)
def test_missing_guides_are_one_error(
    configs: Compose, tmp_path: Path, overrides: list[str], words: str
) -> None:
    with pytest.raises((InputError, MissingConfigException), match=f"(?s){words}"):
        fit(configs("stage=cls", *overrides), tmp_path / "run")


def test_auto_takes_the_fitting_run_and_refuses_to_choose_between_settings(
    configs: Compose, seg: Run, outputs: Path, tmp_path: Path
) -> None:
    run = fit(configs("stage=cls", f"output_dir={outputs}"), tmp_path / "cls")
    assert run.provenance["upstream"]["segmentation"] == str(seg.best_checkpoint.resolve())
    other = record_run(outputs / "seg" / "second", configs("stage=seg", "optimizer.lr=0.01"))
    with pytest.raises(InputError, match=r"different settings: .*second.*first.*Choose with seg_ckpt"):
        fit(configs("stage=cls"), tmp_path / "again")
    (other.folder / "provenance.json").unlink()


def test_unfinished_run_is_refused(configs: Compose, tmp_path: Path) -> None:
    (tmp_path / "provenance.json").write_text(unfinished("seg"))
    with pytest.raises(InputError, match="is not finished"):
        fit(configs("stage=cls", f"seg_ckpt={tmp_path}"), tmp_path / "cls")


def test_run_without_train_images_of_a_class_says_so(configs: Compose, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="fewer than the 10 folds"):
        fit(configs("stage=seg", "data.num_folds=10", "data.read.num_normal=10"), tmp_path / "run")


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (
            ("stage=seg", "model=unet", "encoder=nothing_like_it"),
            "encoder=nothing_like_it is no network",
        ),
        (("stage=cls", "guide=empty", "encoder=resnet_like"), "encoder=resnet_like is no network of timm"),
        (
            ("stage=cls", "guide=empty", "model=guide_late", "encoder=vit_tiny_patch16_224"),
            "vit_tiny_patch16_224 is none: choose model=guide_early",
        ),
        (("stage=seg", "+optimizer.speed=3"), "torch.optim.AdamW has no argument speed"),
        (("stage=seg", "+optimizer.betas=[2,2]"), "Invalid beta"),
        (("stage=seg", "scheduler=one_cycle", "scheduler.warmup=7.0"), "pct_start"),
        (("stage=seg", "postprocess.high_threshold=2.0"), "threshold and high_threshold lie from 0 to 1"),
        (("stage=seg", "encoder_weights=segmenter"), "encoder_weights=segmenter is for stage=cls"),
        (
            ("stage=cls", "guide=empty", "model=guide_views", "model.network.view_size=33"),
            "view_size=33: give a multiple of 32",
        ),
    ],
)
def test_choices_that_cannot_work_are_refused_before_anything_is_written(
    compose: Callable[..., DictConfig], tmp_path: Path, overrides: tuple[str, ...], words: str
) -> None:
    with pytest.raises((InputError, InstantiationException)) as caught:
        fit(compose(*SMALL, *overrides), tmp_path / "run")
    assert words in str(caught.value.__cause__ or "") + str(caught.value)
    assert not (tmp_path / "run").exists()
