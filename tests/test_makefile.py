"""What a user types after ``make``: wrong values end with one line, before anything is written."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def make(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run make with a python that does nothing, and without installing."""
    told = {"PATH": "/usr/bin:/bin", **environment}
    command = ["make", "--old-file=install", "BIN=/bin/echo", *words]
    return subprocess.run(command, cwd=ROOT, env=told, check=False, capture_output=True, text=True)


@pytest.mark.parametrize("target", ["crossval", "ensemble"])
@pytest.mark.parametrize(
    "value",
    [
        *("CROSSVAL=", "CROSSVAL=  ", "CROSSVAL=/", "CROSSVAL=my results", "CROSSVAL=a;b", "CROSSVAL='a"),
        *('CROSSVAL="a', "CROSSVAL=-a", "CROSSVAL=a=b", "CROSSVAL=~/a", "CROSSVAL=[a]", "CROSSVAL=größe"),
        *("SEEDS=", "SEEDS=0 1", "SEEDS=0,,1", "SEEDS=0,1,", "SEEDS=a", "GUIDES=", "GUIDES=crossfit empty"),
    ],
)
def test_values_that_would_break_a_command_are_one_error(target: str, value: str) -> None:
    done = make(target, value)
    assert done.returncode != 0
    assert done.stdout == ""  # no command was begun
    first, *rest = done.stderr.splitlines()
    name, _, given = value.partition("=")
    assert first.startswith(f"error: {name}='")
    assert given.strip().strip("/") in first
    assert len(rest) == 1  # make's own, which says that it ends
    assert rest[0].startswith("make: *** ")


def test_an_empty_variable_of_the_environment_is_the_same_error() -> None:
    assert make("crossval", CROSSVAL="").stderr.startswith("error: CROSSVAL=''")


def test_a_slash_at_the_end_of_a_folder_changes_nothing() -> None:
    printed = [make("-n", "ensemble", f"CROSSVAL={name}").stdout for name in ("a/b", "a/b/", "a/b//")]
    assert "busi.ensemble a/b --output a/b-ensemble\n" in printed[0]
    assert set(printed) == {printed[0]}


@pytest.mark.parametrize("there", [False, True])
def test_bench_of_a_gpu_ends_with_a_cross_validation_whose_runs_share_it(tmp_path: Path, there: bool) -> None:
    python, asked = tmp_path / "python", tmp_path / "asked"
    python.write_text(f'#!/bin/sh\necho "$@" >> {asked}\ntest "$1" != -c || echo {there}\n')
    python.chmod(0o755)
    done = make("bench-gpu", f"BIN={tmp_path}", "ARGS=experiment=quick '~loss.x'")
    assert done.returncode == 0, done.stderr
    (_, *commands) = asked.read_text().splitlines()
    if not there:
        assert done.stdout == "skipped: no GPU\n"
        assert not commands
        return
    assert re.fullmatch(r"make crossval, five runs at a time: \d+ s", done.stdout.splitlines()[-1])
    bench, *trainings, report = commands
    assert bench == "-m busi.bench --only gpu"
    shared = "trainer=gpu data.num_workers=2 hydra/launcher=joblib hydra.launcher.n_jobs=5"
    assert len(trainings) == 7
    assert all(f"{shared} experiment=quick ~loss.x" in line for line in trainings)
    assert re.search(r"busi.report outputs/bench/\S+ --output outputs/bench/\S+/report$", report)
