"""What stands for a run that others start from, and which runs are one recipe then."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import DictConfig

from busi.core.files import write_json
from busi.core.types import InputError
from busi.models.postprocess import Postprocess
from busi.reporting.origin import start_tables
from busi.runs.checkpoints import Checkpoint, make_metadata, read_checkpoint
from busi.runs.finding import find_same
from busi.runs.fingerprints import settings_fingerprint
from busi.runs.run import Run, start_run
from busi.runs.seen import describe_unknown, name_earlier_data
from busi.runs.start import describe_start, find_checkpoint
from busi.runs.variant_checks import check_starts
from busi.runs.variants import read_variants
from tests.conftest import Compose, unfinished
from tests.guides.test_leaks import cohort
from tests.made_runs import make_run

FACTS = {"epoch": 0, "monitor": "val/dice_net", "monitored": 0.5, "tested": True, "seconds": 1.0}


def make_checkpoint(cfg: DictConfig, weight: float = 0.0, **behind: Any) -> Checkpoint:
    metadata = make_metadata(cfg, cohort(cfg.data.fold), None, Postprocess(), **behind)
    return Checkpoint(Path("x.ckpt"), metadata, {"network.w": torch.full((2,), weight)}, 0, 0)


def test_what_stands_for_a_start_is_its_content(compose: Compose) -> None:
    one = make_checkpoint(compose("run_dir=/runs/1", "output_dir=/runs"))
    there = describe_start(one)
    moved = make_checkpoint(compose("run_dir=/o/2", "output_dir=/o", "data.root=x", "logger=wandb"))
    assert describe_start(moved) == there
    assert (
        describe_start(make_checkpoint(compose("run_dir=/runs/1"), 1.0)) | {"weights": there["weights"]}
        == there
    )
    fold, seed = (make_checkpoint(compose("run_dir=/runs/1", text)) for text in ("data.fold=1", "seed=1"))
    assert describe_start(fold) == there | {"fold": 1}
    assert describe_start(seed) == there | {"seed": 1}
    other = describe_start(make_checkpoint(compose("run_dir=/runs/1", "optimizer.lr=0.5")))
    assert other["recipe"] != there["recipe"]
    of_other_data = replace(one, metadata={**one.metadata, "data": "x"})
    assert describe_start(of_other_data)["recipe"] != there["recipe"]


def started(cfg: DictConfig, place: str, **start: object) -> DictConfig:
    cfg = cfg.copy()
    cfg.start_from = place
    cfg.start = {"recipe": "r", "seed": 0, "fold": 0, "weights": "w", **start}
    return cfg


def test_settings_say_what_a_run_started_from_and_not_where_it_lay(compose: Compose) -> None:
    cfg = compose("run_dir=/runs/1")
    plain, one = settings_fingerprint(cfg), settings_fingerprint(started(cfg, "a"))
    assert plain != one == settings_fingerprint(started(cfg, "b"))
    assert one != settings_fingerprint(started(cfg, "a", weights="other"))
    files = [started(cfg, "null", recipe="w") for _ in range(2)]
    for k, file in enumerate(files):
        file.start_from, file.encoder_weights = None, f"/place{k}/x.pth"
    assert settings_fingerprint(files[0]) == settings_fingerprint(files[1]) != plain


def test_reuse_finds_a_run_by_the_weights_that_it_started_from(compose: Compose, tmp_path: Path) -> None:
    cfg = compose(f"run_dir={tmp_path}/a", f"output_dir={tmp_path}")
    run = start_run(
        tmp_path / "a", started(cfg, "/old/place"), cohort(0), {"start": "/old/place", "start_weights": "w"}
    ).finish({}, **FACTS)
    upstream = {"start": "/new/place", "start_weights": "w"}
    found = find_same(started(cfg, "/new/place"), cohort(0), upstream)
    assert found is not None
    assert found.folder == run.folder
    assert find_same(cfg, cohort(0), {}) is None
    other = started(cfg, "/old/place", weights="v")
    assert find_same(other, cohort(0), {"start": "/old/place", "start_weights": "v"}) is None


def make(
    folder: Path, cfg: DictConfig, place: str | None, fold: int, seed: int = 0, start: Any = None
) -> Run:
    run = make_run(folder, started(cfg, place, **(start or {})) if place else cfg, fold=fold, seed=seed)
    upstream = {"start": place, "start_weights": "w"} if place else {}
    write_json(folder / "provenance.json", {**run.provenance, "upstream": upstream})
    return run


def test_runs_with_and_without_a_start_are_settings_of_their_own(compose: Compose, tmp_path: Path) -> None:
    cfg = compose("stage=seg")
    for seed, place in enumerate((None, "pretrained")):
        for fold in range(3):
            make(tmp_path / f"{seed}-{fold}", cfg, place, fold, seed)
    plain, started_runs = read_variants([tmp_path], partial=False)
    assert [len(one.seeds) for one in (plain, started_runs)] == [1, 1]
    assert "start." in started_runs.setting
    (alone,) = read_variants([tmp_path / f"1-{fold}" for fold in range(3)], partial=False)
    (table,) = start_tables(alone.seeds[0])
    assert "pretrained" in str(table)
    (plain,) = read_variants([tmp_path / f"0-{fold}" for fold in range(3)], partial=False)
    assert start_tables(plain.seeds[0]) == []


def test_each_fold_and_seed_may_have_a_start_of_its_own(compose: Compose, tmp_path: Path) -> None:
    cfg = compose("stage=seg")
    for seed in range(2):
        for fold in range(3):
            own = {"fold": fold, "seed": seed, "weights": f"w{seed}{fold}"}
            make(tmp_path / f"{seed}-{fold}", cfg, f"p{seed}{fold}", fold, seed, own)
    (variant,) = read_variants([tmp_path], partial=False)
    runs = [one.run for seed in variant.seeds for one in seed]
    check_starts("segmentation", runs)
    again = make(tmp_path / "again", cfg, "p", 0, 2, {"weights": "another00"})
    with pytest.raises(InputError, match="which are different trainings"):
        check_starts("segmentation", [*runs, again])


def test_checkpoint_says_what_is_behind_it_when_that_is_gone(compose: Compose, tmp_path: Path) -> None:
    first = make_checkpoint(compose("run_dir=/runs/1", "data=busbra"))
    second = make_checkpoint(compose("run_dir=/runs/2"), start=[first.metadata])
    content = {"busi": second.metadata, "state_dict": second.weights, "epoch": 0, "global_step": 0}
    torch.save(content, tmp_path / "x.ckpt")
    read = read_checkpoint(tmp_path / "x.ckpt")
    assert read.metadata["start"] == [first.metadata]
    assert name_earlier_data(read) == ["busbra"]
    assert describe_unknown(read) == ""
    of_file = make_checkpoint(compose("run_dir=/runs/1"), encoder_files=["x.pth"])
    third = make_checkpoint(compose("run_dir=/runs/2"), start=[of_file.metadata])
    assert "encoder_weights=FILE" in describe_unknown(third)
    content["busi"] = {**second.metadata, "start": [{**first.metadata, "train": 3}]}
    torch.save(content, tmp_path / "x.ckpt")
    with pytest.raises(InputError, match=r"damaged or of another version \(busi.start.0.train"):
        read_checkpoint(tmp_path / "x.ckpt")


def test_checkpoint_from_before_there_were_starts_is_read(compose: Compose, tmp_path: Path) -> None:
    one = make_checkpoint(compose("run_dir=/runs/1"))
    old = {name: value for name, value in one.metadata.items() if name not in ("start", "encoder_files")}
    torch.save({"busi": old, "state_dict": one.weights, "epoch": 0, "global_step": 0}, tmp_path / "x.ckpt")
    assert name_earlier_data(read_checkpoint(tmp_path / "x.ckpt")) == []


def test_place_without_a_finished_run_is_one_error(compose: Compose, tmp_path: Path) -> None:
    def refused(place: Path, words: str) -> None:
        with pytest.raises(InputError, match=words) as caught:
            find_checkpoint("start_from", str(place))
        assert "\n" not in str(caught.value)

    refused(tmp_path / "x", "start_from=.*x does not exist: give a run folder or a .ckpt file")
    refused(tmp_path, "is not a run folder")
    (tmp_path / "provenance.json").write_text(unfinished("seg"))
    refused(tmp_path, "is not finished")
    (tmp_path / "x.ckpt").write_bytes(b"x")
    refused(tmp_path / "x.ckpt", "damaged or no checkpoint")
    run = make_run(tmp_path / "run", compose("stage=seg"))
    refused(run.folder, "no checkpoint at .*best.ckpt")
