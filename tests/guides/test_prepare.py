"""Guides are predicted once for a checkpoint and its images, and mapped from the cache afterwards."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf

from busi.data.datamodule import BUSIDataModule
from busi.guides import prepare as guides
from busi.guides.prepare import load_guides
from busi.runs.run import open_run


@pytest.fixture
def data(trained: Path, tmp_path: Path) -> BUSIDataModule:
    cfg = OmegaConf.load(trained / "config.yaml")
    made: BUSIDataModule = instantiate(cfg.data, cache_dir=str(tmp_path / "cache"))
    return made


def test_guides_are_predicted_once(
    trained: Path, data: BUSIDataModule, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = open_run(trained.parents[1] / "seg" / "run").best_checkpoint
    some, others = np.array([0, 3, 5]), np.array([1, 4])
    first = load_guides(data, {checkpoint: some})
    assert first[some].any(axis=(1, 2)).all()
    assert not np.delete(first, some, axis=0).any()

    calls: list[int] = []
    predict = guides.fill_guides

    def counted(*arguments, **options) -> None:  # type: ignore[no-untyped-def]
        calls.append(1)
        predict(*arguments, **options)

    monkeypatch.setattr(guides, "fill_guides", counted)
    assert np.array_equal(load_guides(data, {checkpoint: some}), first)
    assert calls == []
    assert not np.array_equal(load_guides(data, {checkpoint: others}), first)
    assert calls == [1]


def test_another_checkpoint_of_the_same_name_predicts_again(
    trained: Path, data: BUSIDataModule, tmp_path: Path
) -> None:
    source = open_run(trained.parents[1] / "seg" / "run")
    path = Path(shutil.copy(source.best_checkpoint, tmp_path / "best.ckpt"))
    load_guides(data, {path: np.array([0])})
    content = torch.load(path, weights_only=True)
    torch.save({**content, "note": "another file"}, path)
    load_guides(data, {path: np.array([0])})
    assert len(list((tmp_path / "cache" / "guides").glob("*.npy"))) == 2
