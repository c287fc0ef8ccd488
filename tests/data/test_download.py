"""Getting BUSI from Kaggle: without a network, without the package, and from kagglehub's own cache."""

import importlib.util
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hydra.utils import instantiate
from omegaconf import DictConfig

from busi.core.types import CLASSES, InputError
from busi.data.download import FINGERPRINT, HANDLE, check_published, download_busi
from busi.runs.predictions import find_records
from busi.training.fitting import fit
from tests.conftest import SMALL


@pytest.fixture(autouse=True)
def nothing_can_be_reached(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KAGGLEHUB_CACHE", str(tmp_path / "kaggle"))
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")


def stored(tmp_path: Path, data: Path) -> Path:
    """What kagglehub has after a download."""
    owner, name, _, version = HANDLE.split("/")
    folder = tmp_path / "kaggle" / "datasets" / owner / name
    place = folder / "versions" / version / "Dataset_BUSI_with_GT"
    place.mkdir(parents=True)
    for name in CLASSES:
        (place / name).symlink_to(data / name, target_is_directory=True)
    (folder / f"{version}.complete").touch()
    return place


def test_without_a_network_the_other_ways_are_named() -> None:
    with pytest.raises(InputError, match=r"Kaggle cannot be reached.*data.root=/path/to.*kaggle.com"):
        download_busi()


def test_without_kagglehub_its_command_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert importlib.util.find_spec("kagglehub")
    monkeypatch.setitem(sys.modules, "kagglehub", None)
    with pytest.raises(InputError, match=r"pip install 'kagglehub>=1'"):
        download_busi()


def test_other_pixels_are_refused() -> None:
    with pytest.raises(InputError, match=f"fingerprint abc, not {FINGERPRINT}"):
        check_published("abc", Path("somewhere"))


def test_other_data_sets_cannot_be_downloaded(compose: Callable[..., DictConfig]) -> None:
    with pytest.raises(Exception, match="data.download=true gets BUSI, not data=synthetic"):
        instantiate(compose("data=synthetic", "data.download=true").data)


def test_other_data_in_its_place_is_recognized(
    compose: Callable[..., DictConfig], tmp_path: Path, root: Path
) -> None:
    stored(tmp_path, root)
    with pytest.raises(InputError, match="is not BUSI as it was published"):
        _ = instantiate(compose("data.download=true", "data.on_bad=skip", "data.num_folds=3").data).cohort


def test_a_run_says_where_its_download_lies(
    compose: Callable[..., DictConfig], tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = stored(tmp_path, root)
    monkeypatch.setattr("busi.data.datamodule.check_published", lambda *_: None)
    small = [text for text in SMALL if not text.startswith("data")]
    cfg = compose("stage=seg", *small, "data.download=true", "data.on_bad=skip", "data.num_folds=3")
    run = fit(cfg, tmp_path / "run")
    assert (run.config.data.root, run.config.data.download) == (str(place), False)
    assert find_records(run)


@pytest.mark.real
def test_published_files_are_taken(
    compose: Callable[..., DictConfig], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    if "BUSI_ROOT" not in os.environ:
        pytest.skip("BUSI_ROOT is not set: the real data is not here")
    place = stored(tmp_path, Path(os.environ["BUSI_ROOT"]).resolve())
    with caplog.at_level("INFO"):
        data = instantiate(compose("data.download=true", "data.root=nowhere").data)
        assert data.cohort.data_fingerprint == FINGERPRINT
    assert "Kaggle version 1" in caplog.text
    assert data.root == place
