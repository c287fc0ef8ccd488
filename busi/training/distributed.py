"""One run on several devices: who starts its processes, and how they learn what rank 0 decided.

Rank 0 alone decides, writes and scores. The others, its workers, wait for a job, train along, and end.
Where nobody started them (torchrun, srun), `launch` starts all of them beside the process of the job, which
stays as it was: nothing of one job of a sweep reaches the next.
"""

import json
import logging
import os
import socket
import sys
import tempfile
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from omegaconf import DictConfig, ListConfig, OmegaConf
from torch.distributed.distributed_c10d import Store
from torch.distributed.rendezvous import rendezvous as connect

from busi.core import InputError
from busi.inference import default_device
from busi.sweeps import Pruned
from busi.training.processes import run_all

Job = dict[str, Any]
"""What to train: ``config`` (YAML), ``folder``, ``resume``."""

RENDEZVOUS_TIMEOUT = timedelta(minutes=10)
"""For how long the ranks wait for each other at the start."""

JOB_TIMEOUT = timedelta(hours=12)
"""For how long the other ranks wait for a job, while rank 0 may be preparing data."""

JOB = "busi/job"
LOCAL = "127.0.0.1"
LAUNCHED = "BUSI_LAUNCHED"
"""Set in the processes that `launch` starts."""


def find_device(trainer: DictConfig) -> torch.device:
    """Where a run computes; ``auto`` is a GPU if there is one.

    Lightning would take the GPU of a Mac, too. It has no double precision, and busi never ran on one.
    Of several processes none tries its GPU here, as all of them would take the first one.
    """
    if trainer.accelerator == "auto" and environment().world_size() == 1:
        return default_device()
    cpu = trainer.accelerator == "cpu" or (trainer.accelerator == "auto" and not torch.cuda.is_available())
    return torch.device("cpu" if cpu else "cuda")


def count_processes(trainer: DictConfig) -> int:
    """How many processes a trainer's devices need, one each.

    Raises:
        InputError: If `trainer.devices` is neither a number, a list of numbers, nor ``auto``.
    """
    devices = trainer.devices
    if devices in ("auto", -1):
        can_gpu = trainer.accelerator in ("auto", "gpu", "cuda")
        devices = max(1, torch.cuda.device_count()) if can_gpu else 1
    elif isinstance(devices, ListConfig):
        devices = len(devices)
    if not isinstance(devices, int) or devices < 1:
        raise InputError(f"trainer.devices={devices}: give how many, a list of GPUs like [0,1], or auto")
    return devices * int(trainer.get("num_nodes", 1))


def needs_launch(trainer: DictConfig) -> bool:
    """Whether this process has to start those of a run.

    Raises:
        InputError: If they were started by torchrun or srun, but not as many as the trainer needs, or if
            only those can.
    """
    needed, started = count_processes(trainer), environment()
    if not isinstance(started, LightningEnvironment):
        if started.world_size() != needed:
            raise InputError(
                f"{started.world_size()} processes were started, and trainer.devices={trainer.devices} needs "
                f"{needed}: make them equal (trainer.num_nodes says on how many machines)"
            )
        return False
    if trainer.get("num_nodes", 1) > 1:
        raise InputError("trainer.num_nodes: on several machines srun or torchrun starts the processes")
    return needed > 1 or str(trainer.get("strategy", "auto")).startswith("ddp")


def environment() -> ClusterEnvironment:
    """What started this process: torchrun or `launch`, srun, or nothing of that kind.

    Lightning's own choice would take every Slurm job for one of srun, and requeue it by its own means.
    """
    if os.environ.get("RANK") and os.environ.get("WORLD_SIZE"):
        return TorchElasticEnvironment()
    if int(os.environ.get("SLURM_STEP_NUM_TASKS") or 1) > 1:
        return SLURMEnvironment(auto_requeue=False)
    return LightningEnvironment()


def is_worker() -> bool:
    """Whether this process only trains along, for another one decides."""
    return environment().global_rank() > 0


