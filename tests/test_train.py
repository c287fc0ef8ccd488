"""The real command, in a process of its own, as a user types it."""

import csv
import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import SMALL
from tests.processes import call

Train = Callable[..., subprocess.CompletedProcess[str]]


def newest(folder: Path) -> Path:
    return max(folder.iterdir(), key=lambda path: path.stat().st_mtime)


def test_two_commands_make_two_runs(train: Train, tmp_path: Path) -> None:
    for stage in ("seg", "cls"):
        done = train(f"stage={stage}", *SMALL)
        assert done.returncode == 0, done.stderr
        run = newest(tmp_path / "outputs" / stage)
        assert json.loads((run / "provenance.json").read_text())["finished"]
        assert "Finished in" in done.stdout
        assert str(run) in done.stdout
    assert "seg_ckpt=auto: outputs/seg/" in done.stdout


def test_debug_tries_both_stages_and_is_not_taken_for_a_result(train: Train, tmp_path: Path) -> None:
    options = [text for text in SMALL if not text.startswith(("trainer", "encoder"))]
    for stage in ("seg", "cls"):
        done = train(f"stage={stage}", *options, "trainer=debug", "encoder_weights=packaged")
        assert done.returncode == 0, done.stderr
        run = newest(tmp_path / "outputs" / stage)
        assert json.loads((run / "provenance.json").read_text())["debug"]
        with (run / "split.csv").open() as file:
            rows = list(csv.DictReader(file))
        for split in ("train", "val", "test"):
            assert {row["label"] for row in rows if row["split"] == split} == {
                "normal",
                "benign",
                "malignant",
            }
    done = train("stage=cls", *SMALL)
    assert done.returncode == 1
    assert "found no finished segmentation run" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["data.root=nowhere"], "no data at nowhere. Give the folder with data.root="),
        (["stage=cls", "model=unet"], "this model is for stage=seg, not stage=cls"),
        (["data.fold=5"], "data.fold=5: give a fold from 0 to 4"),
        (["data.fold=one"], "data.fold=one: give a whole number, at least 0"),
        (["+module.foo=1", *SMALL], "busi.modules.SegModule has no argument foo"),
        (["data=csv"], "data.root"),
        (["trainer.max_epochs=many"], "trainer.max_epochs=many: give a whole number"),
        (["data=synthetic", "trainer.precision=7"], "trainer.precision=7: give 32-true"),
    ],
)
def test_wrong_input_is_one_line_and_no_traceback(train: Train, arguments: list[str], words: str) -> None:
    done = train(*arguments)
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert words in line
    assert "Traceback" not in done.stderr + done.stdout


def test_a_bug_shows_its_traceback(cache: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text(
        "import runpy\n"
        "import busi.runs.run\n"
        "def broken(*_): raise ZeroDivisionError('a bug')\n"
        "busi.runs.run.describe_environment = broken\n"
        "runpy.run_module('busi.train', run_name='__main__', alter_sys=True)\n"
    )
    done = call("broken", "stage=seg", *SMALL, cwd=tmp_path, BUSI_CACHE=str(cache))
    assert done.returncode == 1
    assert "ZeroDivisionError: a bug" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--help"], 0, "python -m busi.train stage=seg"),
        (["--cfg", "job", "stage=cls"], 0, "_target_: busi.guides.PredictedGuide"),
        (["stage=seg", "epochs=3"], 1, "error: epochs is no setting: did you mean trainer.max_epochs?"),
        (["stage=seg", "seed=abc"], 1, "error: seed=abc: give a whole number from 0 to 4294967295"),
        (["stage=segment"], 1, "error: there is no stage=segment: did you mean seg?"),
    ],
)
def test_questions_about_the_config_import_no_torch(
    train: Train, tmp_path: Path, arguments: list[str], code: int, words: str
) -> None:
    (tmp_path / "torch.py").write_text("raise RuntimeError('torch was imported')")
    done = train(*arguments, PYTHONPATH=str(tmp_path))
    assert done.returncode == code
    assert words in done.stdout + done.stderr


def test_no_data_names_the_ways_to_get_it(train: Train) -> None:
    done = train("data.root=data/Dataset_BUSI_with_GT", BUSI_ROOT=None)
    for words in ("data.root=/path/to", "BUSI_ROOT", "kaggle.com", "data=synthetic"):
        assert words in done.stderr


@pytest.mark.slow
@pytest.mark.real
def test_both_stages_on_the_real_data(train: Train, tmp_path: Path) -> None:
    if "BUSI_ROOT" not in os.environ:
        pytest.skip("BUSI_ROOT is not set: the real data is not here")
    for stage in ("seg", "cls"):
        done = train(f"stage={stage}", "image_size=64", "trainer=cpu", "trainer.max_epochs=1")
        assert done.returncode == 0, done.stderr
    metrics = json.loads((newest(tmp_path / "outputs" / "seg") / "metrics.json").read_text())
    assert 0.05 < metrics["test/dice"] < 0.87
    with (newest(tmp_path / "outputs" / "cls") / "split.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 780
    assert sum(row["reason"] == "conflict" for row in rows) == 19
