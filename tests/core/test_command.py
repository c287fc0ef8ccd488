"""What all commands share: one line for an error, whatever the terminal can show."""

import argparse
import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from busi.core.arguments import path_argument
from busi.core.command import missing_package, run_command
from busi.core.files import conf_dir, expand
from busi.core.silence import FOLDERS
from busi.core.text import quote_path
from busi.core.types import InputError
from busi.core.words import join_labels, labels_argument
from busi.data.synthetic import make_synthetic
from busi.training.arguments import PATHS, quote_paths, unquote
from docs.tables import COMMANDS, parser_of
from tests.processes import call

CODE = """
import logging, os
from busi.core import InputError, run_command
def main():
    logging.info("image %s", os.fsdecode(b"caf\\xe9 \\xc3\\xa4"))
    print(os.fsdecode(b"caf\\xe9 \\xc3\\xa4"))
    raise InputError("no such file: a\\nb " + os.fsdecode(b"\\xe9"))
run_command(main)
"""


@pytest.mark.parametrize(
    "environment",
    [{"PYTHONIOENCODING": "ascii"}, {"PYTHONIOENCODING": "utf-8:strict"}, {"LC_ALL": "C", "PYTHONUTF8": "0"}],
)
def test_no_encoding_of_the_terminal_ends_a_command(environment: dict[str, str]) -> None:
    kept = {name: x for name, x in os.environ.items() if not name.startswith(("LC_", "LANG", "PYTHON"))}
    done = subprocess.run(
        [sys.executable, "-c", CODE], env={**kept, **environment}, capture_output=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.decode() == "error: no such file: a\\nb \\xe9\n"
    assert done.stdout.count(b"caf\\udce9") == 2


@pytest.mark.parametrize("command", COMMANDS)
def test_every_path_of_every_command_is_checked(command: str) -> None:
    """Bare texts are patterns, words, names of packages or DICOM elements, and data that may have a name."""
    actions = [one for one in parser_of(command)._actions if not isinstance(one, argparse._HelpAction)]
    bare = {one.dest for one in actions if one.type is None and one.nargs != 0 and one.choices is None}
    named = {"input", "data", "root", "source", "calibrate_on"}
    assert bare <= named | {"trust", "header", "labels", "columns"}
    assert Path not in {one.type for one in actions}


@pytest.mark.parametrize("empty", ["", " ", "\t"])
@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        ("predict", ["in", "--output", ""]),
        ("predict", ["in", "--output", "out", "--run", ""]),
        ("evaluate", ["", "--data", "data", "--output", "out"]),
        ("evaluate", ["run", "--data", "data", "--output", "out", "--cache", ""]),
        ("ensemble", ["run", "", "--output", "out"]),
        ("ensemble", ["run", "--output", "out", "--data", ""]),
        ("report", ["", "--output", "out"]),
        ("report", ["run", "--output", ""]),
        ("audit", ["root", "--output", ""]),
        ("convert", ["in", "--output", ""]),
        ("split", ["--data", "data", "--to", "csv", "--output", ""]),
        ("score", ["", "--data", "data", "--output", "out"]),
        ("audit", ["root", "--output", "out", "--cache", ""]),
        ("export", ["run", "--output", ""]),
        ("demo", ["--run", ""]),
        ("bench", ["--json", ""]),
    ],
)
def test_an_empty_path_is_not_the_current_folder(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: str,
    arguments: list[str],
    empty: str,
) -> None:
    """As ``--output "$FOLDER"`` is where nobody set that variable."""
    monkeypatch.setattr(sys, "argv", [command, *(text or empty for text in arguments)])
    with pytest.raises(SystemExit) as ended:
        importlib.import_module(f"busi.{command}").main()
    assert ended.value.code == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert re.fullmatch(r"error: argument \S+: is empty: give a path \(.* --help shows the arguments\)", last)


@pytest.mark.parametrize("name", PATHS)
def test_an_empty_path_of_a_training_is_not_the_current_folder(name: str) -> None:
    for text in ("", " ", "''", '" "'):
        with pytest.raises(InputError, match=f"{name}= is empty: give a path, or leave it out"):
            quote_paths(["stage=seg", f"{name}={text}"])
    for path in ("a b", "it's", "a=b", "ä[1]", "back\\slash\\"):
        (quoted,) = quote_paths([f"{name}={path}"])
        assert quoted == f"{name}={quote_path(path)}"
        assert unquote(quoted.partition("=")[2]) == path


