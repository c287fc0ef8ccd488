"""Settings that cannot work are found before a run begins, and said in one line."""

import copy
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from omegaconf import DictConfig
from torch.utils.data import DataLoader

from busi.core.types import InputError
from busi.data.dataset import BUSIDataset, NoSharedMemory, collate
from busi.data.synthetic import make_synthetic
from busi.modules.segmentation import SegModule
from busi.runs.predictions import list_records
from busi.runs.run import start_run
from busi.training.build import build, prepare
from busi.training.checks import check_accelerator, check_settings
from busi.training.first_step import check_loss_value, check_shared_memory
from busi.training.fitting import fit, resolve
from busi.training.resuming import check_asked
from tests.guides.test_leaks import cohort

Compose = Callable[..., DictConfig]
WRONG = {
    "seed=-1": "seed=-1: give a whole number from 0 to 4294967295",
    "seed=abc": "seed=abc: give a whole number",
    "image_size=[64,96]": r"image_size=\[64,96\]: give the side of a square, a multiple of 32",
    "image_size=0": "image_size=0: give the side",
    "image_size=33": "image_size=33: give the side",
    "image_size=64.0": "image_size=64.0: give the side",
    "image_size=true": "image_size=true: give the side",
    "test=no": "test=no: give true or false, or null",
    "reuse=1": "reuse=1: give true or false",
    "monitor_mode=up": "monitor_mode=up: give min or max",
    "image_size=4128": "image_size=4128: give .* from 32 to 4096",
    "data.batch_size=0": "data.batch_size=0: give a whole number from 1 to 100000",
    "data.batch_size=100001": "data.batch_size=100001: give",
    "data.num_folds=1001": "data.num_folds=1001: give a whole number from 3 to 1000",
    "data.split_seed=4294967296": "data.split_seed=4294967296: give a whole number from 0 to 4294967295",
    "data.batch_size=-4": "data.batch_size=-4: give",
    "data.batch_size=2.5": "data.batch_size=2.5: give",
    "data.batch_size=many": "data.batch_size=many: give",
    "data.num_workers=-1": "data.num_workers=-1: give a whole number, at least 0",
    "data.num_workers=auto": "data.num_workers=auto: give",
    "data.subset=0": "data.subset=0: give a whole number, at least 1, or null",
    "optimizer.lr=fast": "optimizer.lr=fast: give a number, at least 0",
    "optimizer.lr=-1": "optimizer.lr=-1: give",
    "optimizer.lr=nan": "optimizer.lr=nan: give",
    "trainer.max_epochs=0": "trainer.max_epochs=0: give a whole number, at least 1",
    "trainer.max_epochs=1.5": "trainer.max_epochs=1.5: give",
    "trainer.precision=7": "trainer.precision=7: give 32-true",
    "trainer.precision=fast": "trainer.precision=fast: give 32-true or",
    "trainer.precision=bf16-true": "trainer.precision=bf16-true: give 32-true or",
    "trainer.gradient_clip_val=a": "trainer.gradient_clip_val=a: give a number, at least 0, or null",
    "trainer.accelerator=foo": "trainer.accelerator=foo: give auto or cpu",
    "trainer.accelerator=mps": "trainer.accelerator=mps: give auto or cpu",
    "+trainer.fast_dev_run=true": "trainer.fast_dev_run=true: give .*trainer=debug",
    "+trainer.fast_dev_run=3": "trainer.fast_dev_run=3: give .*trainer=debug",
    "+trainer.limit_val_batches=0": "trainer.limit_val_batches=0: give more than 0",
    "+trainer.enable_checkpointing=false": "trainer.enable_checkpointing=false: give true",
    "callbacks.checkpoint.filename=other": "callbacks.checkpoint.filename=other: give best",
    "+callbacks.last.save_top_k=0": "callbacks.last.save_top_k=0: give 1",
}


