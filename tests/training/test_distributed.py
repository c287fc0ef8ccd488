"""Runs on several devices: two processes give the numbers of one, and leave nothing behind."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import DictConfig, OmegaConf
from segmentation_models_pytorch import Unet
from timm.layers.norm_act import convert_sync_batchnorm

from busi.core.locks import hold
from busi.core.types import InputError
from busi.data.balance import Draws
from busi.data.dataset import EpochSampler, share_batches
from busi.runs.run import open_run
from busi.training.distributed import count_processes, free_port, needs_launch
from busi.training.fitting import check, fit
from tests.conftest import SMALL
from tests.training.test_loggers import OFFLINE

Train = Callable[..., subprocess.CompletedProcess[str]]


@pytest.mark.parametrize(("num_samples", "batch_size"), [(2, 2), (3, 2), (9, 4), (16, 8), (17, 8), (23, 8)])
def test_ranks_share_every_sample_once_in_equally_many_batches(num_samples: int, batch_size: int) -> None:
    parts = [share_batches(num_samples, batch_size, rank, 2) for rank in range(2)]
    assert len(parts[0]) == len(parts[1])
    assert all(batch for part in parts for batch in part)
    assert sorted(i for part in parts for batch in part for i in batch) == list(range(num_samples))


@pytest.mark.parametrize("balanced", [False, True])
@pytest.mark.parametrize("num_samples", [16, 23])
def test_batches_of_all_ranks_together_are_those_of_one_process(num_samples: int, balanced: bool) -> None:
    places = np.arange(num_samples)
    draws = Draws(places + 1.0, places % 3) if balanced else None
    alone = list(EpochSampler(num_samples, 3, draws, 5))
    shares = [list(EpochSampler(num_samples, 3, draws, 5, rank, 4)) for rank in range(4)]
    assert len({len(share) for share in shares}) == 1
    for i in range(num_samples // 8):
        together = {draw for share in shares for draw in share[2 * i : 2 * i + 2]}
        assert together == set(alone[8 * i : 8 * i + 8])


def test_synchronized_batch_norm_keeps_what_a_network_computes() -> None:
    network = Unet("tu-tf_efficientnet_lite0", encoder_weights=None, in_channels=1).eval()
    image = torch.rand(2, 1, 64, 64)
    with torch.inference_mode():
        before = network(image)
        converted = convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]
        assert torch.equal(converted(image), before)


def trainer(**values: object) -> DictConfig:
    return OmegaConf.create({"accelerator": "cpu", "devices": 1, **values})


def test_processes_are_started_where_they_are_needed_and_nobody_did(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not needs_launch(trainer())
    assert needs_launch(trainer(devices=2))
    assert needs_launch(trainer(strategy="ddp"))
    assert count_processes(trainer(devices=[0, 3], num_nodes=2)) == 4
    for values, words in (
        ({"devices": "many"}, "trainer.devices=many: give how many"),
        ({"devices": 2, "num_nodes": 2}, "srun or torchrun starts the processes"),
    ):
        with pytest.raises(InputError, match=words):
            needs_launch(trainer(**values))
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert not needs_launch(trainer(devices=2))
    with pytest.raises(InputError, match="2 processes were started, and trainer.devices=3 needs 3"):
        needs_launch(trainer(devices=3))


def test_batch_that_cannot_be_shared_is_refused(compose: Callable[..., DictConfig]) -> None:
    with pytest.raises(InputError, match="data.batch_size=8 cannot be shared evenly by the 3 processes"):
        check(compose("trainer=cpu", "trainer.devices=3"))


def on_gpus(count: int, *overrides: str) -> object:
    """A case that needs as many GPUs."""
    few = torch.cuda.device_count() < count
    return pytest.param(overrides, marks=pytest.mark.skipif(few, reason=f"needs {count} GPU(s)"))


@pytest.mark.slow
@pytest.mark.parametrize(
    "devices",
    [
        ("trainer.devices=2,1",),
        on_gpus(2, "trainer.devices=2,1", "trainer.accelerator=gpu"),
        on_gpus(1, "trainer.accelerator=gpu,cpu"),
    ],
)
def test_two_processes_or_a_gpu_give_the_numbers_of_one_process_in_a_sweep_too(
    train: Train, tmp_path: Path, devices: tuple[str, ...]
) -> None:
    """A network without batch statistics: those are of each process's part of the batch on the CPU."""
    sweep = ("-m", "stage=cls", "guide=empty", "model=timm", *devices)
    done = train(
        *sweep,
        "seed=0,1",
        "model.network.dropout=0",
        "hydra.sweep.dir=sweep",
        *SMALL,
        *OFFLINE,
        "encoder=convnext_atto",
        "trainer.max_epochs=2",
    )
    assert done.returncode == 0, done.stderr
    for two, one in (("0", "2"), ("1", "3")):
        first, second = (tmp_path / "sweep" / job for job in (two, one))
        assert open_run(first).config.trainer != open_run(second).config.trainer
        for name in ("metrics.json", "predictions.csv"):
            assert close(first / name, second / name), name
        # Each row of the log is one epoch on all images, whichever process saw them.
        assert close(first / "log" / "metrics.csv", second / "log" / "metrics.csv")
        assert len(list(first.glob("wandb/offline-run-*"))) == 1
        names = {path.name for path in first.iterdir()}
        assert names == {path.name for path in second.iterdir()}
    assert {path.name for path in tmp_path.iterdir()} == {"sweep"}


