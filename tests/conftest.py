"""Synthetic data and composed configs that many tests share."""

import gc
import importlib
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import hydra
import pytest
from filelock import FileLock
from omegaconf import DictConfig

from tests.processes import call, no_wait

if TYPE_CHECKING:
    from busi.data.shared_split import SharedSplit
    from busi.runs.run import Run

os.fsync = no_wait  # type: ignore[assignment]

# Threads that wait for each other make networks of this size many times slower on a busy machine. Libraries
# read this when they are imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A million objects of libraries would be searched for garbage again and again.
gc.set_threshold(100_000, 20, 20)

Compose = Callable[..., DictConfig]
Fitted = Callable[..., "Run"]

HEAVY = ("albumentations", "lightning", "segmentation_models_pytorch", "sklearn.metrics", "torchmetrics")
"""They go before busi: while one of its modules is imported, the hook that checks shapes reads all others
without their cached bytecode."""

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


def pytest_configure(config: pytest.Config) -> None:
    """Import what the tests need, but not in the process that only hands them to others."""
    if not config.getoption("numprocesses", None):
        for name in HEAVY:
            importlib.import_module(name)


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
    from busi.core.files import file_hash

    path = folder / "provenance.json"
    provenance = json.loads(path.read_text())
    files = {name: file_hash(folder / name) for name in provenance["files"] if (folder / name).is_file()}
    path.write_text(json.dumps({**provenance, "files": files}))


def of_fold(fold: int) -> list[str]:
    """What a run of this fold asks for, as those of the first one ask for nothing."""
    return [f"data.fold={fold}"] if fold else []


def of_seed(seed: int) -> list[str]:
    """As `of_fold`, of the seed of a training."""
    return [f"seed={seed}"] if seed else []


def compose_run(*overrides: str) -> DictConfig:
    """Compose the config of ``python -m busi.train``."""
    from busi.core.building import open_configs

    with open_configs():
        return hydra.compose("train", overrides=list(overrides))


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of the whole session: that of all its processes."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture(scope="session")
def cache(shared: Path) -> Path:
    """One cache for the whole session: synthetic data is made once."""
    folder = shared / "cache"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="module")
def configs(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., DictConfig]:
    """Compose small runs of three folds whose outputs stay for all tests of a module."""
    outputs = tmp_path_factory.mktemp("outputs")

    def composed(*overrides: str) -> DictConfig:
        paths = [f"cache_dir={cache}", f"output_dir={outputs}", *SMALL, "data.num_folds=3"]
        return compose_run(*paths, *overrides)

    return composed


@pytest.fixture(scope="session")
def shared_split(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> "SharedSplit":
    """Three folds of a small hospital."""
    from busi.data.catalog import find_data
    from busi.data.shared_split import share_split
    from busi.data.synthetic import make_synthetic

    folder = make_synthetic(tmp_path_factory.mktemp("shared") / "hospital", (14, 15, 14), 64, 3)
    return share_split(find_data(str(folder)), cache_dir=cache, num_folds=3)


@pytest.fixture(scope="session")
def fitted(cache: Path, shared: Path) -> Fitted:
    """Finished runs of three folds, tiny, each trained once for all tests: none may change them.

    It takes the stage and overrides, e.g. ``fitted("cls", "guide=empty")``. What guides is
    ``fitted("seg")``.
    """
    from busi.runs.run import open_run
    from busi.training.fitting import fit

    outputs = shared / "fitted"
    outputs.mkdir(exist_ok=True)

    def made(stage: str, *overrides: str) -> "Run":
        more = []
        if stage == "cls":
            guided = not any(text.startswith("guide=") for text in overrides)
            more = [f"seg_ckpt={made('seg').folder if guided else 'nowhere'}"]
        name = re.sub(r"[^\w.=,-]", "-", "_".join(overrides)) or "run"
        folder = outputs / stage / name
        with FileLock(outputs / f"{stage}_{name}.lock"):
            if not (folder / "metrics.json").exists():
                shutil.rmtree(folder, ignore_errors=True)  # of a training that failed
                paths = [f"cache_dir={cache}", f"output_dir={outputs}", *SMALL, "data.num_folds=3"]
                fit(compose_run(*paths, f"stage={stage}", *more, *overrides), folder)
        return open_run(folder)

    return made


@pytest.fixture(scope="session")
def trained(fitted: Fitted) -> Path:
    """A finished classification run, guided by a finished segmentation run."""
    return fitted("cls").folder


@pytest.fixture(scope="session")
def bundle(trained: Path, shared: Path) -> Path:
    """The run `trained` as a bundle."""
    from busi.inference.export import write_bundle

    folder = shared / "bundles" / "bundle"
    with FileLock(shared / "bundle.lock"):
        if not folder.exists():
            write_bundle(trained, folder)
    return folder


@pytest.fixture
def compose(cache: Path, tmp_path: Path) -> Callable[..., DictConfig]:
    """Compose a config whose paths lie in temporary folders."""

    def composed(*overrides: str) -> DictConfig:
        return compose_run(f"cache_dir={cache}", f"output_dir={tmp_path}/outputs", *overrides)

    return composed


@pytest.fixture
def train(cache: Path, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run ``python -m busi.train`` in an empty folder."""

    def run(*arguments: str, **environment: str | None) -> subprocess.CompletedProcess[str]:
        told: dict[str, str | None] = {"BUSI_CACHE": str(cache), "COLUMNS": "160", **environment}
        return call("busi.train", *arguments, cwd=tmp_path, **told)

    return run
