"""Cross-fitted guides, joined with the splits of the runs that made them."""

import csv
import json
import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hydra
import numpy as np
import pytest
import torch
from hydra.errors import InstantiationException
from omegaconf import DictConfig

from busi.core.types import InputError
from busi.data.datamodule import BUSIDataModule
from busi.data.files import read_gray
from busi.data.geometry import letterbox, quantize
from busi.guides.crossfit import check_guides, find_inner_runs, group_by_run
from busi.guides.prepare import load_guides
from busi.inference.maps import predict_maps, segment
from busi.runs.checkpoints import load_segmenter, read_checkpoint
from busi.runs.finding import find_same, read_guide_runs
from busi.runs.run import Run, open_run
from busi.training.fitting import fit, resolve
from tests.conftest import SMALL
from tests.made_runs import record_run
from tests.processes import call
from tests.test_safe import tamper

Compose = Callable[..., DictConfig]
Train = Callable[..., subprocess.CompletedProcess[str]]


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def configs(configs: Compose) -> Compose:
    """With five folds: leaving one out leaves two to train on."""
    return lambda *overrides: configs("data.num_folds=5", *overrides)


@pytest.fixture(scope="module")
def runs(configs: Compose) -> dict[str, Run]:
    """Outer runs of two folds, and the inner runs of the first."""
    folder = Path(configs().output_dir)
    inner = {
        f"0 without {j}": fit(
            configs("stage=seg", "data.fold=0", f"data.leave_out={j}"), folder / "seg" / f"0_{j}"
        )
        for j in (2, 3, 4)
    }
    outer = {f"{k}": fit(configs("stage=seg", f"data.fold={k}"), folder / "seg" / str(k)) for k in (0, 1)}
    return inner | outer


@pytest.fixture(scope="module")
def crossfit(configs: Compose, runs: dict[str, Run]) -> Run:
    assert runs
    return fit(configs("stage=cls", "guide=crossfit"), Path(configs().output_dir) / "cls" / "0")


def test_no_image_is_guided_by_a_model_that_trained_on_it(crossfit: Run) -> None:
    rows = table(crossfit.folder / "guides.csv")
    used = {row["id"] for row in table(crossfit.folder / "split.csv") if row["split"] != "dropped"}
    assert {row["id"] for row in rows} == used
    groups = {row["id"]: row["group"] for row in table(crossfit.folder / "split.csv")}
    for run in {row["run"] for row in rows}:
        split = table(crossfit.folder / run / "split.csv")
        trained = {row["group"] for row in split if row["split"] == "train"}
        assert trained
        assert not trained & {groups[row["id"]] for row in rows if row["run"] == run}
    assert len(read_guide_runs(crossfit.folder)) == 4


def test_validation_and_test_are_guided_by_the_model_that_trained_on_all_training_folds(
    crossfit: Run, runs: dict[str, Run]
) -> None:
    splits = {row["id"]: row["split"] for row in table(crossfit.folder / "split.csv")}
    rows = table(crossfit.folder / "guides.csv")
    by = {row["id"]: (crossfit.folder / row["run"]).resolve() for row in rows}
    outer = runs["0"].folder.resolve()
    assert {splits[name] for name, folder in by.items() if folder == outer} == {"val", "test"}
    assert len(set(by.values())) == 4
    assert crossfit.provenance["upstream"] == {"segmentation": str(runs["0"].best_checkpoint.resolve())}