def test_a_tilde_is_the_home_folder_in_every_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A shell leaves it in ``--output=~/x``."""
    monkeypatch.setenv("HOME", str(tmp_path))
    assert path_argument("~/x") == tmp_path / "x"
    with pytest.raises(argparse.ArgumentTypeError, match="there is no such home folder"):
        path_argument("~nobody-of-this-name/x")


def test_results_go_to_the_home_folder(tmp_path: Path) -> None:
    make_synthetic(tmp_path / "data", (10, 10, 10), 64, 0)
    (tmp_path / "here").mkdir()
    done = call("busi.audit", "~/data", "--output=~/out", cwd=tmp_path / "here", HOME=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "index.html").is_file()
    assert not any((tmp_path / "here").iterdir())


def test_a_path_is_taken_as_it_is() -> None:
    assert path_argument(" a b") == Path(" a b")


@pytest.mark.parametrize(
    ("text", "pairs"),
    [
        ("cancer=malignant", [("cancer", "malignant")]),
        ("Cancer = Malignant, fibroadenoma=benign,", [("Cancer", "malignant"), ("fibroadenoma", "benign")]),
        ("a, b=benign,grade=3=malignant", [("a, b", "benign"), ("grade=3", "malignant")]),
        ("{Cancer: Malignant, a b: benign}", [("Cancer", "malignant"), ("a b", "benign")]),
        ("{grade=3: malignant}", [("grade=3", "malignant")]),
    ],
)
def test_words_of_a_manifest_are_given_their_classes(text: str, pairs: list[tuple[str, str]]) -> None:
    assert labels_argument(text) == pairs


@pytest.mark.parametrize(
    "text", ["", ",", "cancer", "=benign", "cancer=bad", "a=benign,b", "a=benign,b=2", "{a: 2}", "{a: }"]
)
def test_words_without_a_class_say_what_to_give(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="give each word and its class"):
        labels_argument(text)


def test_a_word_means_one_class() -> None:
    assert join_labels([("a", "benign"), ("b", "benign"), ("a", "benign")]) == dict.fromkeys("ab", "benign")
    with pytest.raises(InputError, match="a cannot mean benign and malignant"):
        join_labels([("a", "benign"), ("a", "malignant")])


def test_an_empty_variable_is_none() -> None:
    """Or it is refused: an empty root of data is no folder."""
    lines = [line for path in conf_dir().rglob("*.yaml") for line in path.read_text().splitlines()]
    read = {line.partition(":")[0]: re.findall(r"oc\.env:(\w+)", line) for line in lines if "oc.env" in line}
    assert {name for key, names in read.items() if key != "root" for name in names} <= set(FOLDERS)
    with pytest.raises(InputError, match="is empty: give a path"):
        expand("")
    program = (
        "import os; os.environ.update(dict.fromkeys(('BUSI_ROOT', 'BUSI_CACHE', 'HOME'), ' '))\n"
        "from busi.core import conf_dir, default_cache_dir\n"
        "import hydra\n"
        "with hydra.initialize_config_dir(config_dir=str(conf_dir()), version_base='1.3'):\n"
        "    cfg = hydra.compose('train')\n"
        "print(cfg.cache_dir, cfg.data.root, default_cache_dir().is_absolute())"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["~/.cache/busi", "data/Dataset_BUSI_with_GT", "True"]


@pytest.mark.parametrize("command", ["train", "predict"])
def test_windows_is_told_of_wsl(tmp_path: Path, command: str) -> None:
    """It has no fcntl."""
    code = "import runpy, sys; sys.modules['fcntl'] = None; sys.argv[1:] = ['a.png', '--output=out']; "
    code += f"runpy.run_module('busi.{command}', run_name='__main__')"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr == "error: commands of busi run on Linux and macOS; on Windows use WSL\n"


def test_a_package_that_is_missing_is_one_line() -> None:
    """As in a small installation; a module of busi is no package to install."""

    def need(name: str) -> None:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    with pytest.raises(SystemExit, match="^error: the package sklearn is not installed. "):
        run_command(lambda: need("sklearn.metrics"))
    with pytest.raises(ModuleNotFoundError):
        missing_package(ModuleNotFoundError("x", name="busi.nothing"))
