"""Every training command of the README, as it is typed there, on made data."""

import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from omegaconf import DictConfig
from PIL import Image

from busi.core.tables import read_table
from busi.core.types import CLASSES
from busi.data.synthetic import read_phantom
from tests.conftest import SMALL
from tests.data.test_dicom import write
from tests.inference.test_predictor import make_picture

Train = Callable[..., subprocess.CompletedProcess[str]]
ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, re.DOTALL)
COMMANDS = [
    (f"outputs{number}", shlex.split(line, comments=True)[3:])
    for number, (language, block) in enumerate(BLOCKS)
    if language == "bash"
    for line in block.splitlines()
    if line.startswith("python -m busi.train")
]


def oldest_run(folder: Path, pattern: str) -> Path:
    return min((path.parent for path in folder.glob(pattern)), key=lambda path: path.stat().st_mtime)


def write_manifest(folder: Path) -> None:
    """The manifest of the README's example, for made pictures."""
    records, _ = read_phantom(folder, num_benign=15, num_malignant=15, num_normal=15, height=64, seed=0)
    rows = [
        f"{record.image},{record.masks[0] if record.masks else ''},{CLASSES[record.label]},{record.id}"
        for record in records
    ]
    (folder / "manifest.csv").write_text("\n".join(["image,mask,label,group", *rows]))


@pytest.mark.slow
def test_training_commands_do_what_the_readme_says(train: Train, tmp_path: Path) -> None:
    assert len(COMMANDS) > 15
    write_manifest(tmp_path)
    small = [text for text in SMALL if not text.startswith(("data", "trainer=cpu"))]
    # The commands of one block belong together: each block has outputs of its own.
    for outputs, arguments in COMMANDS:
        places = {
            "outputs/seg/<time>": "outputs*/seg/*/metrics.json",
            "outputs/sweeps/<time>/0": "outputs*/sweeps/*/0/metrics.json",
        }
        filled = [
            text.replace(place, str(oldest_run(tmp_path, pattern)))
            for text in arguments
            for place, pattern in places.items()
            if place in text
        ]
        typed = [*(text for text in arguments if "<time>" not in text), *filled]
        words = " ".join(typed)
        options: list[str] = []
        if not any(word in words for word in ("resume=", "--help", "--cfg")):
            data = [] if "data=csv" in words else [text for text in SMALL if text.startswith("data")]
            options = [*data, "trainer=cpu", *small, f"output_dir={outputs}"]
        if "sweep=optuna" in words:
            options += ["hydra.sweeper.num_trials=1"]
        if "trainer=gpu" in words and not torch.cuda.is_available():
            options = ["--cfg", "job"]
        if "download=true" in words:
            options = ["data.root=x", "--cfg", "job"]
        done = train(*typed, *options)
        assert done.returncode == 0, f"{words}\n{done.stderr}"


def test_sweep_of_the_agent_composes(compose: Callable[..., DictConfig]) -> None:
    (text,) = (block for language, block in BLOCKS if language == "yaml")
    sweep = yaml.safe_load(text)
    chosen = {
        name: values["values"][-1] if "values" in values else values["min"]
        for name, values in sweep["parameters"].items()
    }
    assert sweep["command"][:3] == ["python", "-m", "busi.train"]
    assert sweep["command"][-1] == "${args_no_hyphens}"
    cfg = compose(*sweep["command"][3:-1], *(f"{name}={value}" for name, value in chosen.items()))
    assert cfg.optimizer.lr == 0.0001
    assert "noise" in cfg.augmentation
    assert cfg.test is False


def test_files_that_are_named_exist() -> None:
    named = set(re.findall(r"[\w/]+\.py\b", README)) - {"busi/models/x.py", "busi/modules/x.py"}
    assert len(named) > 20
    assert not [name for name in named if not list(ROOT.glob(f"busi/**/{name.removeprefix('busi/')}"))]


def test_crossval_is_the_commands_that_the_readme_lists(tmp_path: Path) -> None:
    """Both are run with a python that writes down what it is asked."""
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\necho "$@" >> "$ASKED"\n')
    python.chmod(0o755)
    (listed,) = (block for language, block in BLOCKS if language == "sh")
    crossval = ["make", "--old-file=install", "crossval", f"BIN={tmp_path}", "ARGS=experiment=quick"]
    for name, command in (("listed", ["bash", "-ec", listed]), ("made", crossval)):
        environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "ASKED": str(tmp_path / name)}
        subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True)
    assert (tmp_path / "listed").read_text() == (tmp_path / "made").read_text()


def test_prediction_commands_do_what_the_readme_says(trained: Path, tmp_path: Path) -> None:
    for path in ("scans/a1.png", "old/b.tif"):
        (tmp_path / path).parent.mkdir()
        Image.fromarray(make_picture(40, 50)).save(tmp_path / path)
    Image.fromarray(make_picture(60, 80)).save(tmp_path / "picture.png")
    (tmp_path / "more").mkdir()
    write(tmp_path / "more" / "a.dcm", make_picture(30, 40))
    done = []
    for language, block in BLOCKS:
        for line in block.splitlines() if language == "bash" else []:
            # What an untrained network loses in int8 is chance: tests/test_export.py tries it.
            if re.match(r"python -m busi\.(predict|export) ", line) and "int8" not in line:
                words = shlex.split(line.replace("outputs/cls/<time>", str(trained)), comments=True)
                if "--run bundle" in line:
                    words[-1] = "predictions of the bundle"
                result = subprocess.run(
                    [sys.executable, *words[1:]], cwd=tmp_path, capture_output=True, text=True, check=False
                )
                assert result.returncode == 0, (line, result.stderr)
                done.append(words[2])
    assert done == ["busi.predict", "busi.predict", "busi.export", "busi.export", "busi.predict"]
    names = [row["id"] for row in read_table(tmp_path / "predictions" / "predictions.csv")]
    assert names == ["a1", "a", "b"]
    (snippet,) = (block for language, block in BLOCKS if language == "python")
    code = snippet.replace("outputs/cls/<time>", str(trained)).replace("scans/", f"{tmp_path}/scans/")
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
