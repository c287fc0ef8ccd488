"""Run folders: started, finished, and found again by what they were made of."""

import contextlib
import csv
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from busi.data.cohort import Cohort
from busi.paths import write_json, write_whole
from busi.provenance import describe_environment, now
from busi.types import InputError

# What does not change a result: where things lie, how they are shown, how many processes load them.
NOT_SETTINGS = (
    "output_dir",
    "run_dir",
    "cache_dir",
    "logger",
    "callbacks",
    "seg_ckpt",
    "prepare",
    "score",
)
NOT_DATA_SETTINGS = ("root", "read", "cache_dir", "num_workers")

UPPER_BOUND = {"annotated": " (upper bound: the mask gives the label away)"}
"""What is said after the name of a guide, wherever it appears."""


@dataclass(frozen=True)
class Run:
    """A run folder.

    Attributes:
        folder: ``outputs/<stage>/<time>``.
        provenance: Content of ``provenance.json``; ``finished`` is None until all files are there.
    """

    folder: Path
    provenance: dict[str, Any]

    @property
    def finished(self) -> bool:
        """Whether the run came to its end."""
        return bool(self.provenance.get("finished"))

    @property
    def best_checkpoint(self) -> Path:
        """The checkpoint with the best monitored value."""
        return self.folder / "checkpoints" / "best.ckpt"

    @property
    def last_checkpoint(self) -> Path:
        """The checkpoint of the last epoch."""
        return self.folder / "checkpoints" / "last.ckpt"

    def finish(self, metrics: dict[str, float | None], **facts: object) -> "Run":
        """Write the metrics and, last of all files, that the run is finished."""
        write_json(self.folder / "metrics.json", metrics)
        provenance = {**self.provenance, **facts, "finished": now()}
        write_json(self.folder / "provenance.json", provenance)
        return Run(self.folder, provenance)


def start_run(folder: Path, cfg: DictConfig, cohort: Cohort, parents: dict[str, Any]) -> Run:
    """Claim a folder and write what is known before training.

    Raises:
        InputError: If the folder holds a run already, or cannot be written.
    """
    provenance = {
        "stage": cfg.stage,
        "debug": cfg.debug,
        "data": cohort.data_fingerprint,
        "split": cohort.split_fingerprint,
        "fold": cfg.data.fold,
        "guide": f"{cfg.guide}{UPPER_BOUND.get(cfg.guide, '')}" if "guide" in cfg else None,
        "settings": settings_fingerprint(cfg),
        "parents": parents,
        **describe_environment(),
        "started": now(),
        "finished": None,
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Opening for exclusive creation lets one of two runs that start at once have the folder.
        with (folder / "provenance.json").open("x") as file:
            json.dump(provenance, file, indent=2)
    except FileExistsError:
        raise InputError(f"{folder} holds a run already: give another folder with hydra.run.dir=") from None
    except OSError as error:
        raise InputError(
            f"cannot write to {folder}: {error.strerror}. Give another with hydra.run.dir="
        ) from None
    write_whole(folder / "config.yaml", lambda part: part.write_text(OmegaConf.to_yaml(cfg, resolve=True)))
    write_table(folder / "split.csv", cohort.rows())
    return Run(folder, provenance)


def open_run(folder: Path) -> Run:
    """Open an existing run folder.

    Raises:
        InputError: If it is none.
    """
    try:
        return Run(folder, json.loads((folder / "provenance.json").read_text()))
    except (OSError, json.JSONDecodeError):
        raise InputError(f"{folder} is not a run folder: it has no readable provenance.json") from None


def find_runs(output_dir: Path, stage: str) -> list[Run]:
    """All finished runs of a stage below a folder, newest first; what is unreadable is not finished."""
    found = []
    for path in output_dir.rglob("provenance.json"):
        with contextlib.suppress(InputError):
            run = open_run(path.parent)
            if run.finished and run.provenance["stage"] == stage:
                found.append(run)
    return sorted(found, key=lambda run: str(run.provenance["finished"]), reverse=True)


def settings_fingerprint(cfg: DictConfig) -> str:
    """Fingerprint of all that shapes a result, 16 hexadecimal digits; paths and display are left out."""
    plain: dict[str, Any] = OmegaConf.to_container(cfg, resolve=True)  # type: ignore[assignment]
    kept = {key: value for key, value in plain.items() if key not in NOT_SETTINGS}
    kept["trainer"] = {key: value for key, value in plain["trainer"].items() if key != "default_root_dir"}
    kept["data"] = {key: value for key, value in plain["data"].items() if key not in NOT_DATA_SETTINGS}
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:16]


def write_table(path: Path, rows: Sequence[dict[str, object]]) -> Path:
    """Write rows with the same keys as CSV, whole or not at all.

    Floats are written in full precision, undefined ones as empty fields.
    """

    def write(part: Path) -> None:
        with part.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            # Only NaN differs from itself.
            writer.writerows({key: x if x == x else "" for key, x in row.items()} for row in rows)

    return write_whole(path, write)