def test_a_run_knows_its_data_from_any_folder(
    compose: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_synthetic(tmp_path / "data" / "clinic", (10, 10, 10), 64, 0)
    (tmp_path / "data" / "left out.csv").write_text("id\n")
    monkeypatch.chdir(tmp_path / "data")
    one = resolve(compose("stage=seg", "data.root=clinic", "data.exclude='left out.csv'"), tmp_path / "run")
    pool = resolve(compose("stage=seg", "data=pooled", "data.sources=[clinic]"), tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    assert one.data.exclude == str(tmp_path / "data" / "left out.csv")
    assert one.data.root == pool.data.sources.clinic.root == str(tmp_path / "data" / "clinic")
    assert len(list_records(one.data)) == len(list_records(pool.data)) == 30
    # An older run has paths as they were typed; it goes on with what is typed again.
    old = compose("stage=seg", "data.root=clinic", "data.exclude='left out.csv'", "run_dir=here")
    run = start_run(tmp_path / "old", old, cohort(0), {})
    monkeypatch.chdir(tmp_path / "data")
    said = ["data.exclude=left out.csv"]
    asked, usual = (resolve(cfg, tmp_path / "old") for cfg in (old, compose("stage=seg")))
    check_asked(run, asked, usual, said)
    asked.data.exclude = "/other.csv"
    with pytest.raises(InputError, match="was started with data.exclude"):
        check_asked(run, asked, usual, said)


@pytest.mark.parametrize("override", WRONG)
def test_wrong_values_are_named_with_what_to_give(compose: Compose, override: str) -> None:
    with pytest.raises(InputError, match=WRONG[override]):
        check_settings(compose("stage=seg", "data=synthetic", override))


@pytest.mark.parametrize("stage", ["seg", "cls"])
@pytest.mark.parametrize("trainer", ["default", "cpu", "ddp", "debug"])
def test_offered_settings_are_fine(compose: Compose, stage: str, trainer: str) -> None:
    check_settings(compose(f"stage={stage}", "data=synthetic", f"trainer={trainer}"))


@pytest.mark.parametrize(
    ("accelerator", "devices", "count", "words"),
    [
        ("gpu", 1, 0, "trainer.accelerator=gpu: torch finds no GPU here. Give trainer=default"),
        ("cuda", "auto", 0, "trainer.accelerator=cuda: torch finds no GPU here"),
        ("gpu", 2, 1, "trainer.devices=2: there is 1 GPU here"),
        ("auto", [0, 4], 3, r"trainer.devices=\[0, 4\]: there are 3 GPUs here, counted from 0"),
        ("cpu", 4, 0, ""),
        ("auto", 4, 0, ""),
        ("cpu", 4, 1, ""),
        ("gpu", [1, 2], 3, ""),
        ("gpu", "auto", 3, ""),
        ("gpu", -1, 3, ""),
    ],
)
def test_devices_that_are_not_there_are_an_error(
    monkeypatch: pytest.MonkeyPatch, accelerator: str, devices: object, count: int, words: str
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    trainer = DictConfig({"accelerator": accelerator, "devices": devices})
    if not words:
        check_accelerator(trainer)
        return
    with pytest.raises(InputError, match=words):
        check_accelerator(trainer)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (
            ["stage=seg", "model=deeplabv3plus", "data.batch_size=1"],
            "data.batch_size=1 means batches of one image, .* give data.batch_size=2 or more",
        ),
        (
            ["stage=seg", "encoder=swin_tiny_patch4_window7_224"],
            "image_size=32: encoder=swin_tiny_patch4_window7_224 sees images of 224 px .* image_size=224",
        ),
        (
            ["stage=cls", "guide=empty", "model=timm", "encoder=vit_tiny_patch16_224"],
            "image_size=32: encoder=vit_tiny_patch16_224 sees images of 224 px and no others: give image",
        ),
        (
            ["stage=cls", "guide=empty", "model=guide_views", "encoder=vit_tiny_patch16_224"],
            "model.network.view_size=128: .* sees images of 224 px .* give model.network.view_size=224",
        ),
        (
            ["stage=cls", "guide=empty", "model=timm", "encoder=vit_small_patch14_dinov2"],
            "sees images of 518 px and no others: give another encoder$",
        ),
        (["stage=seg", "monitor=val/foo"], "monitor=val/foo is not logged: give one of val/loss, val/dice"),
        (
            ["stage=seg", "callbacks=[default,early_stopping]", "callbacks.early_stopping.monitor=val/auroc"],
            "callbacks.early_stopping.monitor=val/auroc is not logged",
        ),
        (["stage=seg", "callbacks.figures.every_n_epochs=0"], "every_n_epochs=0: give a whole number"),
        (["stage=seg", "callbacks.figures.num_images=0"], "num_images=0: give a whole number"),
    ],
)
def test_what_fails_with_the_data_does_so_before_the_run_begins(
    configs: Compose, tmp_path: Path, overrides: list[str], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        fit(configs("encoder_weights=none", *overrides, "encoder_weights=none"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_training_that_ends_early_says_so(configs: Compose, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="training ended before an epoch was validated and saved"):
        fit(configs("stage=seg", "+trainer.max_steps=1"), tmp_path / "run")


@pytest.mark.parametrize("precision", ["16-mixed", "bf16-mixed"])
def test_offered_precisions_train_and_score(configs: Compose, tmp_path: Path, precision: str) -> None:
    assert fit(configs("stage=seg", f"trainer.precision={precision}"), tmp_path / precision).finished


def test_step_that_fails_for_another_reason_is_one_line(
    configs: Compose, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def step(*_: object) -> None:
        raise ValueError("two\n  lines")

    monkeypatch.setattr("busi.modules.segmentation.SegModule.step", step)
    with pytest.raises(InputError, match=r"the first training step fails: ValueError: two lines \(HYDRA"):
        fit(configs("stage=seg"), tmp_path / "run")


def test_tried_step_leaves_no_trace(
    configs: Compose, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Weights, batch statistics and random numbers are those of a module that nothing was tried with."""
    from busi.training.fitting import resolve

    def built() -> tuple[dict[str, torch.Tensor], torch.Tensor, float]:
        cfg = resolve(configs("stage=seg"), tmp_path)
        data, guide = prepare(cfg)
        module, _ = build(cfg, data, guide, None)
        return copy.deepcopy(module.state_dict()), torch.rand(3), float(np.random.rand())  # noqa: NPY002

    tried = built()
    monkeypatch.setattr("busi.training.build.try_step", lambda *_: None)
    alone = built()
    assert tried[0].keys() == alone[0].keys()
    assert all(torch.equal(tried[0][name], alone[0][name]) for name in alone[0])
    assert torch.equal(tried[1], alone[1])
    assert tried[2] == alone[2]


@pytest.mark.parametrize(("free", "fits"), [(12_000_000, True), (11_999_999, False), (0, False)])
def test_too_little_shared_memory_is_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, free: int, fits: bool
) -> None:
    """Two loader processes; each of both loaders may hold three batches of a megabyte."""
    monkeypatch.setattr("busi.training.first_step.SHARED_MEMORY", tmp_path)
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=free))
    check_shared_memory(0, 10**9)
    if fits:
        check_shared_memory(2, 10**6)
        return
    with pytest.raises(InputError, match="data.num_workers=2 needs 12 MB of shared memory.* --shm-size=2g"):
        check_shared_memory(2, 10**6)


def test_loader_process_without_shared_memory_does_not_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor does its traceback become the message."""

    def share_memory(_: torch.Tensor) -> None:
        raise RuntimeError(
            "unable to allocate shared memory(shm) for file </torch_1>: No space left on device"
        )

    monkeypatch.setattr(torch.Tensor, "share_memory_", share_memory)
    letterboxed = np.zeros((4, 2, 32, 32), np.uint8)
    zeros = np.zeros(4, np.int64)
    data = BUSIDataset(letterboxed, None, np.arange(4), list("abcd"), zeros, zeros, zeros)
    loader = DataLoader(data, 2, num_workers=1, collate_fn=collate, multiprocessing_context="fork")
    with pytest.raises(NoSharedMemory) as caught:
        next(iter(loader))
    assert str(caught.value) == str(NoSharedMemory())
    assert "Traceback" not in str(caught.value)


WEIGHT = torch.ones(2, requires_grad=True)


@pytest.mark.parametrize(
    ("loss", "words"),
    [
        (WEIGHT * 2, r"loss: it gives a value of shape \(2,\), and must give a tensor of one number"),
        (0.5, "loss: it gives a value float, and must give a tensor"),
        (WEIGHT.detach().mean(), "the loss does not depend on the weights"),
        ((WEIGHT * 0 / 0).mean(), "the first training step gives a loss of nan"),
    ],
)
def test_a_loss_that_teaches_nothing_is_refused(loss: object, words: str) -> None:
    with pytest.raises(InputError, match=words):
        check_loss_value(loss)


def test_a_loss_of_one_number_is_taken() -> None:
    check_loss_value(WEIGHT.mean())
    check_loss_value(WEIGHT.mean().reshape(1))


def test_masks_are_not_learned_where_there_are_none() -> None:
    with pytest.raises(InputError, match="no training image has a lesion with a mask"):
        SegModule.check_data(None, SimpleNamespace(cohort=SimpleNamespace(num_lesions=0)))  # type: ignore[arg-type]
