"""A data set is one function and one file: those of the page, in a package beside busi."""

import importlib
import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from busi.core.tables import read_table
from busi.core.types import CLASSES
from busi.data.manifest import read_csv
from tests.data.conftest import draw, lesion, save
from tests.data.published import write_bus_uc
from tests.processes import call

PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "extend.md").read_text()
APP = """
import json
import hydra
from busi.core import conf_dir, trust
from busi.data.catalog import find_data, name_sources
from busi.data.pool import read_sources

@hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name="train")
def main(cfg):
    trust(*cfg.trust)
    alone = find_data("mine")
    pool = name_sources(cfg.data).sources
    for records, problems in (alone.open(), read_sources(pool)):
        print(json.dumps([[x.id, x.source, x.label] for x in records] + [[x.id, x.kind] for x in problems]))
    print(json.dumps({name: one.read["_target_"] for name, one in pool.items()}))

main()
"""
"""What a command does to find its data, without the rest of the command."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The package and the config of the page, and an export of 36 images."""
    section = PAGE.split("## A data set\n")[1].split("\n## ")[0]
    code, manifest = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    (config,) = re.findall(r"```yaml\n(.*?)```", section, re.DOTALL)
    (tmp_path / "my_package.py").write_text(code)
    (tmp_path / "write_manifest.py").write_text(manifest)
    (tmp_path / "my" / "data").mkdir(parents=True)
    (tmp_path / "my" / "data" / "mine.yaml").write_text(config)
    (tmp_path / "app.py").write_text(APP)
    return write_export(tmp_path)


def write_export(folder: Path) -> Path:
    """An export of 36 images below a folder, which is returned."""
    masks = folder / "export" / "masks"
    masks.mkdir(parents=True)
    rows = ["file,class,person"]
    for label, name in enumerate(CLASSES):
        for number in range(12):
            save(folder / "export" / f"{name}{number}.png", draw(900 + 100 * label + number))
            if label:
                save(masks / f"{name}{number}.png", lesion())
            rows.append(f"{name}{number}.png,{name},{name}{number // 2}")
    (folder / "export" / "table.csv").write_text("\n".join(rows) + "\n")
    return folder


def run(folder: Path, *arguments: str, **environment: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": f"{folder}:{Path(__file__).parents[2]}", **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_one_function_and_one_file_are_a_data_set_alone_and_in_a_pool(folder: Path) -> None:
    (folder / "export" / "malignant11.png").unlink()
    mine = ("app.py", "--config-dir", "my", "trust=[my_package]", "hydra.run.dir=out")
    roots = {"MINE_ROOT": str(folder / "export"), "BUS_UC_ROOT": str(write_bus_uc(folder / "uc"))}
    printed = run(folder, *mine, "data=pooled", "data.sources=[bus_uc,mine]", **roots)
    alone, together, readers = map(json.loads, printed)
    expected = [[f"{name}{k}", "mine", label] for label, name in enumerate(CLASSES) for k in range(12)][:-1]
    assert alone == [*expected, ["malignant11", "no such file"]]
    assert together[6:] == alone
    assert {row[1] for row in together[:6]} == {"bus_uc"}
    assert readers == {"bus_uc": "busi.data.read_bus_uc", "mine": "my_package.read_mine"}


@pytest.mark.parametrize(
    ("command", "arguments", "made"),
    [
        ("audit", ("mine", "--output", "out"), "groups.csv"),
        ("split", ("--data", "mine", "--to", "csv", "--num-folds", "3", "--output", "out"), "split.csv"),
        ("convert", ("mine", "--to", "labelme", "--output", "out"), "cases.csv"),
    ],
)
def test_other_commands_know_a_data_set_of_ones_own(
    folder: Path, cache: Path, command: str, arguments: tuple[str, ...], made: str
) -> None:
    (folder / "my").rename(folder / "it's my, own")
    own = ("--config-dir", "it's my, own", "--trust", "my_package")
    root = {"MINE_ROOT": str(folder / "export"), "BUSI_CACHE": str(cache)}
    done = call(f"busi.{command}", *arguments, *own, cwd=folder, **root)
    assert done.returncode == 0, done.stderr
    assert len(read_table(folder / "out" / made)) == 36


def test_a_folder_in_the_layout_of_ones_own_is_recognized(folder: Path) -> None:
    own = ("--config-dir", "my", "--trust", "my_package")
    done = call("busi.convert", "export", *own, "--to", "labelme", "--output", "out", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert len(read_table(folder / "out" / "cases.csv")) == 36


@pytest.mark.parametrize(
    ("own", "words"),
    [
        ((), "nor data of that name"),
        (("--config-dir", "no"), "error: --config-dir no: there is no such folder"),
        (("--config-dir", "my"), "my_package.read_mine is nothing that a config may build there"),
    ],
)
def test_a_data_set_of_ones_own_needs_its_config_and_trust(
    folder: Path, own: tuple[str, ...], words: str
) -> None:
    done = call(
        "busi.split", "--data", "mine", "--to", "csv", "--output", "out", *own, cwd=folder, MINE_ROOT="x"
    )
    assert done.returncode == 1
    assert words in done.stderr
    assert not (folder / "out").exists()


def test_the_manifest_of_an_own_reader_has_the_same_images(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(folder, "write_manifest.py")
    monkeypatch.syspath_prepend(folder)
    expected, _ = importlib.import_module("my_package").read_mine(folder / "export")
    found, problems = read_csv(folder / "mine.csv")
    assert not problems
    theirs, ours = ({one.id: replace(one, source="") for one in records} for records in (found, expected))
    assert theirs == ours