def is_launched() -> bool:
    """Whether another process of busi started this one, with a config that it had checked."""
    return LAUNCHED in os.environ


@cache
def rendezvous() -> Store | None:
    """Meet the other processes of a run, at a store that lives in rank 0; None where there are none.

    When rank 0 dies, whoever waits there gets an error.
    """
    started = environment()
    if started.world_size() == 1:
        return None
    if is_launched() and started.global_rank() == 0:
        _listen_here(started.main_port, started.world_size())
    place = f"tcp://{started.main_address}:{started.main_port}"
    store: Store
    store, _, _ = next(
        connect(place, started.global_rank(), started.world_size(), timeout=RENDEZVOUS_TIMEOUT)
    )
    store.set_timeout(JOB_TIMEOUT)
    return store


@cache
def _listen_here(port: int, world_size: int) -> Store:
    """Open the store of processes of one machine, for that machine alone.

    PyTorch would open it to the network, where anybody could write a job into it. Whoever asks for a store of
    this port in this process gets this one.
    """
    store: Store = torch.distributed.TCPStore(  # type: ignore[attr-defined]
        LOCAL,
        port,
        world_size,
        is_master=True,
        timeout=RENDEZVOUS_TIMEOUT,
        multi_tenant=True,
        master_listen_fd=socket.create_server((LOCAL, port)).detach(),
    )
    return store


def publish_job(cfg: DictConfig, folder: Path, resume: bool) -> None:
    """Let the other ranks, if there are any, train this too.

    Raises:
        InputError: If they had a job before, and have left.
    """
    if (store := rendezvous()) is None:
        return
    if store.check([JOB]):
        raise InputError("torchrun starts the processes of one run: a sweep starts those of its jobs itself")
    store.set(JOB, json.dumps({"config": OmegaConf.to_yaml(cfg), "folder": str(folder), "resume": resume}))


def wait_for_job() -> Job | None:
    """What rank 0 decided to train; None if it needs nobody."""
    store = rendezvous()
    assert store is not None
    job: Job | None = json.loads(store.get(JOB))
    return job


def release_ranks() -> None:
    """Let ranks that still wait for a job leave."""
    if not is_worker() and (store := rendezvous()) is not None and not store.check([JOB]):
        store.set(JOB, "null")


def teardown() -> None:
    """End the connection between the ranks, on all of them at once: scoring is the matter of rank 0."""
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def launch(cfg: DictConfig, folder: Path, resume: bool) -> Path:
    """Train in a process for each device; return the folder of the finished run.

    Raises:
        InputError: What rank 0 found wrong.
        Pruned: If a search ended it early.
        RuntimeError: If a process failed.
    """
    world_size = count_processes(cfg.trainer)
    with tempfile.TemporaryDirectory(prefix="busi-ranks-") as name:
        place = Path(name)
        job = {
            "config": OmegaConf.to_yaml(cfg),
            "folder": str(folder),
            "resume": resume,
            "argv": sys.argv,
            "logs": [x.baseFilename for x in logging.root.handlers if isinstance(x, logging.FileHandler)],
        }
        (place / "job.json").write_text(json.dumps(job))
        failed = run_all(
            [sys.executable, "-m", "busi.training.rank", name],
            [
                {
                    "RANK": str(rank),
                    "LOCAL_RANK": str(rank),
                    "WORLD_SIZE": str(world_size),
                    "MASTER_ADDR": LOCAL,
                    "MASTER_PORT": port,
                    LAUNCHED: "1",
                }
                for port in [str(free_port())]
                for rank in range(world_size)
            ],
        )
        result = json.loads(path.read_text()) if (path := place / "result.json").exists() else {}
    if "error" in result:
        raise InputError(result["error"])
    if "pruned" in result:
        raise Pruned(result["pruned"])
    if failed or "run" not in result:
        raise RuntimeError(f"a process of {folder} failed with status {failed}: its message stands above")
    return Path(result["run"])


def free_port() -> int:
    """A port of this machine that nobody listens to."""
    with socket.socket() as found:
        found.bind((LOCAL, 0))
        return int(found.getsockname()[1])