def test_guides_are_what_those_runs_predict(configs: Compose, crossfit: Run, runs: dict[str, Run]) -> None:
    """The guides of fold 3 are those of the run without it, near its maps of the images themselves."""
    data: BUSIDataModule = hydra.utils.instantiate(configs("stage=cls").data)
    guided_by = {row["id"]: crossfit.folder / row["run"] for row in table(crossfit.folder / "guides.csv")}
    guides = load_guides(data, group_by_run(guided_by, data.cohort))
    records, folds = data.cohort.records, data.cohort.folds
    mine = np.array([i for i, r in enumerate(records) if folds[i] == 3 and r.id in guided_by])
    assert len(mine) > 5
    run = runs["0 without 3"]
    segmenter = load_segmenter(read_checkpoint(run.best_checkpoint))
    assert segmenter is not None
    anew = quantize(segment(segmenter, data.letterboxed[mine, 0])[:, 0].numpy())
    assert np.abs(guides[mine].astype(int) - anew).max() <= 1
    originals = (read_gray(records[i].image) for i in mine)
    maps = [quantize(probs) for probs in predict_maps(segmenter, originals, batch_size=4)]
    there_and_back = np.stack([letterbox(made, data.image_size) for made in maps])
    inside = np.stack([letterbox(np.full_like(stored, 255), data.image_size) > 0 for stored in maps])
    assert np.abs(there_and_back.astype(int) - guides[mine])[inside].mean() < 3
    assert not guides[[i for i, record in enumerate(records) if record.id not in guided_by]].any()


def test_inner_run_chooses_nothing(runs: dict[str, Run]) -> None:
    run = runs["0 without 2"]
    best, last = (torch.load(path, weights_only=True) for path in (run.best_checkpoint, run.last_checkpoint))
    assert best["epoch"] == last["epoch"]
    assert all(torch.equal(x, last["state_dict"][name]) for name, x in best["state_dict"].items())
    assert run.monitored[1] is None
    assert run.provenance["trained_on"] == [3, 4]
    splits = {row["split"] for row in table(run.folder / "predictions.csv")}
    assert splits == {"val"}
    assert {row["fold"] for row in table(run.folder / "split.csv") if row["split"] == "left_out"} == {"2"}


def test_inner_run_is_shared_between_outer_folds(
    configs: Compose, runs: dict[str, Run], tmp_path: Path
) -> None:
    """Fold 1 without fold 0 trains on folds 3 and 4, as fold 0 without fold 2 did."""
    first, choice = runs["0 without 2"], ("stage=seg", "data.fold=1", "data.leave_out=0")
    assert fit(configs(*choice, "reuse=true"), tmp_path / "unused").folder == first.folder
    assert not (tmp_path / "unused").exists()
    anew = fit(configs(*choice), tmp_path / "anew")
    before, after = (
        torch.load(run.best_checkpoint, weights_only=True)["state_dict"] for run in (first, anew)
    )
    assert all(torch.equal(x, after[name]) for name, x in before.items())


def test_other_content_is_not_reused(configs: Compose, runs: dict[str, Run], tmp_path: Path) -> None:
    for other in ("optimizer.lr=0.01", "seed=1", "data.fold=2", "model=unetplusplus", "data.fold=1"):
        cfg = resolve(configs("stage=seg", other), tmp_path)
        same = find_same(cfg, hydra.utils.instantiate(cfg.data).cohort, {})
        if other == "data.fold=1":
            assert same is not None
            assert same.folder == runs["1"].folder
        else:
            assert same is None, other
    run = fit(configs("stage=seg", "reuse=true", "seed=1"), tmp_path / "run")
    assert run.folder == tmp_path / "run"
    assert run.folder not in {earlier.folder for earlier in runs.values()}


def test_a_classifier_with_other_guides_is_not_reused(crossfit: Run) -> None:
    cfg, guides = crossfit.config, read_guide_runs(crossfit.folder)
    cohort, upstream = hydra.utils.instantiate(cfg.data).cohort, crossfit.provenance["upstream"]
    same = find_same(cfg, cohort, upstream, {str(k): folder for k, folder in enumerate(guides)})
    assert same is not None
    assert same.folder == crossfit.folder
    assert find_same(cfg, cohort, upstream, {"a": crossfit.folder}) is None


def test_an_inner_run_that_nobody_can_read_is_passed_over(runs: dict[str, Run], tmp_path: Path) -> None:
    for name, run in runs.items():
        shutil.copytree(run.folder, tmp_path / name)
    (tmp_path / "0 without 3" / "config.yaml").write_text("seed: [")
    assert set(find_inner_runs(tmp_path, runs["0"], [2, 3, 4])) == {2, 4}


