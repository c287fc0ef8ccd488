"""What W&B and TensorBoard get: runs are made offline and read back with the tools that users have."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from busi.core.tables import read_table
from busi.core.types import InputError
from busi.reporting.origin import show_epoch
from busi.training.fitting import fit
from busi.training.loggers import CSVLog, draw_log, keep_log
from tests.conftest import SMALL

Train = Callable[..., subprocess.CompletedProcess[str]]
OFFLINE = ("logger=wandb", "logger.wandb.offline=true")


def test_a_log_that_is_damaged_costs_no_trained_run(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "log").mkdir()
    path = tmp_path / "log" / "metrics.csv"
    for text, drawn in (
        ("epoch,step,val/loss\n0.0,9,0.5\n1,19,0.4\n", True),
        ("epoch,step,val/loss\n0,9,oops\n", False),
    ):
        path.write_text(text)
        draw_log(tmp_path, "val/dice_net", 0)
        assert (tmp_path / "figures" / "curves.png").exists() == drawn
        (tmp_path / "figures" / "curves.png").unlink(missing_ok=True)
    assert "metrics.csv is missing or damaged" in caplog.text
    log = CSVLog(str(tmp_path / "log"))
    with pytest.raises(InputError, match="move it away"):
        log.keep(20)


def read_back(folder: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Summary and records of the only W&B run below a folder, by W&B's own reader."""
    (run,) = folder.glob("wandb/offline-run-*")
    command = [str(Path(sys.executable).with_name("wandb")), "leet", "inspect", "--json"]
    summary, records = (
        subprocess.run([*command, *more, str(run)], capture_output=True, text=True, check=True).stdout
        for more in (["--summary"], [])
    )
    return json.loads(summary), [json.loads(line) for line in records.splitlines()]


def test_sweep_of_three_jobs_makes_three_runs_with_all_that_is_promised(train: Train, tmp_path: Path) -> None:
    done = train(
        "-m", "stage=cls", "guide=empty", "seed=0,1,2", "hydra.sweep.dir=three", *OFFLINE, *SMALL, "test=true"
    )
    assert done.returncode == 0, done.stderr
    seen = set()
    for job in "012":
        folder = tmp_path / "three" / job
        run, records = read_back(folder)
        seen.add(run["run_id"])
        assert run["state"] == "finished"
        assert run["config"]["seed"] == int(job)
        assert (
            run["config"]["provenance"]["split"]
            == json.loads((folder / "provenance.json").read_text())["split"]
        )
        assert (run["project"], run["name"]) == ("busi", f"three/{job}")
        assert {"cls", "synthetic"} <= set(run["tags"])
        (start,) = [record["run"] for record in records if record["type"] == "run"]
        assert start["run_group"] == "three"
        metrics = json.loads((folder / "metrics.json").read_text())
        assert run["summary"]["test/macro_f1"] == pytest.approx(metrics["test/macro_f1"])
        provenance = json.loads((folder / "provenance.json").read_text())
        assert run["summary"]["val/auroc"]["max"] == pytest.approx(provenance["monitored"])
        assert run["summary"]["monitored"] == pytest.approx(provenance["monitored"])
        assert "min" in run["summary"]["val/loss"]
        for image in ("val_progress", "test_confusion"):
            (name,) = run["summary"][f"figures/{image}"]["filenames"]
            assert next(folder.glob(f"wandb/offline-run-*/files/{name}")).stat().st_size > 1000
        assert (folder / "log" / "metrics.csv").is_file()
    assert len(seen) == 3


