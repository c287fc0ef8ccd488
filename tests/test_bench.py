"""The bench measures and prints; its times are not checked."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from operator import sub
from pathlib import Path
from types import SimpleNamespace

import pytest

from busi import bench
from busi.benchmarks import gpu, growth, start, time_to_dice, train
from busi.benchmarks import groups as groups_module
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
    assert "threads" in written["machine"]


@pytest.mark.slow
def test_group_gpu_runs_on_a_cpu_where_it_is_asked_to() -> None:
    rows = gpu.measure_here(32, 1)
    assert [row.name for row in rows][-4:] == ["page faults", train.ON_DEVICE, *[gpu.PYTORCH] * 2]
    assert [row.peer for row in rows][-2:] == [gpu.ALONE, "ONNX Runtime, CPUExecutionProvider"]
    assert all(row.value > 0 for row in rows)


def test_group_gpu_needs_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(InputError, match="needs a GPU"):
        gpu.measure(32, 1)


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


ROW = Row("a", 2.0, "s", "b", 1.5)


def pretend(monkeypatch: pytest.MonkeyPatch, **groups: Callable[[], list[Row]]) -> None:
    """Put functions in the place of the groups that are measured by default."""
    monkeypatch.setattr(groups_module, "GROUPS", tuple(groups))
    made = {name: SimpleNamespace(ROUNDS=1, measure=lambda *_, of=of: of()) for name, of in groups.items()}
    monkeypatch.setattr(
        groups_module, "importlib", SimpleNamespace(import_module=lambda name: made[name.split(".")[-1]])
    )


def fail(error: BaseException) -> list[Row]:
    raise error


@pytest.mark.parametrize("error", [InputError("no extra"), ModuleNotFoundError("no", name="onnx")])
def test_a_group_that_cannot_run_leaves_the_others(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str], error: Exception
) -> None:
    pretend(monkeypatch, first=lambda: [ROW], second=lambda: fail(error), third=lambda: [ROW])
    groups_module.run_groups(None, 32, 1, tmp_path / "bench.json")
    written = json.loads((tmp_path / "bench.json").read_text())
    assert [row["name"] for row in written["rows"]] == ["a", "a"]
    assert list(written["skipped"]) == ["second"]
    assert f"second: skipped: {written['skipped']['second']}"[:40] in capsys.readouterr().out
    with pytest.raises(type(error)):
        groups_module.run_groups("second", 32, 1, None)


def test_an_interrupt_leaves_what_was_measured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pretend(monkeypatch, first=lambda: [ROW], second=lambda: fail(KeyboardInterrupt()), third=lambda: [ROW])
    with pytest.raises(KeyboardInterrupt):
        groups_module.run_groups(None, 32, 1, tmp_path / "bench.json")
    written = json.loads((tmp_path / "bench.json").read_text())
    assert len(written["rows"]) == 1
    assert written["skipped"] == {"second": "not finished", "third": "not finished"}


@pytest.mark.skipif(not Path("/proc/stat").exists(), reason="only Linux counts processor time there")
def test_own_work_is_not_that_of_others(tmp_path: Path) -> None:
    def others_after(work: Callable[[], object], ticks: int) -> float:
        stat = tmp_path / "stat"
        stat.write_text("cpu 0 0 0 5 5 0 0 0 0 0\n")
        before = groups_module.count_other_seconds(stat)
        work()
        stat.write_text(f"cpu {ticks} 0 0 9 9 0 0 0 0 0\n")
        after = groups_module.count_other_seconds(stat)
        assert before is not None
        assert after is not None
        return after - before

    tick = os.sysconf("SC_CLK_TCK")
    assert others_after(lambda: None, 3 * tick) == pytest.approx(3, abs=0.1)
    code = "import time\nwhile time.process_time() < 0.5: pass"
    spent = others_after(lambda: subprocess.run([sys.executable, "-c", code], check=True), 3 * tick)
    assert spent < 2.6
    assert groups_module.count_other_seconds(tmp_path / "none") is None


def test_machine_is_gpu_and_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = groups_module.describe_machine()
    assert "CPU" in cpu
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.get_device_name", lambda: "a GPU")
    assert groups_module.describe_machine() == f"a GPU, {cpu}"


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
    assert spread([2.0, 9.0, 4.0], [1.0, 3.0, 1.0], sub) == (1.0, 6.0)
    assert spread([2.0], [1.0]) is None


def test_target_is_met_on_its_own_side() -> None:
    assert Row("", 1, "", "", 1.3, target=1.25).met
    assert not Row("", 1, "", "", 1.3, target=1.25, at_most=True).met
    assert Row("", 1, "", "", 1.3).met is None
