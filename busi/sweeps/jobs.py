"""What a job of a sweep leaves in its folder, and what became of it."""

import contextlib
import json
import math
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf

from busi.core import write_json

Job = dict[str, Any]
FAILURE = "failed.json"
REUSE = "reused.json"
PRUNED = "pruned.json"


class Pruned(Exception):
    """A trial of a search was ended early, because others were better."""


def record_failure(folder: Path, message: str) -> None:
    """Write into a job's folder that it failed, and why."""
    with contextlib.suppress(OSError):  # the disk may be full
        write_json(folder / FAILURE, {"error": message})


def forget_failure(folder: Path) -> None:
    """Delete what `record_failure` wrote, before the job is tried again."""
    (folder / FAILURE).unlink(missing_ok=True)


def record_reuse(folder: Path, run: Path) -> None:
    """Write into a job's folder that an earlier run of the same content stands for it."""
    write_json(folder / REUSE, {"run": str(run)})


def record_pruned(folder: Path, epoch: int, monitor: str, value: float) -> None:
    """Write into a job's folder that a search ended it early.

    Args:
        folder: Of the job.
        epoch: The last one, counted from 0.
        monitor: Name of the monitored metric.
        value: Its value then; kept as null where it is no number.
    """
    kept = value if math.isfinite(value) else None
    write_json(folder / PRUNED, {"epoch": epoch, "metrics": {monitor: kept}})


def folder_of(job: Path) -> Path:
    """The run folder that a job has, or that stands for it."""
    return Path(_read(job / REUSE).get("run") or job)


def read_job(hydra_folder: Path) -> Job:
    """What became of one job: finished, reused, failed, pruned, or stopped.

    Args:
        hydra_folder: ``.hydra`` in the folder of the job.
    """
    folder = hydra_folder.parent
    path = hydra_folder / "overrides.yaml"
    # Another process may have begun the job this moment.
    overrides = yaml.safe_load(path.read_text(encoding="utf-8")) or [] if path.is_file() else []
    job: Job = {
        "job": folder.name,
        "status": "stopped",
        "overrides": {name.lstrip("+~"): value for name, _, value in (o.partition("=") for o in overrides)},
        "monitor": None,
        "score": None,
        "metrics": {},
        "epoch": None,
        "seconds": None,
        "error": None,
    }
    if failed := _read(folder / FAILURE):  # which goes when the job is tried again
        return job | {"status": "failed", "error": failed.get("error")}
    reused, folder = (folder / REUSE).is_file(), folder_of(folder)
    provenance = _read(folder / "provenance.json")
    if not provenance.get("finished"):
        pruned = _read(folder / PRUNED)
        return job | ({"status": "pruned", **pruned} if pruned else {})
    monitor, value = provenance["monitor"], provenance["monitored"]
    mode = OmegaConf.load(folder / "config.yaml").monitor_mode
    metrics = {name: x for name, x in _read(folder / "metrics.json").items() if name.startswith("val/")}
    return job | {
        "status": "reused" if reused else "finished",
        "monitor": monitor,
        "score": value if value is None or mode == "max" else -value,
        "metrics": {monitor: value, **metrics},
        "epoch": provenance["epoch"],
        "seconds": provenance["seconds"],
    }


def _read(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(path.read_text())
    except (OSError, json.JSONDecodeError):
        return {}
    return content
