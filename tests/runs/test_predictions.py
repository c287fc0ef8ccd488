"""Which runs can be reported together."""

import csv
import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from omegaconf import DictConfig
from scipy.special import softmax

from busi.core.types import CLASSES, InputError
from busi.runs.predictions import Predictions
from busi.runs.variants import read_variants
from tests.conftest import Fitted, of_fold
from tests.made_runs import record_run

Compose = Callable[..., DictConfig]


def read(folders: list[Path], partial: bool = False) -> list[Predictions]:
    """All predictions, in the order of their variants."""
    return [one for variant in read_variants(folders, partial) for seed in variant.seeds for one in seed]


@pytest.fixture(scope="module")
def runs(fitted: Fitted, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All three folds of both stages."""
    folder = tmp_path_factory.mktemp("runs")
    for fold in range(3):
        shutil.copytree(fitted("seg", *of_fold(fold)).folder, folder / "seg" / str(fold))
        run = fitted("cls", "guide=empty", *of_fold(fold))
        shutil.copytree(run.folder, folder / "cls" / str(fold))
    return folder


def test_runs_are_read_in_order_with_their_columns(runs: Path) -> None:
    found = read([runs])
    assert [(one.run.variant, one.fold) for one in found] == [
        *(("segmentation", fold) for fold in range(3)),
        *(("empty", fold) for fold in range(3)),
    ]
    for one in found[3:]:
        test = one.part("test")
        probs = np.stack([test[f"prob_{name}"] for name in CLASSES], axis=1)
        np.testing.assert_allclose(softmax(one.logits("test"), axis=1), probs)
        assert set(one.labels("val")) == {0, 1, 2}


def test_every_image_is_tested_once_over_the_folds(runs: Path) -> None:
    found = read([runs / "cls"])
    ids = np.concatenate([one.part("test")["id"] for one in found])
    assert len(ids) == len(set(ids))
    with (runs / "cls" / "0" / "split.csv").open(newline="") as file:
        assert set(ids) == {row["id"] for row in csv.DictReader(file) if row["split"] != "dropped"}


def test_fewer_folds_need_partial(runs: Path) -> None:
    two = [runs / "seg" / "0", runs / "seg" / "2"]
    with pytest.raises(InputError, match="segmentation with seed 0 lacks fold 1 of 3: .* --partial"):
        read_variants(two, partial=False)
    assert [one.fold for one in read(two, partial=True)] == [0, 2]


def test_the_same_fold_twice_is_an_error(runs: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(runs / "cls" / "0", tmp_path / "copy")
    with pytest.raises(InputError, match="fold 0 of empty with seed 0 is there twice"):
        read_variants([runs / "cls", copy], partial=False)


def test_other_splits_and_data_do_not_mix(runs: Path, configs: Compose, tmp_path: Path) -> None:
    split = record_run(tmp_path / "split", configs("stage=seg", "data.split_seed=1")).folder
    with pytest.raises(InputError, match="2 different splits"):
        read_variants([runs / "seg", split], partial=True)
    data = record_run(tmp_path / "data", configs("stage=seg", "data.read.seed=1")).folder
    with pytest.raises(
        InputError, match=r"2 different data sets \(synthetic \w+: .*; synthetic \w+: .*\): give the fo"
    ):
        read_variants([runs / "seg", data], partial=True)


def test_runs_that_cannot_be_reported_say_what_to_do(
    runs: Path, configs: Compose, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    untested = record_run(tmp_path / "untested", configs("stage=seg", "test=false")).folder
    inner = record_run(
        tmp_path / "inner", configs("stage=seg", "data.num_folds=4", "data.leave_out=2")
    ).folder
    unfinished, damaged = (
        shutil.copytree(runs / "seg" / "0", tmp_path / name) for name in ("stopped", "damaged")
    )
    provenance = json.loads((unfinished / "provenance.json").read_text())
    (unfinished / "provenance.json").write_text(json.dumps({**provenance, "finished": None}))
    (damaged / "predictions.csv").write_text("id,label\n")
    other = record_run(tmp_path / "other", configs("stage=seg", "data.fold=1", "image_size=64")).folder
    shutil.copytree(runs / "seg" / "0", tmp_path / "both" / "0")
    shutil.copytree(unfinished, tmp_path / "both" / "1")
    with caplog.at_level(logging.WARNING):
        (variant,) = read_variants([tmp_path / "both"], partial=True)
    assert variant.folds == (0,)
    assert f"Left out: 1 run is not finished ({tmp_path / 'both' / '1'}): python -m busi.train" in caplog.text
    with pytest.raises(InputError, match="1 run is not finished"):
        read_variants([runs / "seg" / "0", unfinished], partial=True)
    with pytest.raises(InputError, match="not of one recipe: image_size 32 and 64"):
        read_variants([runs / "seg" / "0", other], partial=True)
    last = record_run(
        tmp_path / "last", configs("stage=seg", "data.fold=1", "callbacks.checkpoint.monitor=null")
    ).folder
    with pytest.raises(
        InputError, match="not of one recipe: callbacks.checkpoint.monitor val/dice_net and None"
    ):
        read_variants([runs / "seg" / "0", last], partial=True)
    seed = record_run(tmp_path / "seed", configs("stage=seg", "data.fold=1", "seed=1")).folder
    with pytest.raises(InputError, match=r"seeds of segmentation have different folds \(0, 1\)"):
        read_variants([runs / "seg" / "0", seed], partial=True)
    for folder, words in (
        (untested, r"1 run is not tested \(.*\): python -m busi.train resume=.* test=true"),
        (inner, "only runs with data.leave_out"),
        (unfinished, r"1 run is not finished \(.*\): python -m busi.train resume="),
        (damaged, "predictions.csv is not the file that this run wrote"),
        (tmp_path / "nothing", "is no run folder, and has none below it"),
    ):
        with pytest.raises(InputError, match=words):
            read_variants([folder], partial=True)


def test_runs_that_score_nothing_are_left_out_of_a_folder(
    configs: Compose, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Debug runs are of other data too, as ``trainer=debug`` takes a few images."""
    debug, untested, scored = (
        record_run(tmp_path / "all" / name, configs("stage=seg", *overrides)).folder
        for name, overrides in (
            ("debug", ["trainer=debug"]),
            ("untested", ["test=false"]),
            ("scored", ["data.fold=1"]),
        )
    )
    with caplog.at_level(logging.WARNING):
        assert [one.run.folder for one in read([tmp_path / "all"], partial=True)] == [scored]
    (warning,) = (record.getMessage() for record in caplog.records if "Left out" in record.message)
    assert f"1 run is not tested ({untested}): python -m busi.train resume={untested} test=true" in warning
    assert f"1 run is for debugging ({debug})" in warning
    with pytest.raises(InputError, match=r"^1 run is not tested \(.*untested\).* leave them out$"):
        read_variants([scored, untested], partial=True)
    assert [one.run.folder for one in read([debug], partial=True)] == [debug]
    shutil.rmtree(scored)
    shutil.copytree(untested, tmp_path / "all" / "other")
    shutil.rmtree(debug)
    with pytest.raises(InputError, match=r"2 runs are not tested \(.*other, .*untested\)"):
        read_variants([tmp_path / "all"], partial=True)