def close(first: Path, second: Path) -> bool:
    """Whether two files hold the same words, and the same numbers but for rounding."""
    for a, b in zip(*(path.read_text().replace(",", " ").split() for path in (first, second)), strict=True):
        try:
            if not np.isclose(float(a), float(b), rtol=1e-3, atol=1e-4):
                return False
        except ValueError:
            if a != b:
                return False
    return True


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_stopped_processes_all_end_and_after_ctrl_c_the_run_goes_on(
    train: Train, compose: Callable[..., DictConfig], cache: Path, tmp_path: Path, number: int
) -> None:
    long = [
        *(text for text in SMALL if "max_epochs" not in text),
        "trainer.max_epochs=8",
        "trainer.devices=2",
    ]
    folder = tmp_path / "stopped"
    signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(
        [sys.executable, "-m", "busi.train", "stage=seg", *long, f"hydra.run.dir={folder}"],
        env={**os.environ, "BUSI_CACHE": str(cache)},
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while process.poll() is None and not (folder / "checkpoints" / "last.ckpt").exists():
        time.sleep(0.02)
    process.send_signal(number)
    assert process.wait() == (130 if number == signal.SIGINT else -signal.SIGKILL)
    wait_until_free(folder)
    assert not open_run(folder).finished
    if number == signal.SIGKILL:
        return
    done = train(f"resume={folder}")
    assert done.returncode == 0, done.stderr
    assert "Going on after epoch" in done.stdout
    whole = fit(compose("stage=seg", *long), tmp_path / "whole")
    for name in ("metrics.json", "predictions.csv"):
        assert (whole.folder / name).read_text() == (folder / name).read_text(), name


def wait_until_free(folder: Path) -> None:
    """Wait for processes that have lost the one that started them."""
    for _ in range(300):
        try:
            with hold(folder):
                return
        except InputError:
            time.sleep(0.1)
    pytest.fail("the processes of a run outlived the one that started them")


@pytest.mark.slow
@pytest.mark.parametrize("starter", ["torchrun", "srun"])
def test_processes_that_others_start_make_one_run(cache: Path, tmp_path: Path, starter: str) -> None:
    """What srun tells its tasks is enough to try it: no Slurm is needed."""
    train = ["-m", "busi.train", "stage=seg", *SMALL, "trainer.devices=2"]
    tasks: list[tuple[list[str], dict[str, str]]] = []
    if starter == "torchrun":
        tasks = [(["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", *train], {})]
    else:
        job = {"JOB_ID": "17", "NTASKS": "2", "STEP_NUM_TASKS": "2", "NTASKS_PER_NODE": "2", "NNODES": "1"}
        job |= {"NODELIST": "127.0.0.1", "NODEID": "0", "JOB_NAME": "busi"}
        tasks = [(train, {**job, "PROCID": rank, "LOCALID": rank}) for rank in "01"]
    port = str(free_port())
    processes = [
        subprocess.Popen(
            [sys.executable, *arguments],
            cwd=tmp_path,
            env={
                **os.environ,
                "BUSI_CACHE": str(cache),
                "MASTER_PORT": port,
                **{f"SLURM_{name}": value for name, value in variables.items()},
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for arguments, variables in tasks
    ]
    printed = "".join(process.communicate()[0] for process in processes)
    assert [process.returncode for process in processes] == [0] * len(tasks), printed
    (folder,) = (tmp_path / "outputs" / "seg").iterdir()
    assert open_run(folder).finished
    assert printed.count("Finished in") == 1


@pytest.mark.slow
def test_what_rank_0_finds_wrong_is_one_line(train: Train, tmp_path: Path) -> None:
    arguments = ("stage=seg", *SMALL, "trainer.devices=2", "optimizer.lr=-1")
    done = train(*arguments, "hydra.run.dir=run")
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if "error" in line]
    assert line.startswith("error: optimizer.lr=-1: give a number, at least 0")
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run" / "provenance.json").exists()
