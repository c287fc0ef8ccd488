"""Synthetic data and composed configs that many tests share."""

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

# These go before busi: while one of its modules is imported, the hook that checks shapes reads all others
# without their cached bytecode.
import albumentations  # noqa: F401
import hydra
import lightning  # noqa: F401
import pytest
import segmentation_models_pytorch  # noqa: F401
import sklearn.metrics  # noqa: F401
import torchmetrics  # noqa: F401
from omegaconf import DictConfig

from busi.core.files import conf_dir, file_hash
from busi.data.catalog import find_data
from busi.data.shared_split import SharedSplit, share_split
from busi.data.synthetic import make_synthetic
from tests.processes import call, no_wait

os.fsync = no_wait  # type: ignore[assignment]

# Threads that wait for each other make networks of this size many times slower on a busy machine.
os.environ.setdefault("OMP_NUM_THREADS", "1")

Compose = Callable[..., DictConfig]

SMALL = (
    "data=synthetic",
    "data.read.num_benign=25",
    "data.read.num_malignant=20",
    "data.read.num_normal=15",
    "data.read.height=96",
    "image_size=32",
    "trainer=cpu",
    "trainer.max_epochs=1",
    "~callbacks.progress",
    "callbacks.figures.every_n_epochs=100",
    "callbacks.figures.num_images=2",
    "+trainer.enable_progress_bar=false",
    "+trainer.enable_model_summary=false",
    "encoder_weights=none",
    "encoder=test_efficientnet",  # with a fiftieth of the weights
)
"""Overrides of a run that takes seconds."""

LONG = (
    *("faults", "network", "launchers", "distributed", "docs", "ensemble", "crossfit", "resume", "demo"),
    *("fitting", "recipes", "report", "evaluate", "conf", "optuna_sweeper", "bench", "checks", "safe"),
    "review_page",
)
"""Files of tests that take longest. They begin first: one that begins last leaves other processes idle."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort files by how long they take."""
    places = {f"test_{name}": place for place, name in enumerate(LONG)}
    items.sort(key=lambda item: places.get(item.path.stem, len(LONG)))


def unfinished(stage: str) -> str:
    """``provenance.json`` of a run that was stopped."""
    texts = dict.fromkeys(("data", "split", "settings", "recipe"), "")
    numbers: dict[str, object] = {"fold": 0, "leave_out": None, "trained_on": [], "debug": False}
    return json.dumps({"stage": stage, **texts, **numbers, "guide": None, "upstream": {}, "finished": None})


def accept(folder: Path) -> None:
    """Let a run folder whose files a test has changed say that they are its own."""
    path = folder / "provenance.json"
    provenance = json.loads(path.read_text())
    files = {name: file_hash(folder / name) for name in provenance["files"] if (folder / name).is_file()}
    path.write_text(json.dumps({**provenance, "files": files}))


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache for the whole session: synthetic data is made once."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def configs(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., DictConfig]:
    """Compose small runs of three folds whose outputs stay for all tests of a module."""
    outputs = tmp_path_factory.mktemp("outputs")

    def composed(*overrides: str) -> DictConfig:
        paths = [f"cache_dir={cache}", f"output_dir={outputs}", *SMALL, "data.num_folds=3"]
        with hydra.initialize_config_dir(config_dir=str(conf_dir()), version_base="1.3"):
            return hydra.compose("train", overrides=[*paths, *overrides])

    return composed


@pytest.fixture(scope="session")
def shared_split(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> SharedSplit:
    """Three folds of a small hospital."""
    folder = make_synthetic(tmp_path_factory.mktemp("shared") / "hospital", (14, 15, 14), 64, 3)
    return share_split(find_data(str(folder)), cache_dir=cache, num_folds=3)


@pytest.fixture(scope="session")
def trained(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished classification run, guided by a finished segmentation run, both tiny."""
    from busi.training.fitting import fit  # what is imported before the tests has no shape checks

    outputs = tmp_path_factory.mktemp("trained")
    for stage in ("seg", "cls"):
        paths = [f"cache_dir={cache}", f"output_dir={outputs}", *SMALL, f"stage={stage}", "data.num_folds=3"]
        with hydra.initialize_config_dir(config_dir=str(conf_dir()), version_base="1.3"):
            fit(hydra.compose("train", overrides=paths), outputs / stage / "run")
    return outputs / "cls" / "run"


@pytest.fixture(scope="session")
def bundle(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run `trained` as a bundle."""
    from busi.inference.export import write_bundle

    folder = tmp_path_factory.mktemp("bundles") / "bundle"
    write_bundle(trained, folder)
    return folder


@pytest.fixture
def compose(cache: Path, tmp_path: Path) -> Callable[..., DictConfig]:
    """Compose a config whose paths lie in temporary folders."""

    def composed(*overrides: str) -> DictConfig:
        paths = [f"cache_dir={cache}", f"output_dir={tmp_path}/outputs"]
        with hydra.initialize_config_dir(config_dir=str(conf_dir()), version_base="1.3"):
            return hydra.compose("train", overrides=[*paths, *overrides])

    return composed


@pytest.fixture
def train(cache: Path, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run ``python -m busi.train`` in an empty folder."""

    def run(*arguments: str, **environment: str | None) -> subprocess.CompletedProcess[str]:
        told: dict[str, str | None] = {"BUSI_CACHE": str(cache), "COLUMNS": "160", **environment}
        return call("busi.train", *arguments, cwd=tmp_path, **told)

    return run
