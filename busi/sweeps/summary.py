"""Sweeps: what became of each job, as one table that is ranked by the validation fold."""

import atexit
import os
import re
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from shutil import which
from typing import Any

from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn
from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from busi.core import InputError, check_overwritten, check_writable, escape_markdown, write_table, write_whole
from busi.sweeps.jobs import read_job

EXTRAS = {"joblib": "joblib", "ray": "ray", "submitit_local": "submitit", "submitit_slurm": "submitit"}
"""Launcher -> the extra of busi that installs it."""


INTERVALS = (
    "Brackets are 95 % intervals over the validation images, which chose the epoch of each job and so "
    "flatter all of them. Jobs whose intervals overlap much may differ by chance. If they were run with "
    "`test=true`, `python -m busi.report FOLDER` compares them on test folds, image by image."
)


class SummaryCallback(Callback):
    """Writes ``summary.csv`` and ``summary.md`` into the folder of a sweep, and prints the table at its end.

    Hydra calls it; the table is written whatever became of the jobs, after each of them. Launchers send it
    along to the processes of their jobs, which so learn what was typed.
    """

    def __init__(self) -> None:
        self.arguments = sys.argv[1:]

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Print the table when the process ends: Hydra calls nothing after a sweep with a failed job.

        Raises:
            SystemExit: If the launcher is not installed, or the folder cannot be written (Hydra turns any
                other error into a warning).
        """
        check_launcher(config.hydra.runtime.choices["hydra/launcher"], config.hydra.launcher._target_)
        check_folder(folder := Path(config.hydra.sweep.dir))
        if not any(folder.glob("*/.hydra")):  # of a job of an earlier sweep
            check_folder(folder, ("summary.csv", "summary.md"))
        atexit.register(print_summary, Path(config.hydra.sweep.dir))

    def on_run_start(self, config: DictConfig, **_: Any) -> None:
        """End with one line if the folder cannot be written, or holds another run, which Hydra would change.

        Raises:
            SystemExit: See `on_multirun_start`.
        """
        check_folder(folder := Path(config.hydra.run.dir))
        if not config.resume and (folder / "provenance.json").exists():
            from busi.runs import resume_command

            raise SystemExit(
                f"error: {folder} holds a run already: {resume_command(folder)} goes on with it; a new run "
                "needs another folder (hydra.run.dir=)"
            )

    def on_job_start(self, config: DictConfig, **_: Any) -> None:
        """Tell a job in another process the command that it belongs to, and that it may be queued again."""
        if config.hydra.mode.name == "MULTIRUN":
            sys.argv[:] = ["busi.train", *self.arguments]
            if "SUBMITIT_EXECUTOR" in os.environ:
                requeue_on_signals()

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **_: Any) -> None:
        """Write the table anew."""
        del job_return
        if config.hydra.mode.name == "MULTIRUN":
            write_summary(Path(config.hydra.sweep.dir))


def requeue_on_signals() -> None:
    """Let SIGTERM and SIGUSR1 do what submitit's own signal does: queue the job again, then end it.

    Started again, the job finds its folder, and goes on after its last whole epoch.
    """
    from submitit import JobEnvironment

    for number in (signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, signal.getsignal(JobEnvironment._usr_sig()))


def check_launcher(name: str, target: str) -> None:
    """End with one line if the launcher of a sweep is not installed, or has no Slurm to talk to.

    Args:
        name: As given by ``hydra/launcher=NAME``.
        target: Its class. Hydra has imported the classes of all plugins that are installed.
    """
    if name in EXTRAS and target not in Plugins.instance().class_name_to_class:
        extra = EXTRAS[name]
        raise SystemExit(f"error: this launcher needs the extra {extra}: pip install '.[{extra}]'")
    if name == "submitit_slurm" and which("sbatch") is None:
        raise SystemExit("error: there is no sbatch here: start the sweep on a machine that submits to Slurm")


def print_summary(folder: Path) -> None:
    """Print the table of a sweep, if any job began."""
    if path := write_summary(folder):
        print(f"\n{path.read_text(encoding='utf-8')}\n{path}")


def write_summary(folder: Path) -> Path | None:
    """Write ``summary.csv`` and ``summary.md``; return the latter, or None if no job began.

    Jobs are ranked by their monitored validation metric, those without one come last. Columns: what
    became of the job, the overrides that differ between jobs, and validation metrics. Test metrics are
    left out, because whoever chooses by them has no test fold left. ``summary.md`` has 95 % intervals beside
    the metrics that have one, and says what they mean.
    """
    jobs = [read_job(path) for path in sorted(folder.glob("*/.hydra"), key=_job_number)]
    if not jobs:
        return None
    varied = [
        name
        for name in dict.fromkeys(name for job in jobs for name in job["overrides"])
        if len({job["overrides"].get(name) for job in jobs}) > 1
    ]
    measured = list(dict.fromkeys(name for job in jobs for name in job["metrics"]))
    ranked = sorted(jobs, key=lambda job: (job["score"] is None, str(job["monitor"]), -(job["score"] or 0)))
    rows = [
        {
            "job": job["job"],
            "status": job["status"],
            **{name: job["overrides"].get(name, "") for name in varied},
            **{name: job["metrics"].get(name) for name in measured},
            "epoch": job["epoch"],
            "seconds": job["seconds"],
            "error": job["error"],
        }
        for job in ranked
    ]

    write_table(folder / "summary.csv", rows)
    limits = {f"{name}{end}" for name in measured for end in ("_low", "_high")}
    kept = [
        name for name in rows[0] if name not in limits and any(row[name] not in (None, "") for row in rows)
    ]
    lines = [kept, ["---"] * len(kept), *([_show_with_limits(row, name) for name in kept] for row in rows)]
    text = "".join(f"| {' | '.join(line)} |\n" for line in lines)
    if any(row.get(name) is not None for row in rows for name in limits):
        text += f"\n{INTERVALS}\n"
    return write_whole(folder / "summary.md", lambda part: part.write_text(text, encoding="utf-8"))


def check_folder(folder: Path, names: Sequence[str] = ()) -> None:
    """End with one line if a folder cannot be written, or has one of some files."""
    try:
        check_writable(folder)
        check_overwritten(folder, names, "sweep")
    except InputError as error:
        raise SystemExit(f"error: {error}") from None


def _job_number(path: Path) -> tuple[bool, int, str]:
    name = path.parent.name
    return (not name.isdigit(), int(name) if name.isdigit() else 0, name)


def _show_with_limits(row: Mapping[str, object], name: str) -> str:
    text, low, high = _show(row[name]), row.get(f"{name}_low"), row.get(f"{name}_high")
    if isinstance(low, float) and isinstance(high, float):
        return f"{text} [{_show(low)}, {_show(high)}]"
    return text


def _show(value: object) -> str:
    text = f"{value:.3f}" if isinstance(value, float) else "" if value is None else str(value)
    # A search draws numbers of 17 digits.
    if len(text) > 8 and re.fullmatch(r"-?(\d+\.\d+(e[+-]?\d+)?|\d+e[+-]?\d{1,2})", text):
        text = f"{float(text):.4g}"
    return escape_markdown(text)
