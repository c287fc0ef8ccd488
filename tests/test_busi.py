"""The commands under one name: ``busi COMMAND``."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from busi import __main__ as busi
from busi.__main__ import COMMANDS

HEAVY = ("torch", "numpy", "sklearn", "scipy", "matplotlib", "cv2", "pydicom")


def run(*arguments: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """A new interpreter, which cannot import anything heavy."""
    for name in HEAVY:
        (folder / f"{name}.py").write_text(f"raise RuntimeError('{name} was imported')")
    path = os.pathsep.join([str(folder), *sys.path])
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        env={**os.environ, "PYTHONPATH": path, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_every_command_is_listed() -> None:
    folder = Path(busi.__file__).parent
    modules = {path.stem for path in folder.glob("*.py") if not path.stem.startswith("__")}
    assert set(COMMANDS) == modules
    listed = busi.list_commands()
    for name in COMMANDS:
        assert f"  {name:<10}{busi.describe(name)}\n" in listed
    assert "`" not in listed


@pytest.mark.parametrize("command", COMMANDS)
def test_help_imports_nothing_heavy_and_has_examples(command: str, tmp_path: Path) -> None:
    done = run("busi", command, "--help", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "`" not in done.stdout
    assert "examples:" in done.stdout.lower()
    assert f"busi {command}" in done.stdout or command == "train"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("report nowhere --output x", "nowhere does not exist: give a run folder"),
        ("evaluate nowhere --data busi --output x", "nowhere does not exist: give a run folder"),
        ("ensemble nowhere --output x", "nowhere does not exist: give a run folder"),
        ("export nowhere --output x", "nowhere does not exist: give a run folder"),
        ("demo --run nowhere", "nowhere does not exist: give a run folder"),
        ("demo --port 70000", "70000: give a whole number from 0 to 65535"),
        ("report x --ouput y", "there is no --ouput: did you mean --output?"),
        ("train +fold=1", "fold is no setting: did you mean data.fold?"),
    ],
)
def test_a_wrong_argument_is_one_line_before_anything_heavy(
    arguments: str, words: str, tmp_path: Path
) -> None:
    done = run("busi", *arguments.split(), folder=tmp_path)
    assert done.returncode in (1, 2)
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert words in line


@pytest.mark.parametrize(
    ("typed", "words"), [("pridict", "did you mean predict?"), ("x\n", "give one of train, predict")]
)
def test_a_command_that_is_none(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], typed: str, words: str
) -> None:
    monkeypatch.setattr(sys, "argv", ["busi", typed])
    with pytest.raises(SystemExit) as ended:
        busi.main()
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert words in line


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("busi re", {"report"}),
        ("busi report --pa", {"--partial"}),
        ("busi evaluate --on-bad ", {"error", "skip"}),
        (
            "busi train stage=cls model=guide_",
            {f"model=guide_{name}" for name in ("described", "early", "late", "views")},
        ),
        ("busi train data.ro", {"data.root="}),
        ("busi train resume=here", {"resume=here/"}),
        ("busi train data.root=~/he", {"data.root=~/here/"}),
        ("busi train stage=cls loss=", {"loss=cross_entropy", "loss=focal"}),
        ("busi train loss=focal", {"loss=focal", "loss=focal_tversky"}),
        ("busi train callbacks=[default,ea", {r"callbacks=\[default,early_stopping"}),
        ("busi evaluate --data bu", {"buid", "bus_uc", "busbra", "busi", "busuclm"}),
        ("busi audit he", {"here/"}),
        ("busi train --cfg ", {"job", "hydra", "all"}),
    ],
)
def test_a_shell_completes_what_is_typed(line: str, offered: set[str], tmp_path: Path) -> None:
    """As argcomplete's script asks: the answer comes through file descriptor 8."""
    pytest.importorskip("argcomplete")
    (tmp_path / "here").mkdir()
    answer = tmp_path / "answer"
    environment = {
        "_ARGCOMPLETE": "1",
        "_ARGCOMPLETE_IFS": "\n",
        "_ARGCOMPLETE_STDOUT_FILENAME": str(answer),
        "_ARGCOMPLETE_SUPPRESS_SPACE": "1",
        "HOME": str(tmp_path),
        "COMP_LINE": line,
        "COMP_POINT": str(len(line)),
        "COMP_TYPE": "9",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    subprocess.run(
        [sys.executable, "-m", "busi"], cwd=tmp_path, env={**os.environ, **environment}, check=True
    )
    assert set(answer.read_text().split("\n")) == offered
