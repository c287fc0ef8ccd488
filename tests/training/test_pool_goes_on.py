"""Where the data sets of a pool are, for a run that goes on and in the command that a user is told."""

import shlex
from functools import partial
from pathlib import Path

import pytest

from busi.core import InputError
from busi.data.catalog import name_sources
from busi.data.datamodule import BUSIDataModule
from busi.data.manifest import read_csv
from busi.guides.upstream import seg_command
from busi.runs.run import Run
from busi.training.arguments import quote_paths
from busi.training.fitting import resolve
from busi.training.resuming import read_changes, settings_to_go_on
from tests.conftest import Compose
from tests.data.test_pool import write
from tests.made_runs import make_run


@pytest.fixture
def roots(tmp_path: Path) -> dict[str, Path]:
    return {name: write(tmp_path / name, (1, 1, 1), 0) for name in ("a", "b", "c")}


@pytest.fixture
def run(compose: Compose, tmp_path: Path) -> Run:
    return make_run(tmp_path / "run", compose("stage=seg"))


def test_data_sets_of_a_pool_may_have_moved(compose: Compose, roots: dict[str, Path], run: Run) -> None:
    there = f"data.sources={{busi: {roots['a']}, busbra: {roots['b']}}}"
    for said in ([there], [there, "data.hold_out=busi"]):
        changes = read_changes(resolve(compose(*said), run.folder), said)
        cfg = settings_to_go_on(run, changes)
        assert {name: one.root for name, one in cfg.data.sources.items()} == {
            "busi": str(roots["a"]),
            "busbra": str(roots["b"]),
        }


@pytest.mark.parametrize("said", ["data.root={a}", "data.sources={{busi: {a}, c: {c}}}", "data.hold_out={c}"])
def test_other_data_sets_are_refused(compose: Compose, roots: dict[str, Path], run: Run, said: str) -> None:
    text = said.format(**roots)
    changes = read_changes(resolve(compose(f"data.root={roots['a']}", text), run.folder), [text])
    with pytest.raises(InputError, match="with the data sets busi, busbra: say where the data is"):
        settings_to_go_on(run, changes)


def test_command_that_is_told_finds_the_same_data_sets(
    compose: Compose, roots: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BUSI_ROOT", str(roots["a"]))
    for said in (
        ["data=pooled", f"data.sources=[busi,{roots['b']}]", "data.hold_out=b", "data.folds=published"],
        ["data=busi", f"data.root={roots['c']}", f"data.train_only=[{roots['b']}]"],
    ):
        asked = name_sources(compose(*said).data)
        names = ("name", "folds", "train_only", "hold_out", "sources")
        data = BUSIDataModule(None, **{name: asked[name] for name in names})
        told = shlex.split(seg_command(data, debug=False))[3:]
        found = name_sources(compose(*told).data)
        for name in names:
            assert found[name] == asked[name]


def test_command_that_is_told_reads_the_same_manifest(compose: Compose, tmp_path: Path) -> None:
    root = tmp_path / "my table.csv"
    read = partial(read_csv, labels={"cancer": "malignant", "no change": "normal"})
    data = BUSIDataModule(root, name="csv", read=read, subset=7, on_bad="skip")
    told = quote_paths(shlex.split(seg_command(data, debug=False))[3:])
    found = compose(*told).data
    assert (found.root, found.subset, found.on_bad, found.conflicts) == (str(root), 7, "skip", "drop")
    assert found.read.labels == read.keywords["labels"]
    assert "data.root" not in seg_command(BUSIDataModule(Path(compose().data.root).absolute()), debug=False)
