"""Finished runs evaluated on other data, by the real command."""

import csv
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import DictConfig
from PIL import Image, ImageOps

from busi.data.synthetic import make_synthetic
from busi.runs.predictions import find_records
from busi.runs.run import Run
from busi.training.fitting import fit
from tests.conftest import SMALL, Fitted, unfinished
from tests.processes import call

Evaluate = Callable[..., subprocess.CompletedProcess[str]]
Rows = dict[str, dict[str, str]]


def test_evaluation_needs_no_pytorch_until_a_run_is_opened() -> None:
    code = "import sys, busi.evaluation.evaluation; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.fixture(scope="module")
def runs(fitted: Fitted) -> dict[str, Run]:
    """A run of each stage; the classifier carries the segmentation network along."""
    return {stage: fitted(stage) for stage in ("seg", "cls")}


@pytest.fixture
def evaluate(cache: Path, tmp_path: Path) -> Evaluate:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return call("busi.evaluate", *arguments, cwd=tmp_path, BUSI_ROOT=None, BUSI_CACHE=str(cache))

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
    # The run's own numbers come out again, for both networks of a classifier.
    then, now = (json.loads((x / "metrics.json").read_text()) for x in (folder, tmp_path / "out"))
    then |= json.loads((runs["seg"].folder / "metrics.json").read_text())
    assert ("test/dice" in now, "test/brier" in now) == (True, stage == "cls")
    for name in now:
        if then[name] is None:  # with too few cases
            assert now[name] is None, name
        else:
            assert now[name] == pytest.approx(then[name], rel=1e-3, abs=1e-3), name


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


