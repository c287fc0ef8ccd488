"""One sweep through every launcher: the folders, W&B runs, parameters and numbers of the basic one."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import DictConfig, OmegaConf

from busi.core.files import conf_dir
from busi.sweeps.summary import check_launcher
from busi.training.fitting import check, fit, resolve
from tests.conftest import SMALL
from tests.training.test_loggers import OFFLINE, read_back

Sweep = Callable[..., Path]
LAUNCHERS = sorted(path.stem for path in (conf_dir() / "hydra" / "launcher").glob("*.yaml"))
PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "scale.md").read_text()
COMMANDS = re.findall(r"^\|.*`([^`]*python -m busi.train [^`]*)` \|$", PAGE, re.MULTILINE)
HERE = [name for name in LAUNCHERS if name != "submitit_slurm"]
RATES = ("0.001", "1e30", "0.01", "0.003")
# Ray finds one core, and runs all jobs in one process; joblib shares them out over two.
OPTIONS = {"ray": ("hydra.launcher.ray.init.num_cpus=1",)}


@pytest.fixture(scope="module")
def sweep(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    """Run a sweep, one job of which fails, and return its folder."""
    outputs = tmp_path_factory.mktemp("sweeps")

    def run(launcher: str) -> Path:
        if not (outputs / launcher).exists():
            arguments = ["-m", "stage=seg", f"optimizer.lr={','.join(RATES)}", *SMALL, *OFFLINE]
            arguments += [f"hydra.sweep.dir={launcher}", f"hydra/launcher={launcher}"]
            done = subprocess.run(
                [sys.executable, "-m", "busi.train", *arguments, *OPTIONS.get(launcher, ())],
                cwd=outputs,
                env={**os.environ, "BUSI_CACHE": str(cache)},
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 1, done.stderr
            assert "the segmentation model gives NaN" in done.stderr
            assert "Traceback" not in done.stderr
            assert (outputs / launcher / "summary.md").read_text().strip() in done.stdout
        return outputs / launcher

    return run


def rows(folder: Path) -> dict[str, dict[str, str]]:
    """The summary of a sweep by job, without times."""
    with (folder / "summary.csv").open(newline="") as file:
        return {row["job"]: {k: x for k, x in row.items() if k != "seconds"} for row in csv.DictReader(file)}


@pytest.mark.slow
@pytest.mark.parametrize("launcher", HERE)
def test_every_launcher_gives_what_the_basic_one_gives(sweep: Sweep, launcher: str) -> None:
    folder, basic = sweep(launcher), sweep("basic")
    assert rows(folder) == rows(basic)
    assert [rows(folder)[job]["status"] for job in "0123"] == ["finished", "failed", "finished", "finished"]
    ids = set()
    for job in "023":
        for name in ("metrics.json", "predictions.csv"):
            assert (folder / job / name).read_text() == (basic / job / name).read_text()
        run, _ = read_back(folder / job)
        ids.add(run["run_id"])
        assert run["name"] == f"{launcher}/{job}"
        assert run["config"]["optimizer"]["lr"] == float(RATES[int(job)])
        assert run["state"] == "finished"
        command = json.loads((folder / job / "provenance.json").read_text())["command"]
        assert "busi.train -m stage=seg" in command
        assert f"hydra/launcher={launcher}" in command
    assert len(ids) == 3


@pytest.mark.parametrize("name", LAUNCHERS)
def test_launcher_sets_what_its_plugin_knows(name: str) -> None:
    """A misspelt key of ours would be an error at the start of a sweep."""
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "busi.train",
            f"hydra/launcher={name}",
            "--cfg",
            "hydra",
            "-p",
            "hydra.launcher",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    composed = OmegaConf.create(done.stdout)
    ours = OmegaConf.load(conf_dir() / "hydra" / "launcher" / f"{name}.yaml")
    assert ours._target_ == composed._target_
    if name in HERE:
        check_launcher(name, composed._target_)


def test_missing_launcher_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SystemExit, match=r"needs the extra ray: pip install '\.\[ray\]'"):
        check_launcher("ray", "hydra_plugins.hydra_ray9_launcher.ray_launcher.RayLauncher")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(SystemExit, match="there is no sbatch here"):
        check_launcher(
            "submitit_slurm", "hydra_plugins.hydra_submitit_launcher.submitit_launcher.SlurmLauncher"
        )
    check_launcher("basic", "hydra._internal.core_plugins.basic_launcher.BasicLauncher")


def test_slurm_is_asked_for_what_the_page_says(tmp_path: Path) -> None:
    """Without a Slurm: its sbatch is a program that fails, and leaves the script that it was given."""
    for name in ("srun", "sbatch"):
        (tmp_path / name).write_text("#!/bin/sh\nexit 3\n")
        (tmp_path / name).chmod(0o755)
    (command,) = re.findall(r"`python -m (busi.train [^`]*submitit_slurm[^`]*)`", PAGE)
    done = subprocess.run(
        [sys.executable, "-m", *command.split(), "hydra.sweep.dir=sweep", "data=synthetic"],
        cwd=tmp_path,
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "FailedJobError" in done.stderr
    (script,) = (tmp_path / "sweep" / ".submitit").glob("*.sh")
    options = set(re.findall(r"#SBATCH --(\S+)", script.read_text()))
    wanted = {"array=0-4%5", "partition=gpu", "gpus-per-node=4", "cpus-per-task=16", "ntasks-per-node=1"}
    assert wanted | {"requeue", "signal=USR2@120"} <= options


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_of_the_table_compose(compose: Callable[..., DictConfig], command: str) -> None:
    words = [word for word in command.split() if "=" in word and not word.startswith(("--", "hydra"))]
    cfg = compose(*(re.sub(r"=(\d+),.*", r"=\1", word) for word in words if "_dir=" not in word))
    check(resolve(cfg, Path("run")))


@pytest.mark.slow
def test_preempted_jobs_are_queued_again_and_end_as_if_nothing_had_been(
    compose: Callable[..., DictConfig], cache: Path, tmp_path: Path
) -> None:
    long = [*(text for text in SMALL if "max_epochs" not in text), "trainer.max_epochs=8", "stage=seg"]
    sweep = ["-m", *long, "seed=0,1", "hydra.sweep.dir=sweep", "hydra/launcher=submitit_local"]
    process = subprocess.Popen(
        [sys.executable, "-m", "busi.train", *sweep],
        cwd=tmp_path,
        env={**os.environ, "BUSI_CACHE": str(cache)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    waiting = {"0": signal.SIGTERM, "1": signal.SIGUSR1}
    while waiting and process.poll() is None:
        for job in list(waiting):
            if (tmp_path / "sweep" / job / "checkpoints" / "last.ckpt").exists():
                os.kill(task_of(tmp_path / "sweep", job), waiting.pop(job))
        time.sleep(0.02)
    assert process.wait() == 0
    for job, row in rows(tmp_path / "sweep").items():
        assert row["status"] == "finished"
        folder, whole = tmp_path / "sweep" / job, tmp_path / f"whole{job}"
        assert len(json.loads((folder / "provenance.json").read_text())["resumed"]) == 1
        fit(compose(*long, f"seed={job}", "test=false"), whole)
        for name in ("metrics.json", "predictions.csv"):
            assert (folder / name).read_text() == (whole / name).read_text()


def task_of(sweep: Path, job: str) -> int:
    """The process in which submitit runs a job: jobs are queued, and numbered, in their order."""
    controllers = sorted(int(path.name) for path in (sweep / ".submitit").iterdir() if path.name.isdigit())
    found = subprocess.run(
        ["pgrep", "-P", str(controllers[int(job)])], capture_output=True, text=True, check=True
    )
    return int(found.stdout.split()[0])
