"""Sweeps by the real command: folders, the ranked table, failed jobs, and going on."""

import csv
import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from busi.sweeps.summary import write_summary
from tests.conftest import SMALL

Train = Callable[..., subprocess.CompletedProcess[str]]
SWEEP = ("-m", "stage=seg", "optimizer.lr=0.001,1e30,0.01", "hydra.sweep.dir=sweep", *SMALL)


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_failed_job_is_recorded_the_rest_go_on_and_the_same_command_goes_on(
    train: Train, tmp_path: Path
) -> None:
    sweep = tmp_path / "sweep"
    done = train(*SWEEP)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    rows = table(sweep / "summary.csv")
    assert [row["status"] for row in rows] == ["finished", "finished", "failed"]
    assert "the segmentation model gives NaN" in rows[2]["error"]
    assert {row["optimizer.lr"] for row in rows} == {"0.001", "1e+30", "0.01"}
    scores = [float(row["val/dice_net"]) for row in rows[:2]]
    assert scores == sorted(scores, reverse=True)
    assert not [name for name in rows[0] if name.startswith("test/") or name == "seed"]
    for row in rows[:2]:
        metrics = json.loads((sweep / row["job"] / "metrics.json").read_text())
        assert float(row["val/dice"]) == metrics["val/dice"]
        assert not [name for name in metrics if name.startswith("test/")]
        predictions = table(sweep / row["job"] / "predictions.csv")
        assert {line["split"] for line in predictions} == {"val"}
    assert (sweep / "summary.md").read_text().strip() in done.stdout
    before = {job: (sweep / job / "provenance.json").read_text() for job in ("0", "2")}

    done = train(*SWEEP)
    assert done.stdout.count("Finished already") == 2
    assert {job: (sweep / job / "provenance.json").read_text() for job in ("0", "2")} == before

    # Another sweep in the same folder is not mixed with what lies there.
    done = train(*(text.replace("=0.001,1e30,0.01", "=0.002,0.02,0.01") for text in SWEEP))
    assert done.returncode == 1
    assert "was started with optimizer.lr 0.001 (asked: 0.002)" in done.stderr
    assert {row["job"]: row["status"] for row in table(sweep / "summary.csv")} == {
        "0": "failed",
        "1": "failed",
        "2": "finished",
    }

    # A single run with test=true scores the test fold of a job, without training again.
    done = train(f"resume={sweep / '2'}", "test=true")
    assert done.returncode == 0, done.stderr
    assert "test/dice" in json.loads((sweep / "2" / "metrics.json").read_text())
    assert "Finished already" in train(f"resume={sweep / '2'}").stdout


def test_a_sweep_overwrites_no_table_of_the_user(train: Train, tmp_path: Path) -> None:
    (tmp_path / "sweep").mkdir()
    (tmp_path / "sweep" / "summary.csv").write_text("mine")
    done = train(*SWEEP)
    assert done.returncode == 1
    assert "holds summary.csv, which no sweep left there: give another folder" in done.stderr
    assert (tmp_path / "sweep" / "summary.csv").read_text() == "mine"


def test_sweep_may_score_the_test_fold_but_its_table_does_not_show_it(train: Train, tmp_path: Path) -> None:
    done = train("-m", "stage=seg", "seed=3", "test=true", *SMALL)
    assert done.returncode == 0, done.stderr
    (sweep,) = (tmp_path / "outputs" / "sweeps").iterdir()
    assert "test/dice" in json.loads((sweep / "0" / "metrics.json").read_text())
    assert "test/" not in (sweep / "summary.csv").read_text()


@pytest.mark.parametrize("mode", ["min", "max"])
def test_order_follows_the_mode_of_the_monitor(tmp_path: Path, mode: str) -> None:
    for job, value in enumerate((0.3, 0.1, 0.2)):
        folder = tmp_path / str(job)
        (folder / ".hydra").mkdir(parents=True)
        (folder / ".hydra" / "overrides.yaml").write_text(f"- seed={job}\n")
        (folder / "config.yaml").write_text(f"monitor_mode: {mode}\n")
        provenance = {"finished": "now", "monitor": "val/x", "monitored": value, "epoch": 1, "seconds": 2.0}
        (folder / "provenance.json").write_text(json.dumps(provenance))
        (folder / "metrics.json").write_text('{"val/y": 0.5, "test/y": 0.6}')
    path = write_summary(tmp_path)
    assert path is not None
    jobs = [row["job"] for row in table(tmp_path / "summary.csv")]
    assert jobs == (["1", "2", "0"] if mode == "min" else ["0", "2", "1"])
    lines = path.read_text().splitlines()
    assert lines[0] == "| job | status | seed | val/x | val/y | epoch | seconds |"
    assert len(lines) == 5


def test_intervals_stand_beside_their_metrics_and_are_explained(tmp_path: Path) -> None:
    (tmp_path / "0" / ".hydra").mkdir(parents=True)
    (tmp_path / "0" / "config.yaml").write_text("monitor_mode: max\n")
    provenance = {"finished": "now", "monitor": "val/x", "monitored": 0.3, "epoch": 1, "seconds": 2.0}
    (tmp_path / "0" / "provenance.json").write_text(json.dumps(provenance))
    metrics = {"val/y": 0.5, "val/y_low": 0.25, "val/y_high": 0.75, "val/z": 1.0, "val/z_low": None}
    (tmp_path / "0" / "metrics.json").write_text(json.dumps({**metrics, "val/z_high": None}))
    path = write_summary(tmp_path)
    assert path is not None
    lines = path.read_text().splitlines()
    assert lines[0] == "| job | status | val/x | val/y | val/z | epoch | seconds |"
    assert lines[2] == "| 0 | finished | 0.300 | 0.500 [0.250, 0.750] | 1.000 | 1 | 2.000 |"
    assert "95 % intervals over the validation images" in lines[4]
    assert table(tmp_path / "summary.csv")[0]["val/y_high"] == "0.75"


def test_folder_without_jobs_has_no_table(tmp_path: Path) -> None:
    assert write_summary(tmp_path) is None
    assert list(tmp_path.iterdir()) == []