def altered(source: Path, target: Path, name: str) -> str:
    """Change an image as `name` says, beside its mask in another folder; give its id there."""
    with Image.open(source) as image, Image.open(source.with_name(f"{source.stem}_mask.png")) as mask:
        changes: dict[str, Callable[[Image.Image], Image.Image]] = {
            "mirrored": ImageOps.mirror,
            "inverted": ImageOps.invert,
            "turned": lambda one: one.rotate(5, Image.Resampling.BILINEAR),
            "brighter": lambda one: one.convert("L").point(lambda gray: gray // 2 + 60),
        }
        change = changes[name]
        change(image.convert("L")).save(target / f"{name}.png")
        (change(mask) if name in ("mirrored", "turned") else mask).save(target / f"{name}_mask.png")
    return name


CHANGES = ("mirrored", "inverted", "turned", "brighter")


def trained_image(run: Run, number: int, root: Path | None = None) -> Path:
    """An annotated image that trained a run."""
    split = rows_of(run.folder / "split.csv", split="train", label="benign")
    return find_records(run, root)[list(split)[number]].image


@pytest.mark.parametrize("stage", ["seg", "cls"])
def test_altered_versions_of_training_images_are_recognized(
    runs: dict[str, Run], evaluate: Evaluate, tmp_path: Path, stage: str
) -> None:
    other = make_synthetic(tmp_path / "other", (10, 10, 10), 96, 7)
    for number, name in enumerate(CHANGES):
        altered(trained_image(runs[stage], number), other / "benign", name)
    done = evaluate(str(runs[stage].folder), "--data", str(other), "--output", "out")
    assert done.returncode == 0, done.stderr
    assert set(rows_of(tmp_path / "out" / "split.csv", reason="seen")) == set(CHANGES)
    assert "where they were" not in " ".join(done.stdout.split())
    page = (tmp_path / "out" / "index.html").read_text()
    assert "4 images were left out: the run was trained or validated on them, or on near-duplicates" in page
    assert "where they were" not in page


def test_what_the_segmentation_inside_has_seen_of_other_data_counts(
    configs: Callable[..., DictConfig], runs: dict[str, Run], evaluate: Evaluate, tmp_path: Path
) -> None:
    options = ("stage=cls", f"seg_ckpt={runs['seg'].folder}", "data.read.seed=1", "allow_other_data=true")
    run = fit(configs(*options), tmp_path / "cls")
    other = make_synthetic(tmp_path / "other", (10, 10, 10), 96, 7)
    altered(trained_image(run, 0), other / "benign", "brighter")
    for number, name in enumerate(CHANGES[:3]):
        altered(trained_image(runs["seg"], number), other / "benign", name)
    done = evaluate(str(run.folder), "--data", str(other), "--output", "out")
    assert done.returncode == 0, done.stderr
    assert set(rows_of(tmp_path / "out" / "split.csv", reason="seen")) == set(CHANGES)


def test_where_training_images_are_gone_it_says_what_cannot_be_known(
    compose: Callable[..., DictConfig], evaluate: Evaluate, tmp_path: Path
) -> None:
    own = make_synthetic(tmp_path / "own", (15, 15, 15), 96, 3)
    small = [text for text in SMALL if not text.startswith("data")]
    run = fit(compose("stage=seg", f"data.root={own}", "data.num_folds=3", *small), tmp_path / "run")
    moved = own.rename(tmp_path / "moved")
    other = make_synthetic(tmp_path / "other", (10, 10, 10), 96, 7)
    source = trained_image(run, 0, moved)
    altered(source, other / "benign", "mirrored")
    done = evaluate(str(run.folder), "--data", str(other), "--output", "out")
    assert done.returncode == 0, done.stderr
    assert not rows_of(tmp_path / "out" / "split.csv", reason="seen")
    seen = sum(row["split"] in ("train", "val") for row in rows_of(run.folder / "split.csv").values())
    words = f"{seen} of the {seen} images that it has seen were not found (they are looked for where "
    assert words in " ".join(done.stdout.split())
    assert words in (tmp_path / "out" / "index.html").read_text()
    # An image that is there itself is enough to recognize its versions.
    for name in (source.name, f"{source.stem}_mask.png"):
        shutil.copy(source.with_name(name), other / "benign" / f"same{name[len(source.stem) :]}")
    done = evaluate(str(run.folder), "--data", str(other), "--output", "again")
    assert done.returncode == 0, done.stderr
    assert set(rows_of(tmp_path / "again" / "split.csv", reason="seen")) == {"mirrored", "same"}
    assert f"{seen - 1} of the {seen} images that it has seen" in " ".join(done.stdout.split())


def test_a_manifest_without_masks_and_without_normals_is_classified(
    runs: dict[str, Run], evaluate: Evaluate, tmp_path: Path
) -> None:
    other = make_synthetic(tmp_path / "other", (10, 10, 10), 96, 8)
    images = [path for path in other.glob("*/*.png") if "_mask" not in path.name]
    with (tmp_path / "manifest.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "label"])
        words = {"benign": "Fibroadenoma", "malignant": "cancer"}
        writer.writerows([path, words[path.parent.name]] for path in images if path.parent.name in words)
    mapped = ["--labels", "cancer=malignant", "--labels", "fibroadenoma=benign"]
    done = evaluate(str(runs["cls"].folder), "--data", "manifest.csv", "--output", "out", *mapped)
    assert done.returncode == 0, done.stderr
    content = json.loads((tmp_path / "out" / "report.json").read_text())
    metrics = content["diagnosis"]["guides"]["predicted"]["metrics"]
    assert metrics["recall_normal"]["value"] is None
    assert 0 <= metrics["auroc_malignant"]["value"] <= 1
    done = evaluate(str(runs["seg"].folder), "--data", "manifest.csv", "--output", "masks", *mapped)
    assert done.returncode == 1
    assert "error: none of 20 images is left (2 dropped: conflict, 18 dropped: no mask)" in done.stderr


def test_images_of_a_list_are_left_out(
    runs: dict[str, Run], evaluate: Evaluate, own: Path, tmp_path: Path
) -> None:
    folder = str(runs["seg"].folder)
    tested = [*rows_of(runs["seg"].folder / "predictions.csv", split="test")]
    (tmp_path / "out.csv").write_text(f"id,reason\n{tested[0]},another probe\n{tested[1]},\n")
    done = evaluate(folder, "--data", str(own), "--exclude", "out.csv", "--output", "out")
    assert done.returncode == 0, done.stderr
    assert [*rows_of(tmp_path / "out" / "predictions.csv")] == tested[2:]
    assert rows_of(tmp_path / "out" / "split.csv", reason="excluded").keys() == set(tested[:2])
    page = (tmp_path / "out" / "index.html").read_text()
    assert "2 more images are left out, which --exclude names." in page
    (tmp_path / "unknown.csv").write_text("id\nnobody\n")
    for name, words in (
        ("nowhere.csv", "nowhere.csv does not exist: give a CSV file with the column id"),
        ("unknown.csv", "--exclude unknown.csv names 1 unknown images: nobody"),
    ):
        done = evaluate(folder, "--data", str(own), "--exclude", name, "--output", "none")
        assert done.returncode == 1
        assert words in done.stderr
        assert not (tmp_path / "none").exists()


def test_wrong_arguments_are_one_line(
    runs: dict[str, Run], evaluate: Evaluate, own: Path, tmp_path: Path
) -> None:
    cls = str(runs["cls"].folder)
    stopped = tmp_path / "stopped"
    stopped.mkdir()
    (stopped / "provenance.json").write_text(unfinished("cls"))
    broken = shutil.copytree(own, tmp_path / "broken")
    (broken / "normal" / "normal (1).png").write_bytes(b"no image")
    for arguments, words in (
        ([str(tmp_path / "nothing"), "--data", str(own)], "does not exist: give a run folder"),
        ([str(stopped), "--data", str(own)], f"is not finished: python -m busi.train resume={stopped}"),
        ([cls, "--data", "nowhere"], "no data at nowhere"),
        ([cls, "--data", "n" * 300], "no data at nnn"),
        ([cls, "--data", "busi"], "or the environment variable BUSI_ROOT"),
        (
            [cls, "--data", str(broken)],
            "1 x unreadable or truncated file: normal (1).png. Correct these files or rows, or go on "
            "without them with --on-bad skip",
        ),
    ):
        done = evaluate(*arguments, "--output", "out")
        assert done.returncode == 1
        (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
        assert words in line
        assert not (tmp_path / "out").exists()
    done = evaluate(cls, "--data", str(own), "--output", cls)
    assert "holds a run or a bundle: give another --output" in done.stderr
    done = evaluate(cls, "--data", str(broken), "--on-bad", "skip", "--output", "out")
    assert done.returncode == 0, done.stderr