def test_failed_run_is_marked_and_a_resumed_one_is_the_same_wandb_run(
    compose: Callable[..., DictConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg, folder = compose("stage=seg", *SMALL, *OFFLINE), tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr("lightning.Trainer.fit", fail)
        with pytest.raises(ZeroDivisionError):
            fit(cfg, folder)
    run, _ = read_back(folder)
    assert run["state"] == "failed"
    assert run["exit_code"] == 1
    (first,) = folder.glob("wandb/offline-run-*")
    fit(cfg, folder, resume=True)
    names = {path.name for path in folder.glob("wandb/offline-run-*")}
    assert len(names) <= 2
    assert {name.rsplit("-", 1)[1] for name in names} == {first.name.rsplit("-", 1)[1]}


def fail(*_: object, **__: object) -> None:
    raise ZeroDivisionError


def test_wandb_without_a_login_names_both_ways_on(train: Train, tmp_path: Path) -> None:
    done = train("stage=seg", *SMALL, "logger=wandb", WANDB_API_KEY="", HOME=str(tmp_path))
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert "wandb login" in line
    assert "logger.wandb.offline=true" in line
    assert not list(tmp_path.glob("outputs/seg/*"))


def test_csv_log_is_whole_after_each_row_and_goes_on(tmp_path: Path) -> None:
    log = CSVLog(str(tmp_path))
    log.log_metrics({"lr": 0.5}, 0)
    log.log_metrics({"val/loss": 0.5, "epoch": 0}, 3)
    log.save()
    log.log_metrics({"train/loss": 0.25, "epoch": 0}, 3)
    log.log_metrics({"lr": 0.1}, 4)
    log.log_metrics({"val/loss": float("nan"), "epoch": 1}, 7)
    log.save()
    rows = [
        {"epoch": "0", "lr": "0.5", "step": "3", "train/loss": "0.25", "val/loss": "0.5"},
        {"epoch": "1", "lr": "0.1", "step": "7", "train/loss": "", "val/loss": ""},
    ]
    assert read_table(tmp_path / "metrics.csv") == rows
    resumed = CSVLog(str(tmp_path))
    keep_log([resumed], 7)
    resumed.log_metrics({"lr": 0.1}, 4)
    resumed.log_metrics({"val/loss": 0.125, "epoch": 1}, 7)
    resumed.save()
    rows[1]["val/loss"] = "0.125"
    assert read_table(tmp_path / "metrics.csv") == rows


def test_run_of_the_last_epoch_calls_nothing_its_best(
    compose: Callable[..., DictConfig], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """W&B gets the values of that epoch; the log and the report name it."""
    last = ["callbacks.checkpoint.monitor=null", "trainer.max_epochs=3", "test=false"]
    with caplog.at_level("INFO"):
        run = fit(compose("stage=seg", *SMALL, *OFFLINE, *last), tmp_path / "run")
    said = "".join(record.getMessage() for record in caplog.records if record.name.startswith("busi."))
    assert "last epoch; the test fold is left alone" in said
    assert "best" not in said
    assert show_epoch(run) == "2 (last)"
    summary = read_back(run.folder)[0]["summary"]
    assert summary["val/dice_net"] == pytest.approx(run.provenance["monitored"])
    rows = read_table(run.folder / "log" / "metrics.csv")
    assert [row["epoch"] for row in rows] == ["0", "1", "2"]
    assert all(row["val/dice_net"] and row["train/loss"] and row["lr-AdamW"] for row in rows)
    with Image.open(run.folder / "figures" / "curves.png") as curves:
        assert curves.width > 900
    assert float(rows[-1]["val/dice_net"]) == run.provenance["monitored"]


def test_tensorboard_gets_curves_images_and_results(
    compose: Callable[..., DictConfig], tmp_path: Path
) -> None:
    run = fit(compose("stage=seg", *SMALL, "logger=tensorboard"), tmp_path / "run")
    events = EventAccumulator(str(run.folder / "tensorboard"))
    events.Reload()
    tags = events.Tags()
    metrics = json.loads((run.folder / "metrics.json").read_text())
    assert {"val/dice_net", "train/loss", "test/dice"} <= set(tags["scalars"])
    assert events.Scalars("test/dice")[-1].value == pytest.approx(metrics["test/dice"], abs=1e-6)
    assert set(tags["images"]) == {"figures/val_progress", "figures/test_overlays", "figures/curves"}
    assert any("provenance" in name for name in tags["tensors"])
    assert (run.folder / "log" / "metrics.csv").is_file()