def test_run_that_was_not_tested_is_tested_when_it_is_reused(configs: Compose, tmp_path: Path) -> None:
    place = f"output_dir={tmp_path}"
    run = fit(configs("stage=seg", place, "test=false"), tmp_path / "seg" / "one")
    assert "test/dice" not in json.loads((run.folder / "metrics.json").read_text())
    again = fit(configs("stage=seg", place, "reuse=true"), tmp_path / "seg" / "two")
    assert again.folder == run.folder
    assert "test/dice" in json.loads((run.folder / "metrics.json").read_text())


def test_missing_runs_are_made_by_the_command_that_is_printed(train: Train, tmp_path: Path) -> None:
    small = [text for text in SMALL if not text.startswith("image_size")]
    arguments = [*small, "image_size=64", "data.fold=1"]
    assert train("stage=seg", *arguments).returncode == 0
    done = train("stage=cls", *arguments, "guide=crossfit")
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert "but without fold 0 or 3 or 4" in line
    assert (
        "Make them with, and the settings of" in line
    )  # +trainer.enable_progress_bar and ~callbacks.progress
    command = shlex.split(line.partition(": python -m busi.train ")[2])
    assert {"image_size=64", "data.fold=1", "data.leave_out=0,3,4"} <= set(command)
    done = train(*command)
    assert done.returncode == 0, done.stderr
    done = train("stage=cls", *arguments, "guide=crossfit")
    assert done.returncode == 0, done.stderr
    (run,) = (tmp_path / "outputs" / "cls").glob("*/guides.csv")
    assert len({row["run"] for row in table(run)}) == 4
    assert open_run(run.parent).provenance["guide"] == "crossfit"


def test_runs_of_another_recipe_are_not_taken(configs: Compose, runs: dict[str, Run], tmp_path: Path) -> None:
    changes: dict[str, Callable[[dict[str, Any]], object]] = {
        "rate": lambda config: config["optimizer"].update(lr=1e-4),
        "wide": lambda config: config["model"]["network"].update(decoder_channels=[16, 16, 8, 8, 8]),
    }
    for name, change in changes.items():
        other = tamper(runs["0"].folder, tmp_path / name, change)
        with pytest.raises(
            InputError, match=r"2 or 3 or 4\. Make them with, and the settings of .*: python -m busi"
        ):
            fit(configs("stage=cls", "guide=crossfit", f"seg_ckpt={other.folder}"), tmp_path / "cls")


def test_runs_of_another_seed_guide_until_there_are_some_of_the_same(
    configs: Compose, runs: dict[str, Run], tmp_path: Path
) -> None:
    """Either way, what guides an image has never trained on it; and a seed more costs a run, not four."""
    outer = record_run(tmp_path / "outer", configs("stage=seg", "seed=7"))
    cfg = configs("stage=cls", "guide=crossfit", f"seg_ckpt={outer.folder}", "seed=7")

    def found() -> dict[int, Path]:
        inner = find_inner_runs(Path(cfg.guide_runs), outer, [2, 3, 4])
        return {fold: run.folder for fold, run in inner.items()}

    others = {fold: runs[f"0 without {fold}"].folder for fold in (2, 3, 4)}
    assert found() == others
    folder = Path(cfg.output_dir) / "seg" / "0_3_seed_7"
    record_run(folder, configs("stage=seg", "seed=7", "data.leave_out=3"))
    try:
        assert found() == others | {3: folder}
        kept = {path.resolve() for path in others.values()}
        before = find_inner_runs(Path(cfg.guide_runs), outer, [2, 3, 4], kept)
        assert {fold: run.folder for fold, run in before.items()} == others
    finally:
        shutil.rmtree(folder)


def test_checkpoint_stands_for_its_run_however_it_is_named(
    configs: Compose, runs: dict[str, Run], crossfit: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(runs["0"].best_checkpoint.parent)
    run = fit(configs("stage=cls", "guide=crossfit", "seg_ckpt=best.ckpt"), tmp_path / "cls")
    assert run.provenance["upstream"] == crossfit.provenance["upstream"]
    assert read_guide_runs(run.folder) == read_guide_runs(crossfit.folder)


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("last.ckpt", r"guide=crossfit guides with .*best\.ckpt, not with last\.ckpt: give seg_ckpt="),
        ("alone.ckpt", r"lies in no run folder.*Give seg_ckpt=RUN_FOLDER"),
    ],
)
def test_checkpoint_without_its_run_cannot_be_cross_fitted(
    configs: Compose, runs: dict[str, Run], tmp_path: Path, place: str, words: str
) -> None:
    path = runs["0"].best_checkpoint.parent / place
    if place == "alone.ckpt":
        path = tmp_path / place
        shutil.copy(runs["0"].best_checkpoint, path)
    with pytest.raises(InputError, match=words):
        fit(configs("stage=cls", "guide=crossfit", f"seg_ckpt={path}"), tmp_path / "cls")


