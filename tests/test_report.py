"""The report by its real command, on finished runs of synthetic data."""

import csv
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from omegaconf import OmegaConf
from sklearn.metrics import accuracy_score, confusion_matrix

from busi.core.types import CLASSES
from tests.conftest import Fitted, accept, of_fold
from tests.processes import call

Report = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def runs(fitted: Fitted, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All three folds of segmentation, and of diagnosis with two guides."""
    folder = tmp_path_factory.mktemp("runs")
    for fold in range(3):
        shutil.copytree(fitted("seg", *of_fold(fold)).folder, folder / "seg" / str(fold))
        for guide in ("empty", "ground_truth"):
            run = fitted("cls", f"guide={guide}", *of_fold(fold))
            shutil.copytree(run.folder, folder / guide / str(fold))
    return folder


@pytest.fixture(scope="module")
def report(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Report:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return call("busi.report", *arguments, cwd=tmp_path_factory.getbasetemp(), BUSI_CACHE=str(cache))

    return run


@pytest.fixture(scope="module")
def written(report: Report, runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report on all of them."""
    output = tmp_path_factory.mktemp("report")
    done = report(str(runs), "--output", str(output))
    assert done.returncode == 0, done.stderr
    return output


def rows_of(runs: Path, variant: str) -> list[dict[str, str]]:
    rows = []
    for fold in range(3):
        with (runs / variant / str(fold) / "predictions.csv").open(newline="") as file:
            rows += [row for row in csv.DictReader(file) if row["split"] == "test"]
    return rows


def test_page_stands_alone_and_each_figure_is_a_file(written: Path) -> None:
    page = (written / "index.html").read_text()
    assert not re.findall(r"(?:src|href)=\"(?!data:|#)", page)
    assert not re.findall(r"https?://", page)
    figures = {path.stem for path in (written / "figures").iterdir()}
    assert len(figures) == page.count("<img ")
    kinds = ("confusion", "ranking", "reliability", "decision_curve")
    assert {f"{kind}_{variant}" for kind in kinds for variant in ("empty", "ground_truth")} <= figures
    assert {"ranking", "dice_by_size", "examples_benign", "examples_malignant"} <= figures
    for words in ("Synthetic data", "not a medical device", "upper bound: the mask gives the label away"):
        assert words in page
    assert "Differences are paired" in page  # to an upper bound alone, of which nothing is judged
    assert "A claim needs" not in page
    assert "partial" not in page.split("<section>")[0]
    assert "Distance to the upper bound" in page
    assert "Differences between guides" not in page  # one of the two is the bound
    times = re.findall(r"\d{4}-\d\d-\d\d \d\d:\d\d UTC", page)
    assert len(times) == 9 + 1  # of each run, and of the report


def test_metrics_are_those_of_the_predictions(written: Path, runs: Path) -> None:
    content = json.loads((written / "report.json").read_text())
    masks = rows_of(runs, "seg")
    lesions = [float(row["dice"]) for row in masks if float(row["area"]) > 0]
    normals = [float(row["pred_area"]) > 0 for row in masks if float(row["area"]) == 0]
    of_all = content["segmentation"]["by_class"]["all"]
    assert of_all["dice"]["value"] == pytest.approx(np.mean(lesions))
    assert of_all["dice"]["low"] < of_all["dice"]["value"] < of_all["dice"]["high"]
    assert of_all["normal_fp_rate"]["value"] == pytest.approx(np.mean(normals))
    for variant in ("empty", "ground_truth"):
        rows = rows_of(runs, variant)
        labels = [CLASSES.index(row["label"]) for row in rows]
        # A temperature changes no order.
        preds = [int(np.argmax([float(row[f"logit_{name}"]) for name in CLASSES])) for row in rows]
        found = content["diagnosis"]["guides"][variant]
        assert found["metrics"]["accuracy"]["value"] == pytest.approx(accuracy_score(labels, preds))
        assert found["confusion"] == confusion_matrix(labels, preds, labels=range(3)).tolist()
        assert [one["fold"] for one in found["calibration"]] == [0, 1, 2]
        for name in ("selective_accuracy_20", "net_benefit_20", "net_benefit_of_all_20", "coverage_benign"):
            assert found["metrics"][name]["low"] <= found["metrics"][name]["value"]
    apart = content["diagnosis"]["differences"]["empty - ground_truth"]["accuracy"]["value"]
    guides = content["diagnosis"]["guides"]
    first, second = (guides[variant]["metrics"]["accuracy"]["value"] for variant in ("empty", "ground_truth"))
    assert apart == pytest.approx(first - second)
    assert len(content["runs"]) == 9


def test_shuffled_test_labels_change_no_calibration(
    written: Path, runs: Path, report: Report, tmp_path: Path
) -> None:
    """From stored predictions to the thresholds, temperatures and quantiles of the report."""
    rng = np.random.default_rng(0)
    shutil.copytree(runs / "empty", tmp_path / "empty")
    for path in (tmp_path / "empty").glob("*/predictions.csv"):
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
        test = [row for row in rows if row["split"] == "test"]
        for row, label in zip(test, rng.permutation([row["label"] for row in test]), strict=True):
            row["label"] = str(label)
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
        accept(path.parent)
    done = report(str(tmp_path / "empty"), "--output", str(tmp_path / "out"))
    assert done.returncode == 0, done.stderr
    before, after = (
        json.loads((folder / "report.json").read_text())["diagnosis"]["guides"]["empty"]
        for folder in (written, tmp_path / "out")
    )
    assert before["calibration"] == after["calibration"]
    assert before["metrics"]["auroc"] != after["metrics"]["auroc"]


def test_missing_folds_are_named_in_the_title(runs: Path, report: Report, tmp_path: Path) -> None:
    arguments = [str(runs / "seg" / "1"), str(runs / "empty"), "--output", str(tmp_path)]
    done = report(*arguments)
    assert done.returncode == 1
    assert "error: segmentation with seed 0 lacks fold 0, 2 of 3" in done.stderr
    assert not list(tmp_path.iterdir())
    done = report(*arguments, "--partial")
    assert done.returncode == 0, done.stderr
    title = re.findall(r"<h1>(.*)</h1>", (tmp_path / "index.html").read_text())
    names = "U-Net and classifier with early guide (test_efficientnet) on synthetic data"
    assert title == [f"Report: {names} - partial, not all of 3 folds (segmentation fold 1)"]


def test_images_that_are_gone_cost_only_the_examples(runs: Path, report: Report, tmp_path: Path) -> None:
    shutil.copytree(runs / "seg", tmp_path / "seg")
    for path in (tmp_path / "seg").glob("*/config.yaml"):
        cfg = OmegaConf.load(path)
        cfg.data.read = {"_target_": "busi.data.read_busi", "_partial_": True}
        cfg.data.root = "nowhere"
        OmegaConf.save(cfg, path)
    done = report(str(tmp_path / "seg"), "--output", str(tmp_path / "out"))
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "out" / "index.html").read_text()
    assert "No images are shown here: no data at nowhere" in page
    assert not list((tmp_path / "out" / "figures").glob("examples*"))


