"""Run folders: started, finished, and found again by what they were made of."""

import contextlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from yaml import YAMLError

from busi.core import InputError, write_json, write_table, write_whole
from busi.data import Cohort
from busi.models import Postprocess
from busi.runs.fingerprints import FOLD_SETTINGS, folds_that_train, settings_fingerprint
from busi.runs.provenance import describe_environment, git_commit, now

UPPER_BOUND = {"ground_truth": " (upper bound: the mask gives the label away)"}
"""What is said after the name of a guide, wherever it appears."""


def name_guide(name: str) -> str:
    """The name of a guide, with a warning where it gives the label away."""
    return f"{name}{UPPER_BOUND.get(name, '')}"


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
        """The checkpoint with the best monitored value, or of the last epoch where that was asked for."""
        return self.folder / "checkpoints" / "best.ckpt"

    @property
    def last_checkpoint(self) -> Path:
        """The checkpoint of the last epoch."""
        return self.folder / "checkpoints" / "last.ckpt"

    @property
    def monitored(self) -> tuple[str, float | None]:
        """The monitored metric of a finished run, and its value; None where nothing was scored by it."""
        return self.provenance["monitor"], self.provenance["monitored"]

    @property
    def variant(self) -> str:
        """What guided the classifier; ``segmentation`` for a run of stage one."""
        return str(self.config.guide.name) if self.provenance["stage"] == "cls" else "segmentation"

    @property
    def members(self) -> list[str]:
        """The run folders of which this is an ensemble; none of one that was trained."""
        return list(self.provenance.get("upstream", {}).get("members", []))

    @property
    def how_to_finish(self) -> str:
        """What a user types where it was stopped."""
        again = "the busi.ensemble command that began it, again"
        return again if self.members else f"python -m busi.train resume={self.folder}"

    @property
    def config(self) -> DictConfig:
        """The config that it was started with, resolved."""
        try:
            return OmegaConf.load(self.folder / "config.yaml")  # type: ignore[return-value]
        except (OSError, YAMLError) as error:
            raise InputError(f"{self.folder} has no readable config.yaml: start the run again") from error

    @property
    def postprocess(self) -> Postprocess:
        """What makes masks of the maps of a segmentation run."""
        path = self.folder / "postprocess.json"
        try:
            return Postprocess(**json.loads(path.read_text()))
        except (OSError, ValueError, TypeError) as error:
            raise InputError(f"{path} is missing or damaged: train this run again") from error

    def finish(self, metrics: dict[str, float | None], **facts: object) -> "Run":
        """Write the metrics and, last of all files, that the run is finished."""
        write_json(self.folder / "metrics.json", metrics)
        provenance = {**self.provenance, **facts, "finished": now()}
        write_json(self.folder / "provenance.json", provenance)
        return Run(self.folder, provenance)


def start_run(
    folder: Path, cfg: DictConfig, cohort: Cohort, upstream: dict[str, Any], command: str = "busi.train"
) -> Run:
    """Claim a folder and write what is known before training; `busi.core.files.hold` keeps others out of it.

    Args:
        folder: The run folder.
        cfg: Resolved.
        cohort: Its images.
        upstream: What it was made from: the checkpoint ``segmentation``, or the ``members`` of an ensemble.
        command: The module that makes it.

    Raises:
        InputError: If the folder holds a run already, or cannot be written.
    """
    provenance = {
        "stage": cfg.stage,
        "debug": cfg.debug,
        "data": cohort.data_fingerprint,
        "split": cohort.split_fingerprint,
        "fold": cfg.data.fold,
        "leave_out": cfg.data.leave_out,
        "trained_on": folds_that_train(cfg),
        "guide": name_guide(cfg.guide.name) if "guide" in cfg else None,
        "settings": settings_fingerprint(cfg),
        "recipe": settings_fingerprint(cfg, FOLD_SETTINGS),
        "upstream": upstream,
        **describe_environment(command),
        "started": now(),
        "finished": None,
    }
    if (folder / "provenance.json").exists():
        raise InputError(
            f"{folder} holds a run already: go on with it by resume={folder}, or give another folder with "
            "hydra.run.dir="
        )
    write_whole(folder / "config.yaml", lambda part: part.write_text(OmegaConf.to_yaml(cfg, resolve=True)))
    write_table(folder / "split.csv", cohort.rows())
    # Last of all: whoever kills a run before this leaves a folder where it can be started again.
    write_json(folder / "provenance.json", provenance)
    return Run(folder, provenance)


def continue_run(folder: Path, cfg: DictConfig, cohort: Cohort) -> Run:
    """Go on with a run that was started in this folder.

    Raises:
        InputError: If the data, the split or the settings are not those that it was started with.
    """
    run = open_run(folder)
    same = {
        "data": cohort.data_fingerprint,
        "split": cohort.split_fingerprint,
        "settings": settings_fingerprint(cfg),
    }
    if changed := [name for name, value in same.items() if run.provenance[name] != value]:
        raise InputError(
            f"{folder} cannot go on: its {', '.join(changed)} changed since it was started. Start a new run"
        )
    resumed = [*run.provenance.get("resumed", []), {"time": now(), "git_commit": git_commit()}]
    run = Run(folder, {**run.provenance, "resumed": resumed})
    write_json(folder / "provenance.json", run.provenance)
    return run


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


def find_same(cfg: DictConfig, cohort: Cohort, upstream: dict[str, Any]) -> Run | None:
    """The newest finished run of the same content, whatever its name: None if there is none.

    A run with ``data.leave_out`` chooses nothing, so it is what it was trained on, whichever fold was
    its test fold.
    """
    wanted = {
        "debug": cfg.debug,
        "data": cohort.data_fingerprint,
        "split": cohort.split_fingerprint,
        "recipe": settings_fingerprint(cfg, FOLD_SETTINGS),
        "trained_on": folds_that_train(cfg),
        "upstream": upstream,
    }
    if cfg.data.leave_out is None:
        wanted |= {"fold": cfg.data.fold, "settings": settings_fingerprint(cfg)}
    for run in find_runs(Path(cfg.output_dir), cfg.stage):
        inner = run.provenance.get("leave_out") is not None
        if inner == (cfg.data.leave_out is not None) and all(
            run.provenance.get(name) == value for name, value in wanted.items()
        ):
            return run
    return None


def read_overrides(folder: Path) -> list[str]:
    """The overrides that a run was started with, as Hydra stored them."""
    path = folder / ".hydra" / "overrides.yaml"
    return [str(text) for text in OmegaConf.load(path)] if path.is_file() else []
