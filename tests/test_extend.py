"""The page on adding things: its six examples as they stand there, in a package of one's own and in busi."""

import csv
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import SMALL
from tests.data.test_own_reader import PAGE, write_export

ROOT = Path(__file__).parents[1]
ROOMS = dict(re.findall(r"\| \[an? ((?!stage)[a-z ]+)\]\(#[a-z-]+\) \| `busi/(\w+)/`", PAGE))
(CHOICES,) = re.findall(r"this is a training with all of them: `([^`]+)`", PAGE)


def examples() -> list[tuple[str, str, str, str, str]]:
    """Title, room, code, name of the config below its folder, and config of each example of the page."""
    found = []
    for section in PAGE.split("\n## ")[1:]:
        title = section.splitlines()[0].partition(" ")[2]
        codes, configs = (
            re.findall(rf"```{kind}\n(.*?)```", section, re.DOTALL) for kind in ("python", "yaml")
        )
        if codes:
            (name,) = re.findall(r"`my/([\w/]+\.yaml)`[^`]*(?:`[^`]+`[^`]*)?\n\n```yaml", section)
            found.append((title, ROOMS[title], codes[0], name, configs[0]))
    return found


def train(folder: Path, *arguments: str) -> None:
    """Train a little on the export, with all examples, and look for what each leaves."""
    write_export(folder)
    small = [text for text in SMALL if not text.startswith(("data", "encoder"))]
    places = [f"cache_dir={folder}/cache", "hydra.run.dir=out", "data.num_folds=3", "test=true"]
    done = subprocess.run(
        [sys.executable, "-m", "busi.train", *shlex.split(CHOICES), *arguments, *small, *places],
        cwd=folder,
        env={**os.environ, "MINE_ROOT": str(folder / "export"), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    with (folder / "out" / "log" / "metrics.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert 0 <= float(row["val/recall_net"]) <= 1
    assert float(row["seconds"]) > 0
    rows = (folder / "out" / "split.csv").read_text().splitlines()
    assert len(rows) == 37
    assert all(",mine," in one for one in rows[1:])
    config = (folder / "out" / "config.yaml").read_text()
    names = ("SmallNet", "DiceLoss", "Shadow", "read_mine", "SegWithRecall", "Stopwatch")
    assert all(f".{name}\n" in config for name in names)


def test_the_page_has_the_six_examples() -> None:
    assert [title for title, *_ in examples()] == list(ROOMS)
    assert list(ROOMS) == ["model", "loss", "augmentation", "data set", "metric", "callback"]


@pytest.mark.slow
def test_the_examples_work_outside_of_busi(tmp_path: Path) -> None:
    for _, _, code, name, config in examples():
        with (tmp_path / "my_package.py").open("a") as file:
            file.write(f"{code}\n")
        path = tmp_path / "my" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(config)
    train(tmp_path, "--config-dir", "my", "trust=[my_package]")


@pytest.mark.slow
def test_the_examples_work_inside_of_busi(tmp_path: Path) -> None:
    """In a copy of the repository, and without anybody's trust."""
    for folder in ("busi", "conf"):
        ignored = shutil.ignore_patterns("__pycache__", "*.onnx")
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=ignored)
    for _, room, code, name, config in examples():
        file = f"own_{Path(name).stem}"
        (tmp_path / "busi" / room / f"{file}.py").write_text(code)
        with (tmp_path / "busi" / room / "__init__.pyi").open("a") as names:
            for one in re.findall(r"(?m)^(?:class|def) (\w+)", code):
                names.write(f"from .{file} import {one} as {one}\n")
        path = tmp_path / "conf" / name
        assert not path.exists()
        path.write_text(config.replace("my_package.", f"busi.{room}."))
    train(tmp_path)
