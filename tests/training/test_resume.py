"""Runs that are stopped and go on: killed for real, and compared with one that nobody stopped."""

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from omegaconf import DictConfig

from busi.core.locks import hold
from busi.core.tables import read_table
from busi.core.types import InputError
from busi.runs.run import Run, open_run
from busi.training.fitting import fit, go_on
from tests.conftest import SMALL
from tests.processes import start

Train = Callable[..., subprocess.CompletedProcess[str]]
LONG = tuple(text for text in SMALL if "max_epochs" not in text)


def stop_after_first_epoch(arguments: list[str], folder: Path, number: int, cache: Path) -> int:
    """Start the command, wait for its first checkpoint, send a signal, and return the exit status."""
    process = start(
        "busi.train",
        [*arguments, f"hydra.run.dir={folder}"],
        folder.parent,
        (Path(os.devnull), Path(os.devnull)),
        {"BUSI_CACHE": str(cache)},
    )
    while process.is_alive() and not (folder / "checkpoints" / "last.ckpt").exists():
        time.sleep(0.02)
    assert process.pid is not None
    os.kill(process.pid, number)
    process.join()
    assert process.exitcode is not None
    return process.exitcode


@pytest.mark.parametrize(
    ("overrides", "number"),
    [
        (("stage=seg", "callbacks=[default,ema]", "trainer.max_epochs=5"), signal.SIGKILL),
        (("stage=cls", "guide=empty", "data.num_workers=2", "trainer.max_epochs=5"), signal.SIGTERM),
        pytest.param(
            ("stage=cls", "guide=empty", "trainer.max_epochs=8"), signal.SIGINT, marks=pytest.mark.slow
        ),
        pytest.param(
            (
                *("stage=seg", "scheduler=plateau", "callbacks=[default,early_stopping]"),
                "trainer.max_epochs=8",
            ),
            signal.SIGKILL,
            marks=pytest.mark.slow,
        ),
    ],
)
def test_resumed_run_is_the_run_that_nobody_stopped(
    compose: Callable[..., DictConfig],
    train: Train,
    cache: Path,
    tmp_path: Path,
    overrides: tuple[str, ...],
    number: int,
) -> None:
    arguments = [*overrides, *LONG]
    whole = fit(compose(*arguments), tmp_path / "whole")
    stopped = tmp_path / "stopped"
    status = stop_after_first_epoch(arguments, stopped, number, cache)
    assert status == (-signal.SIGKILL if number == signal.SIGKILL else 130)
    assert not open_run(stopped).finished
    if number != signal.SIGKILL:
        assert f"Go on with: python -m busi.train resume={stopped}" in (stopped / "train.log").read_text()
    done = train(f"resume={stopped}")
    assert done.returncode == 0, done.stderr
    assert "Going on after epoch" in done.stdout
    for name in ("best.ckpt", "last.ckpt"):
        first, second = (
            torch.load(folder / "checkpoints" / name, weights_only=True) for folder in (whole.folder, stopped)
        )
        assert first["epoch"] == second["epoch"]
        for part in ("state_dict", "current_model_state"):
            for key, tensor in first.get(part, {}).items():
                assert torch.equal(tensor, second[part][key]), key
    for name in ("predictions.csv", "metrics.json"):
        assert (whole.folder / name).read_text() == (stopped / name).read_text(), name
    first_rows, second_rows = (
        read_table(folder / "log" / "metrics.csv") for folder in (whole.folder, stopped)
    )
    assert len({row["epoch"] for row in first_rows}) == len(first_rows) == len(second_rows)
    # A signal between the saving of an epoch and the logging of its training loss costs that loss.
    lost = [one != other for one, other in zip(first_rows, second_rows, strict=True)]
    assert sum(lost) <= 1
    for one, other in zip(first_rows, second_rows, strict=True):
        assert {name: x for name, x in other.items() if x}.items() <= one.items()
    assert len(open_run(stopped).provenance["resumed"]) == 1


def test_run_that_was_stopped_before_its_first_epoch_starts_again(
    compose: Callable[..., DictConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg = compose("stage=seg", *SMALL)
    with monkeypatch.context() as patch:
        patch.setattr("lightning.Trainer.fit", interrupt)
        with pytest.raises(KeyboardInterrupt):
            fit(cfg, tmp_path / "run")
    assert fit(cfg, tmp_path / "run", resume=True).finished


@pytest.mark.parametrize("setting", ["data.leave_out=2", "test=false"])
def test_run_that_is_not_to_be_scored_goes_on_and_is_not(
    compose: Callable[..., DictConfig],
    train: Train,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    setting: str,
) -> None:
    folder = tmp_path / "outputs" / "seg" / "inner"
    with monkeypatch.context() as patch:
        patch.setattr("lightning.Trainer.fit", interrupt)
        with pytest.raises(KeyboardInterrupt):
            fit(compose("stage=seg", *SMALL, "data.num_folds=5", setting), folder)
    done = train(f"resume={folder}")
    assert done.returncode == 0, done.stderr
    run = open_run(folder)
    assert run.finished
    assert not run.provenance["tested"]


def interrupt(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_what_cannot_go_on_says_why(compose: Callable[..., DictConfig], train: Train, tmp_path: Path) -> None:
    folder = tmp_path / "outputs" / "seg" / "one"
    fit(compose("stage=seg", *SMALL), folder)
    (folder / ".hydra").mkdir()
    (folder / ".hydra" / "overrides.yaml").write_text("".join(f"- {text}\n" for text in SMALL))
    for arguments, words in (
        ([f"resume={folder}", "optimizer.lr=0.5"], "was started with optimizer.lr 0.001 (asked: 0.5)"),
        ([f"resume={folder}", "model=unetplusplus"], "(asked: segmentation_models_pytorch.UnetPlusPlus)"),
        ([f"resume={tmp_path}/nowhere"], "nowhere is not a run folder"),
        (
            ["stage=seg", f"hydra.run.dir={folder}", *SMALL],
            f"python -m busi.train resume={folder} goes on with it",
        ),
    ):
        done = train(*arguments)
        assert done.returncode == 1
        assert words in done.stderr
    assert not (tmp_path / "nowhere").exists()
    with pytest.raises(InputError, match="its data, split, settings changed"):
        fit(compose("stage=seg", *SMALL, "data.read.seed=5", "seed=4"), folder, resume=True)
    moved = folder.rename(folder.with_name("two"))
    stopped = Run(moved, {**open_run(moved).provenance, "finished": None})
    with pytest.raises(InputError, match="move it back"):
        go_on(stopped, test=True)
    (moved / "checkpoints" / "last.ckpt").write_bytes(b"half")
    with pytest.raises(InputError, match="damaged"):
        fit(compose("stage=seg", *SMALL), moved, resume=True)


def test_folder_belongs_to_one_process_at_a_time(train: Train, tmp_path: Path) -> None:
    arguments = ["stage=seg", *SMALL, f"hydra.run.dir={tmp_path}/run"]
    with hold(tmp_path / "run"):
        done = train(*arguments)
    assert done.returncode == 1
    assert "is in use: another process is still writing to it" in done.stderr
    assert train(*arguments).returncode == 0
