"""Run folders: started, finished, and found again by what they were made of."""

import json
import shlex
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from busi.core import InputError, file_hash, flush_all, write_json, write_table, write_text
from busi.data import Cohort
from busi.models import Postprocess
from busi.runs.fingerprints import FOLD_SETTINGS, fits_settings, folds_that_train, settings_fingerprint
from busi.runs.provenance import describe_environment, git_commit, now
from busi.runs.stored import Finished, Provenance, check_stored, parse_config

UPPER_BOUND = {"ground_truth": " (upper bound: the mask gives the label away)"}
"""What is said after the name of a guide, wherever it appears."""

BEST = "checkpoints/best.ckpt"
FILES = (
    *(BEST, "predictions.csv", "metrics.json", "shortcut.json"),
    *("postprocess.json", "split.csv", "guides.csv"),
)
"""What a finished run is known by; ``provenance.json`` has their fingerprints."""


def name_guide(name: str) -> str:
    """The name of a guide, with a warning where it gives the label away."""
    return f"{name}{UPPER_BOUND.get(name, '')}"


def name_variant(config: DictConfig) -> str:
    """The variant of a report that a run of this config belongs to; see `Run.variant`."""
    return str(config.guide.name) if config.stage == "cls" else "segmentation"


def without_places(upstream: dict[str, Any]) -> dict[str, Any]:
    """What a run was made from, without the place of what it started from: its weights say which it was."""
    return {name: value for name, value in upstream.items() if name != "start"}


def resume_command(folder: Path | str, *more: str) -> str:
    """What a user types to go on with a run."""
    return shlex.join(["python", "-m", "busi.train", f"resume={folder}", *more])


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
    def shown(self) -> str:
        """The folder, as a report names it."""
        return str(self.folder)

    @property
    def finished(self) -> bool:
        """Whether the run came to its end."""
        return bool(self.provenance.get("finished"))

    @property
    def best_checkpoint(self) -> Path:
        """The checkpoint with the best monitored value, or of the last epoch where that was asked for."""
        return self.folder / BEST

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
        return name_variant(self.config)

    @property
    def members(self) -> list[str]:
        """The run folders of which this is an ensemble; none of one that was trained."""
        return list(self.provenance.get("upstream", {}).get("members", []))

    @property
    def how_to_finish(self) -> str:
        """What a user types where it was stopped."""
        again = "the busi.ensemble command that began it, again"
        return again if self.members else resume_command(self.folder)

    @property
    def how_to_test(self) -> str:
        """What a user types to score its test fold."""
        how = "test its members, and make it again: " if self.members else ""
        folders = self.members or [str(self.folder)]
        return how + "; ".join(resume_command(folder, "test=true") for folder in folders)

    @cached_property
    def config(self) -> DictConfig:
        """The config that it was started with, resolved; read on first use.

        Raises:
            InputError: If the file is missing, damaged, or not the one that the run was started with.
        """
        path = self.folder / "config.yaml"
        try:
            config = parse_config(path.read_text(encoding="utf-8"), path)
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{self.folder} has no readable config.yaml: start the run again") from error
        said = {
            "stage": config.stage,
            "fold": config.data.fold,
            "leave_out": config.data.leave_out,
        }
        other = [name for name, value in said.items() if self.provenance[name] != value]
        other += ["settings"] * (not fits_settings(self.provenance["settings"], config))
        if other:
            raise InputError(
                f"{path} is not that of this run: {' and '.join(other)} differ from provenance.json. Put the "
                "right one back"
            )
        return config

    @property
    def postprocess(self) -> Postprocess:
        """What makes masks of the maps of a segmentation run."""
        path = self.file("postprocess.json")
        try:
            return Postprocess(**json.loads(path.read_text()))
        except (OSError, ValueError, TypeError) as error:
            raise InputError(f"{path} is missing or damaged: train this run again") from error

    def file(self, name: str) -> Path:
        """One of `FILES`, checked to be the one that the run wrote, if it is finished.

        Raises:
            InputError: If it is another, or missing.
        """
        path = self.folder / name
        if self.finished and (wrote := self.provenance["files"].get(name)):
            if not path.is_file():
                raise InputError(f"{path} is missing: put it back, or train this run again")
            if file_hash(path) != wrote:
                raise InputError(
                    f"{path} is not the file that this run wrote: put that back, or train this run again"
                )
        return path

    def finish(self, metrics: dict[str, float | None], **facts: object) -> "Run":
        """Write the metrics and, last of all files, that the run is finished."""
        write_json(self.folder / "metrics.json", metrics)
        files = {name: file_hash(path) for name in FILES if (path := self.folder / name).is_file()}
        provenance = {**self.provenance, **facts, "files": files, "finished": now()}
        write_json(self.folder / "provenance.json", provenance)
        return Run(self.folder, provenance)


def start_run(
    folder: Path, cfg: DictConfig, cohort: Cohort, upstream: dict[str, Any], command: str = "busi.train"
) -> Run:
    """Claim a folder and write what is known before training; `busi.core.locks.hold` keeps others out of it.

    Args:
        folder: The run folder.
        cfg: Resolved.
        cohort: Its images.
        upstream: What it was made from: the checkpoint ``segmentation``, the run or checkpoint ``start`` and
            its ``start_weights``, or the ``members`` of an ensemble.
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
            f"{folder} holds a run already: {resume_command(folder)} goes on with it; a new run needs "
            "another folder (hydra.run.dir=)"
        )
    write_text(folder / "config.yaml", OmegaConf.to_yaml(cfg, resolve=True))
    write_table(folder / "split.csv", cohort.rows())
    flush_all(folder)  # what Hydra wrote too
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
    }
    changed = [name for name, value in same.items() if run.provenance[name] != value]
    changed += ["settings"] * (settings_fingerprint(run.config) != settings_fingerprint(cfg))
    if changed:
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
    path = folder / "provenance.json"
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError):
        below = sorted(path.parent for path in folder.glob("*/provenance.json"))
        advice = f"Runs lie below it: give one, e.g. {below[-1]}" if below else "Give the folder of a run"
        raise InputError(
            f"{folder} is not a run folder: it has no readable provenance.json. {advice}"
        ) from None
    check_stored(Provenance, content, path)
    if content["finished"]:
        check_stored(Finished, content, path)
    return Run(folder, content)