def test_a_run_that_has_lost_a_part_is_named(runs: Path, report: Report, tmp_path: Path) -> None:
    folder = tmp_path / "empty"
    for part, words in (
        ("predictions.csv", "predictions.csv is missing: put it back"),
        ("split.csv", "split.csv is missing: put it back"),
        ("config.yaml", "has no readable config.yaml"),
    ):
        shutil.copytree(runs / "empty" / "0", folder)
        (folder / part).unlink()
        done = report(str(folder), "--partial", "--output", str(tmp_path / "out"))
        assert done.returncode == 1
        assert words in done.stderr
        assert "Traceback" not in done.stderr
        shutil.rmtree(folder)
    shutil.copytree(runs / "empty" / "0", folder)
    rows = (folder / "predictions.csv").read_text().splitlines()
    (folder / "predictions.csv").write_text("\n".join(row for row in rows if ",val," not in row))
    accept(folder)
    done = report(str(folder), "--partial", "--output", str(tmp_path / "out"))
    assert "predictions.csv has no val images: train this run again" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere", "--output", "out"], "error: nowhere does not exist: give a run folder"),
        (["RUNS", "--output", "file/out"], "error: cannot write to file/out"),
        (["RUNS"], "the following arguments are required: --output"),
    ],
)
def test_wrong_arguments_are_one_line(
    runs: Path, report: Report, tmp_path_factory: pytest.TempPathFactory, arguments: list[str], words: str
) -> None:
    (tmp_path_factory.getbasetemp() / "file").touch()
    done = report(*(text.replace("RUNS", str(runs)) for text in arguments))
    assert done.returncode in (1, 2)
    assert words in done.stderr
    assert "Traceback" not in done.stderr
