"""The bench measures and prints; its times are not judged."""

import json
import subprocess
import sys
from pathlib import Path

from busi.bench import compare, take_turns


def test_bench_of_prediction_writes_its_ratios(tmp_path: Path) -> None:
    arguments = ["--only", "predict", "--image-size", "32", "--rounds", "1", "--json", "bench.json"]
    command = [sys.executable, "-m", "busi.bench", *arguments]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "bench.json").read_text())
    assert [row["name"] for row in rows] == ["PyTorch, one at a time", "bundle, f32", "bundle, int8"]
    assert rows[0]["ratio"] == 1
    assert all(row["speed"] > 0 for row in rows)
    assert "bundle, int8" in done.stdout


def test_contestants_take_turns_and_the_first_round_does_not_count() -> None:
    called: list[str] = []

    def contestant(name: str) -> float:
        called.append(name)
        return float(len(called))

    speeds = take_turns({name: lambda name=name: contestant(name) for name in "ab"}, rounds=2)
    assert called == ["a", "b"] * 3
    assert speeds == {"a": [3.0, 5.0], "b": [4.0, 6.0]}
    assert compare([2.0, 9.0, 4.0], [1.0, 3.0, 1.0]) == 3.0