def test_swapped_runs_would_be_a_leak(configs: Compose, runs: dict[str, Run], crossfit: Run) -> None:
    data = hydra.utils.instantiate(configs("stage=cls").data)
    cohort, cache_dir = data.cohort, data.cache_dir
    guided_by = {row["id"]: crossfit.folder / row["run"] for row in table(crossfit.folder / "guides.csv")}
    check_guides(guided_by, cohort, cache_dir)
    swapped = {
        name: runs["0 without 2"].folder if "0_3" in str(folder) else folder
        for name, folder in guided_by.items()
    }
    with pytest.raises(InputError, match="leak: .* that it trained on"):
        check_guides(swapped, cohort, cache_dir)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (("data.leave_out=1",), r"those of data\.fold=0 are 2, 3, 4"),
        (("data.leave_out=9",), r"those of data\.fold=0 are 2, 3, 4"),
        (("data.leave_out=2", "data.num_folds=3"), "one of several training folds"),
        (("data.leave_out=2", "test=true"), "leave out test=true"),
        (("data.leave_out=2", "callbacks=[default,early_stopping]"), "leave out callbacks.early_stopping"),
        (("data.leave_out=2", "scheduler=plateau"), "leave out scheduler=plateau"),
        (("data.leave_out=2", "stage=cls"), "it is for stage=seg"),
    ],
)
def test_inner_runs_that_cannot_be_are_refused(
    configs: Compose, tmp_path: Path, overrides: tuple[str, ...], words: str
) -> None:
    with pytest.raises((InputError, InstantiationException), match=words):
        fit(configs("stage=seg", *overrides), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_crossval_makes_each_model_once_and_repeats_nothing(cache: Path, tmp_path: Path) -> None:
    """The commands are those of make, which are given to a python that writes them down."""
    python, asked = tmp_path / "python", tmp_path / "asked"
    python.write_text(f"#!/bin/sh\nprintf '%s\\n' \"$@\" '' >> {asked}\n")
    python.chmod(0o755)
    command = ["make", "--old-file=install", "crossval", f"BIN={tmp_path}"]
    command += [f"CROSSVAL={tmp_path}/crossval", f"ARGS={shlex.join([*SMALL, f'cache_dir={cache}'])}"]
    subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, check=True)
    commands = [block.split("\n") for block in asked.read_text().strip("\n").split("\n\n")]
    assert [words[:2] for words in commands] == [["-m", "busi.train"]] * 7 + [["-m", "busi.report"]]
    finished = []
    for _ in range(2):
        for words in commands:
            done = call(*words[1:], cwd=tmp_path)
            assert done.returncode == 0, done.stderr
        runs = [open_run(path.parent) for path in sorted(tmp_path.rglob("provenance.json"))]
        finished.append({str(run.folder): run.provenance["finished"] for run in runs})
    assert finished[0] == finished[1]
    assert all(finished[0].values())
    inner = [run for run in runs if run.provenance["leave_out"] is not None]
    outer = [run for run in runs if run.provenance["leave_out"] is None]
    assert len({tuple(run.provenance["trained_on"]) for run in inner}) == len(inner) == 10
    for stage in ("seg", "cls"):
        tested = [run for run in outer if run.provenance["stage"] == stage]
        assert sorted(run.provenance["fold"] for run in tested) == [0, 1, 2, 3, 4]
        assert all(run.provenance["tested"] for run in tested)
    facts = json.loads((tmp_path / "crossval" / "report" / "report.json").read_text())
    assert facts["folds"] == {"segmentation": [0, 1, 2, 3, 4], "crossfit": [0, 1, 2, 3, 4]}
