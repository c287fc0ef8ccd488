"""Finished runs evaluated on other data, by the real command."""

import csv
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import DictConfig
from PIL import Image

from busi.data.synthetic import make_synthetic
from busi.runs.predictions import find_records
from busi.runs.run import Run
from busi.training.fitting import fit

Evaluate = Callable[..., subprocess.CompletedProcess[str]]
Rows = dict[str, dict[str, str]]


@pytest.fixture(scope="module")
def runs(configs: Callable[..., DictConfig]) -> dict[str, Run]:
    """A run of each stage; the classifier carries the segmentation network along."""
    outputs = Path(configs().output_dir)
    return {stage: fit(configs(f"stage={stage}"), outputs / stage / "run") for stage in ("seg", "cls")}


@pytest.fixture
def evaluate(cache: Path, tmp_path: Path) -> Evaluate:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "busi.evaluate", *arguments],
            cwd=tmp_path,
            env={name: x for name, x in os.environ.items() if name != "BUSI_ROOT"}
            | {"BUSI_CACHE": str(cache)},
            capture_output=True,
            text=True,
            check=False,
        )

    return run


@pytest.fixture(scope="module")
def own(runs: dict[str, Run]) -> Path:
    """The folder that the runs were trained on."""
    return next(iter(find_records(runs["seg"]).values())).image.parents[1]


def rows_of(path: Path, **wanted: str) -> Rows:
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return {row["id"]: row for row in rows if all(row[name] == x for name, x in wanted.items())}


@pytest.mark.parametrize("stage", ["seg", "cls"])
def test_on_its_own_data_a_run_has_seen_all_but_its_test_fold(
    runs: dict[str, Run], evaluate: Evaluate, own: Path, tmp_path: Path, stage: str
) -> None:
    folder = runs[stage].folder
    done = evaluate(str(folder), "--data", str(own), "--output", "out")
    assert done.returncode == 0, done.stderr
    there, here = (rows_of(x / "predictions.csv", split="test") for x in (folder, tmp_path / "out"))
    assert there.keys() == here.keys()
    for name, row in there.items():
        for column, text in row.items():
            if column.startswith(("dice", "hd95", "logit")) and text:
                assert float(here[name][column]) == pytest.approx(float(text), abs=1e-4)
    seen = rows_of(tmp_path / "out" / "split.csv", reason="seen")
    trained = rows_of(folder / "split.csv")
    assert {trained[name]["split"] for name in seen} == {"train", "val"}
    page = (tmp_path / "out" / "index.html").read_text()
    assert f"{len(seen)} images were left out: the run was trained or validated on them" in page
    assert "No images are shown" not in page
    if stage == "seg":
        assert Run(tmp_path / "out", runs[stage].provenance).postprocess == runs[stage].postprocess
    # The validation images, which calibrate it, are those of the run.
    assert rows_of(folder / "predictions.csv", split="val") == rows_of(
        tmp_path / "out" / "predictions.csv", split="val"
    )


def test_a_near_duplicate_of_a_training_image_is_recognized_under_another_name(
    runs: dict[str, Run], evaluate: Evaluate, own: Path, tmp_path: Path
) -> None:
    other = make_synthetic(tmp_path / "other", (10, 10, 10), 96, 7)
    trained = rows_of(runs["cls"].folder / "split.csv", split="train", label="benign")
    name = next(iter(trained))
    for source, target in ((f"{name}.png", "copy.png"), (f"{name}_mask.png", "copy_mask.png")):
        with Image.open(own / "benign" / source) as image:
            smaller = image.resize((image.width * 9 // 10, image.height * 9 // 10), Image.Resampling.NEAREST)
        smaller.save(other / "benign" / target)
    done = evaluate(str(runs["cls"].folder), "--data", str(other), "--output", "out")
    assert done.returncode == 0, done.stderr
    assert set(rows_of(tmp_path / "out" / "split.csv", reason="seen")) == {"copy"}
    content = json.loads((tmp_path / "out" / "report.json").read_text())
    assert content["dropped"]["seen"] == ["copy"]
    assert content["runs"][0]["evaluated"] == str(runs["cls"].folder)


def test_a_manifest_without_masks_and_without_normals_is_classified(
    runs: dict[str, Run], evaluate: Evaluate, tmp_path: Path
) -> None:
    other = make_synthetic(tmp_path / "other", (10, 10, 10), 96, 8)
    images = [path for path in other.glob("*/*.png") if "_mask" not in path.name]
    with (tmp_path / "manifest.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "label"])
        writer.writerows([path, path.parent.name] for path in images if path.parent.name != "normal")
    done = evaluate(str(runs["cls"].folder), "--data", "manifest.csv", "--output", "out")
    assert done.returncode == 0, done.stderr
    content = json.loads((tmp_path / "out" / "report.json").read_text())
    metrics = content["diagnosis"]["guides"]["predicted"]["metrics"]
    assert metrics["recall_normal"]["value"] is None
    assert 0 <= metrics["auroc_malignant"]["value"] <= 1
    done = evaluate(str(runs["seg"].folder), "--data", "manifest.csv", "--output", "masks")
    assert done.returncode == 1
    assert "error: none of 20 images is left (2 dropped: conflict, 18 dropped: no mask)" in done.stderr


def test_wrong_arguments_are_one_line(
    runs: dict[str, Run], evaluate: Evaluate, own: Path, tmp_path: Path
) -> None:
    cls = str(runs["cls"].folder)
    stopped = tmp_path / "stopped"
    stopped.mkdir()
    (stopped / "provenance.json").write_text('{"stage": "cls"}')
    broken = shutil.copytree(own, tmp_path / "broken")
    (broken / "normal" / "normal (1).png").write_bytes(b"no image")
    for arguments, words in (
        ([str(tmp_path / "nothing"), "--data", str(own)], "is not a run folder"),
        ([str(stopped), "--data", str(own)], f"is not finished: python -m busi.train resume={stopped}"),
        ([cls, "--data", "nowhere"], "no data at nowhere"),
        ([cls, "--data", "busi"], "--data busi needs the environment variable BUSI_ROOT"),
        (
            [cls, "--data", str(broken)],
            "1 x unreadable or truncated file: normal (1).png. Mend these files, or go on without them "
            "with --on-bad skip",
        ),
    ):
        done = evaluate(*arguments, "--output", "out")
        assert done.returncode == 1
        (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
        assert words in line
        assert not (tmp_path / "out").exists()
    done = evaluate(cls, "--data", str(own), "--output", cls)
    assert "holds a run: give another --output" in done.stderr
    done = evaluate(cls, "--data", str(broken), "--on-bad", "skip", "--output", "out")
    assert done.returncode == 0, done.stderr
