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
from busi.training.progress import Progress, TimeLeft, log_plan, say


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


def test_a_training_says_once_how_long_it_takes_and_shows_what_matters(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The bar has losses and the monitored value, not the version of a logger, nor other metrics."""
    bar, module = Progress(), Small()
    trainer = lightning.Trainer(
        accelerator="cpu",
        max_epochs=3,
        limit_train_batches=1,
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
    assert "the 2 that are left about" in said[0]
    assert say(3725.4) == "1:02:05"
    assert "v_num" in get_standard_metrics(trainer)
    assert set(bar.get_metrics(trainer, module)) == {"val/loss", "val/dice_net"}
