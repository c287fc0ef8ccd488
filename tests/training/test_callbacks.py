"""What happens beside training, in real trainings on synthetic data."""

import contextlib
import signal
from collections.abc import Callable
from pathlib import Path

import lightning
import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from matplotlib.image import imread
from omegaconf import DictConfig

from busi.training.callbacks import SeedEpochs, StopOnSignal, choose_batch
from busi.training.fitting import fit
from tests.conftest import SMALL


class Draws(lightning.Callback):
    """Keeps the first random numbers of each epoch."""

    def __init__(self) -> None:
        self.seen: list[tuple[float, float]] = []

    def on_train_batch_start(self, *_: object) -> None:
        self.seen.append((torch.rand(1).item(), np.random.rand()))  # noqa: NPY002  the generator that is seeded


class Line(lightning.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)

    def training_step(self, batch: list[torch.Tensor], _: int) -> torch.Tensor:
        return self.layer(batch[0]).sum()  # type: ignore[no-any-return]

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def train_line(folder: Path, *callbacks: lightning.Callback) -> None:
    trainer = lightning.Trainer(
        accelerator="cpu",
        max_epochs=3,
        callbacks=list(callbacks),
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
    )
    trainer.fit(Line(), torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.ones(1, 1))))


def draw(seed: int, folder: Path) -> list[tuple[float, float]]:
    draws = Draws()
    train_line(folder, SeedEpochs(seed), draws)
    return draws.seen


def test_every_epoch_has_random_numbers_of_its_own_that_depend_on_the_seed_alone(tmp_path: Path) -> None:
    torch.manual_seed(1)
    first = draw(5, tmp_path)
    torch.manual_seed(2)
    assert draw(5, tmp_path) == first
    assert len(set(first)) == 3
    assert not set(first) & set(draw(6, tmp_path))


class LosesInterrupts(lightning.Callback):
    """Is interrupted where the interrupt is cleared, as extensions do."""

    def on_train_batch_start(self, *_: object) -> None:
        with contextlib.suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_interrupt_that_is_lost_on_the_way_stops_training_at_the_next_batch(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(SystemExit):
            train_line(tmp_path, StopOnSignal(), LosesInterrupts())
    finally:
        signal.signal(signal.SIGINT, before)


def test_the_same_images_of_every_class_are_drawn(compose: Callable[..., DictConfig]) -> None:
    data = instantiate(compose("stage=seg", *SMALL).data)
    batch = choose_batch(data, 6)
    assert len(batch["id"]) == len(set(batch["id"])) == 6
    assert set(batch["label"].tolist()) == {0, 1, 2}
    assert batch["id"] == choose_batch(data, 6)["id"]
    validation = {data.cohort.records[i].id for i in data.cohort.indices("val")}
    assert set(batch["id"]) <= validation
    assert set(choose_batch(data, 1000)["id"]) == validation


@pytest.mark.parametrize("stage", ["seg", "cls"])
def test_images_are_drawn_in_the_epochs_that_are_due(
    compose: Callable[..., DictConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    epochs: list[int] = []
    monkeypatch.setattr(
        "busi.training.callbacks.log_figures", lambda _loggers, _paths, step: epochs.append(step)
    )
    guide = ["guide=empty"] if stage == "cls" else []
    options = [text for text in SMALL if "epochs" not in text]
    run = fit(
        compose(
            f"stage={stage}", *guide, *options, "trainer.max_epochs=3", "callbacks.figures.every_n_epochs=2"
        ),
        tmp_path / "run",
    )
    assert len(epochs) == 2  # after the second epoch, and after the last
    image = imread(run.folder / "figures" / "val_progress.png")
    assert image.std() > 0.05


def test_frozen_segmentation_network_is_left_bit_for_bit_by_averaging(
    compose: Callable[..., DictConfig], tmp_path: Path
) -> None:
    seg = fit(compose("stage=seg", *SMALL), tmp_path / "outputs" / "seg" / "one")
    cls = fit(
        compose("stage=cls", *SMALL, "callbacks=[default,ema]", "trainer.max_epochs=2"), tmp_path / "cls"
    )
    before, after = (torch.load(run.best_checkpoint, weights_only=True)["state_dict"] for run in (seg, cls))
    shared = [name for name in before if name.startswith("network.")]
    assert len(shared) > 100
    assert all(torch.equal(before[name], after[name.replace("network.", "segmenter.", 1)]) for name in shared)


def test_averaged_weights_are_those_that_are_saved(
    compose: Callable[..., DictConfig], tmp_path: Path
) -> None:
    run = fit(compose("stage=seg", *SMALL, "callbacks=[default,ema]"), tmp_path / "run")
    saved = torch.load(run.last_checkpoint, weights_only=True)
    trained, averaged = saved["current_model_state"], saved["state_dict"]
    name = next(name for name in averaged if name.endswith("segmentation_head.0.weight"))
    assert not torch.equal(trained[name], averaged[name])


def test_early_stopping_stops_and_the_run_is_finished(
    compose: Callable[..., DictConfig], tmp_path: Path
) -> None:
    options = [text for text in SMALL if "max_epochs" not in text]
    run = fit(
        compose(
            "stage=seg",
            *options,
            "trainer.max_epochs=20",
            "optimizer.lr=0",
            "callbacks=[default,early_stopping]",
            "callbacks.early_stopping.patience=2",
            "augmentation=none",
        ),
        tmp_path / "run",
    )
    assert run.finished
    saved = torch.load(run.last_checkpoint, weights_only=True)
    assert saved["epoch"] < 19
