"""What a training says of itself."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning
import pytest
from lightning.pytorch.callbacks.progress.progress_bar import get_standard_metrics
from lightning.pytorch.demos.boring_classes import BoringModel
from lightning.pytorch.loggers import CSVLogger
from omegaconf import DictConfig

from busi.training.fitting import resolve
from busi.training.progress import Progress, TimeLeft, log_intervals, log_plan, say


@pytest.mark.parametrize("data", ["data=busi", "data=pooled"])
def test_the_plan_names_data_stage_size_epochs_and_folder(
    compose: Callable[..., DictConfig], tmp_path: Path, caplog: pytest.LogCaptureFixture, data: str
) -> None:
    cfg = resolve(compose(data, "data.fold=2", "trainer.max_epochs=7", "image_size=96"), tmp_path / "run")
    with caplog.at_level(logging.INFO):
        log_plan(cfg, tmp_path / "run")
    place = "busi, busbra" if data == "data=pooled" else str(cfg.data.root)
    named = (
        "stage=seg",
        place,
        "fold 2 of 5",
        "Unet",
        "96 px",
        "7 epochs",
        "test fold",
        str(tmp_path / "run"),
    )
    assert not [words for words in named if words not in caplog.text]


class Small(BoringModel):
    monitor = "val/dice_net"

    def validation_step(self, batch: Any, _: int) -> None:
        for name in ("val/loss", "val/dice_net", "val/dice_all_net"):
            self.log(name, batch.sum(), prog_bar=True)


def test_a_training_says_how_long_it_takes_and_shows_what_matters(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bar has losses and the monitored value, not the version of a logger, nor other metrics."""
    monkeypatch.setattr("busi.training.progress.SOON", 0)
    bar, module = Progress(), Small()
    trainer = lightning.Trainer(
        accelerator="cpu",
        max_epochs=3,
        limit_train_batches=4,
        limit_val_batches=1,
        num_sanity_val_steps=0,
        log_every_n_steps=1,
        callbacks=[TimeLeft(), bar],
        logger=CSVLogger(tmp_path),
        enable_checkpointing=False,
        enable_model_summary=False,
    )
    with caplog.at_level(logging.INFO, "busi"):
        trainer.fit(module)
    said = [line for line in caplog.messages if line.startswith("The first epoch took")]
    assert len(said) == 1
    early = [
        line for line in caplog.messages if line.endswith("for 3 epochs of 4 batches, without validation")
    ]
    assert len(early) == 1
    assert caplog.messages.index(early[0]) < caplog.messages.index(said[0])
    assert "the 2 that are left about" in said[0]
    assert say(3725.4) == "1:02:05"
    assert "v_num" in get_standard_metrics(trainer)
    assert bar._get_train_description(2).strip() == "Epoch 3/3"
    assert set(bar.get_metrics(trainer, module)) == {"val/loss", "val/dice_net"}


def test_a_small_run_shows_its_numbers_without_intervals(caplog: pytest.LogCaptureFixture) -> None:
    metrics = {
        "val/dice": 0.5,
        **{"test/dice": 0.25, "test/dice_low": None, "test/dice_high": None},
        **{"test/iou": 0.125, "test/iou_low": 0.1, "test/iou_high": 0.2},
        **{"test/hd95": None, "test/hd95_low": None, "test/hd95_high": None},
        "test/threshold_at_x": 0.75,
    }
    with caplog.at_level(logging.INFO):
        log_intervals(metrics)
    said = [" ".join(line.split()) for line in caplog.messages]
    assert said == [
        "test/dice 0.250 too few cases for an interval",
        "test/iou 0.125 95 % interval 0.100 to 0.200",
    ]


def test_the_plan_names_an_encoder_where_the_network_has_one(
    compose: Callable[..., DictConfig], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        for model in ("unet", "unet_plain"):
            cfg = compose("data=busi", f"model={model}", "trainer.max_epochs=1")
            log_plan(resolve(cfg, tmp_path), tmp_path)
    plans = [line for line in caplog.messages if line.startswith("Training")]
    assert ["with encoder" in line for line in plans] == [True, False]
    assert all(", 1 epoch, " in line for line in plans)
