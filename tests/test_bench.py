"""The bench measures and prints; its times are not checked."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from busi import bench
from busi.benchmarks import growth, start, time_to_dice
from busi.benchmarks import predict as predicting
from busi.benchmarks.rows import Row, compare, exceed, spread, take_turns
from busi.core.types import InputError


@pytest.mark.slow
@pytest.mark.parametrize(
    ("group", "names"),
    [
        ("predict", ["PyTorch, one at a time", "bundle, f32", "bundle, int8", predicting.WHOLE]),
        ("train", ["training", "training", "training", "loader alone", "validation pass", "page faults"]),
        ("start", ["--help", "--cfg job", "start to the end of the first step", start.ONE]),
    ],
)
def test_bench_writes_what_it_measured(tmp_path: Path, group: str, names: list[str]) -> None:
    arguments = ["--only", group, "--image-size", "32", "--rounds", "1", "--json", "bench.json"]
    command = [sys.executable, "-m", "busi.bench", *arguments]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    written = json.loads((tmp_path / "bench.json").read_text())
    rows = written["rows"]
    assert [row["name"] for row in rows] == names
    assert all(row["value"] > 0 for row in rows)

    assert all(name in done.stdout for name in names)
    assert "threads" in written["machine"] or "NVIDIA" in written["machine"]


@pytest.mark.slow
def test_growth_is_that_of_the_numbers_it_was_given() -> None:
    num_images = {"normal": 10, "benign": 14, "malignant": 12}
    epoch, memory, search = growth.measure(32, 1, num_images, scale=3)
    assert epoch.peer == memory.peer == search.peer == "36 images"
    assert "108 images" in epoch.name
    assert epoch.value > 0
    assert memory.value > 50
    assert search.at_most


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--image-size", "100"], "--image-size 100: give a multiple of 32, at least 32"),
        (["--rounds", "0"], "--rounds 0: give at least 1"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_is_measured(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str], words: str
) -> None:
    monkeypatch.setattr(sys, "argv", ["bench", *arguments])
    with pytest.raises(InputError, match=words):
        bench.main()


def test_time_to_dice_needs_busi(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BUSI_ROOT", raising=False)
    with pytest.raises(InputError, match="set BUSI_ROOT"):
        time_to_dice.measure(256, 1)


def test_contestants_take_turns_and_the_first_round_does_not_count() -> None:
    calls: list[str] = []

    def contestant(name: str) -> float:
        calls.append(name)
        return float(len(calls))

    speeds = take_turns({name: lambda name=name: contestant(name) for name in "ab"}, rounds=2)
    assert calls == ["a", "b"] * 3
    assert speeds == {"a": [3.0, 5.0], "b": [4.0, 6.0]}


def test_rounds_are_compared_one_by_one() -> None:
    assert compare([2.0, 9.0, 4.0], [1.0, 3.0, 1.0]) == 3.0
    assert exceed([2.0, 9.0, 4.0], [1.0, 3.0, 1.0]) == 3.0
    assert spread([2.0, 9.0, 4.0], [1.0, 3.0, 1.0]) == (2.0, 4.0)
    assert spread([2.0], [1.0]) is None


def test_target_is_met_on_its_own_side() -> None:
    assert Row("", 1, "", "", 1.3, target=1.25).met
    assert not Row("", 1, "", "", 1.3, target=1.25, at_most=True).met
    assert Row("", 1, "", "", 1.3).met is None
