"""Every page: its commands do what it says, its links lead somewhere, its tables are those of the code."""

import argparse
import importlib
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
import yaml
from omegaconf import DictConfig
from PIL import Image

from busi.core.command import Parser
from busi.core.tables import read_table
from busi.core.types import CLASSES
from busi.data.synthetic import read_synthetic
from docs.tables import COMMANDS, TABLES, comment, pages, parser_of
from tests import processes
from tests.conftest import SMALL
from tests.data.published import write_busbra
from tests.data.test_dicom import write
from tests.inference.test_predictor import make_image

Train = Callable[..., subprocess.CompletedProcess[str]]
ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
TEXTS = {str(path.relative_to(ROOT)): path.read_text() for path in PAGES}


class Block(NamedTuple):
    """What stands between two fences of a page."""

    page: str
    number: int
    language: str
    text: str

    @property
    def commands(self) -> list[str]:
        """Its lines, if they are typed."""
        return self.text.replace("\\\n", " ").splitlines() if self.language in ("bash", "sh") else []


BLOCKS = [
    Block(page, number, language, text)
    for page, content in TEXTS.items()
    for number, (language, text) in enumerate(re.findall(r"```(\w+)\n(.*?)```", content, re.DOTALL))
]
TRAINING = [
    (block, shlex.split(line, comments=True)[3:])
    for block in BLOCKS
    if block.language == "bash"
    for line in block.commands
    if line.startswith("python -m busi.train")
]
PREDICT = "docs/how-to/predict-and-export.md"
(TINY,) = (text for text in SMALL if text.startswith("encoder="))
PLACEHOLDERS = {"busi/models/x.py", "busi/modules/x.py", "my_package.py"}
OLD = re.compile(
    r"""
    \bpictures?\b | phantom | calliper | mask_rule | \barms?\b | min_share | model\.mirror | \bmirrored\b
    | guide=annotated | guide=blank | `annotated` | `blank` | (?-i:\bFacts\b) | \bevidence\b | \bjudg
    | (?-i:\bDecisions\b) | \bpeaks?\b | sweep=optuna | conf/sweep/ | \bsquares\b | \bcopies\b
    | \breferral | \bparents?\b | area_px | `area_mm2 | EXPERIMENTS | bundled/
    | colour | optimiser | normalis | synchronis | \bgrey\b | licence | learnt | recognis | quantis | centre
    """,
    re.VERBOSE | re.IGNORECASE,
)
"""Words of earlier versions, and British spelling; only the changelog has them."""


def oldest_run(folder: Path, pattern: str) -> Path:
    return min((path.parent for path in folder.glob(pattern)), key=lambda path: path.stat().st_mtime)


def write_manifest(folder: Path) -> None:
    """The manifest of the pages' example, for synthetic images."""
    records, _ = read_synthetic(folder, num_benign=15, num_malignant=15, num_normal=15, height=64, seed=0)
    rows = [
        f"{record.image},{record.masks[0] if record.masks else ''},{CLASSES[record.label]},{record.id}"
        for record in records
    ]
    (folder / "manifest.csv").write_text("\n".join(["image,mask,label,patient", *rows]))


@pytest.mark.slow
@pytest.mark.parametrize("page", sorted({block.page for block, _ in TRAINING}))
def test_training_commands_do_what_the_page_says(train: Train, tmp_path: Path, page: str) -> None:
    write_manifest(tmp_path)
    busi = read_synthetic(tmp_path, 25, 20, 15, height=64, seed=0)[0][0].image.parents[1]
    write_busbra(tmp_path / "BUSBRA")
    own = [
        one.text
        for one in BLOCKS
        if one.page == page and one.language == "python" and "class Net" in one.text
    ]
    (tmp_path / "my_package.py").write_text("\n".join(own))
    small = [text for text in SMALL if not text.startswith(("data", "trainer=cpu", "encoder="))]
    # The commands of one block belong together: each block has outputs of its own.
    for block, arguments in TRAINING:
        if block.page != page:
            continue
        outputs = f"outputs{block.number}"
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
        # Two seeds or folds of a sweep do what all of them do; of several folds, those of one seed.
        shorter = [re.sub(r"^(seed|data\.fold)=(\d+,\d+),.*", r"\1=\2", text) for text in arguments]
        if any(re.match(r"data\.fold=\d+,", text) for text in shorter):
            shorter = [re.sub(r"^seed=(\d+),.*", r"seed=\1", text) for text in shorter]
        typed = [*(text for text in shorter if "<time>" not in text), *filled]
        for text in typed:
            if text.startswith("data.root=") and not (manifest := tmp_path / text.partition("=")[2]).exists():
                manifest.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(tmp_path / "manifest.csv", manifest)
        words = " ".join(typed)
        options: list[str] = []
        if not any(word in words for word in ("resume=", "--help", "--cfg")):
            data = [] if "data=csv" in words else [text for text in SMALL if text.startswith("data")]
            if "data=busbra" in words or "data=pooled" in words:
                data = ["data.num_folds=3"]
            options = [*data, "trainer=cpu", *small, f"output_dir={outputs}"]
            if not any(text.startswith(("encoder", "experiment=", "model=")) for text in typed):
                options.append(TINY)
        if "search=optuna" in words:
            options += ["hydra.sweeper.num_trials=1"]
        if "trainer=gpu" in words and not torch.cuda.is_available():
            options = ["--cfg", "job"]
        if "download=true" in words:
            options = ["data.root=x", "--cfg", "job"]
        done = train(*typed, *options, BUSI_ROOT=str(busi), BUSBRA_ROOT=str(tmp_path / "BUSBRA"))
        assert done.returncode == 0, f"{words}\n{done.stderr}"


def test_there_are_as_many_training_commands_as_there_were() -> None:
    assert len(TRAINING) > 25
    assert len({" ".join(arguments) for _, arguments in TRAINING}) > 20


def test_brackets_are_quoted() -> None:
    """A shell reads brackets as patterns, and zsh refuses those that match no file."""
    typed = [line for block in BLOCKS for line in block.commands if line.startswith("python")]
    bare = [re.sub(r"'[^']*'|\"[^\"]*\"", "", line.partition(" #")[0]) for line in typed]
    assert not [line for line, left in zip(typed, bare, strict=True) if re.search(r"[][{}*?]| ~\w", left)]


def test_sweep_of_the_agent_composes(compose: Callable[..., DictConfig]) -> None:
    (text,) = (block.text for block in BLOCKS if block.language == "yaml" and "method:" in block.text)
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
    named = {name for text in TEXTS.values() for name in re.findall(r"[\w./-]+\.py\b", text)} - PLACEHOLDERS
    assert len(named) > 60
    assert not [name for name in named if not [*ROOT.glob(name), *ROOT.glob(f"busi/**/{name}")]]
    folders = {
        name for text in TEXTS.values() for name in re.findall(r"`((?:busi|conf|tests|docs)/[\w/]*/)`", text)
    }
    assert len(folders) > 10
    assert not [name for name in folders if not (ROOT / name).is_dir()]


def test_classes_that_are_named_exist() -> None:
    """But for those of examples, which a reader would write."""
    named = {
        name
        for block in BLOCKS
        if block.language == "yaml"
        for name in re.findall(r"_target_: (\S+)", block.text)
    }
    assert len(named) > 3
    for name in (name for name in named if not name.startswith("my_package.")):
        module, _, attribute = name.rpartition(".")
        assert hasattr(importlib.import_module(module), attribute), name


def test_crossval_is_the_commands_that_the_page_lists(tmp_path: Path) -> None:
    """Both are run with a python that writes down what it is asked."""
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\necho "$@" >> "$ASKED"\n')
    python.chmod(0o755)
    page = "docs/how-to/cross-validate.md"
    (listed,) = (block.text for block in BLOCKS if block.page == page and block.language == "sh")
    crossval = ["make", "--old-file=install", "crossval", f"BIN={tmp_path}", "ARGS=experiment=quick"]
    for name, command in (("listed", ["bash", "-ec", listed]), ("made", crossval)):
        environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "ASKED": str(tmp_path / name)}
        subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True)
    assert (tmp_path / "listed").read_text() == (tmp_path / "made").read_text()


@pytest.mark.parametrize(
    "page", ["README.md", "docs/getting-started.md", "docs/how-to/predict-and-export.md"]
)
def test_prediction_commands_do_what_the_page_says(trained: Path, tmp_path: Path, page: str) -> None:
    for path in ("scans/a1.png", "old/b.tif"):
        (tmp_path / path).parent.mkdir()
        Image.fromarray(make_image(40, 50)).save(tmp_path / path)
    Image.fromarray(make_image(60, 80)).save(tmp_path / "image.png")
    (tmp_path / "more").mkdir()
    write(tmp_path / "more" / "a.dcm", make_image(30, 40))
    done = []
    for line in (line for block in BLOCKS if block.page == page for line in block.commands):
        # What an untrained network loses in int8 is chance: tests/test_export.py tries it.
        if re.match(r"python -m busi\.(predict|export) ", line) and "int8" not in line:
            words = shlex.split(line.replace("outputs/cls/<time>", str(trained)), comments=True)
            if "--run bundle" in line:
                words[-1] = "predictions of the bundle"
            result = processes.call(*words[2:], cwd=tmp_path)
            assert result.returncode == 0, (line, result.stderr)
            done.append(words[2])
    assert (tmp_path / "answers" / "predictions.csv").exists()
    if page != PREDICT:
        assert done == ["busi.predict"]
        return
    assert done == ["busi.predict", "busi.predict", "busi.export", "busi.export", "busi.predict"]
    names = [row["id"] for row in read_table(tmp_path / "predictions" / "predictions.csv")]
    assert names == ["a1", "a", "b"]
    (snippet,) = (block.text for block in BLOCKS if block.page == page and block.language == "python")
    code = snippet.replace("outputs/cls/<time>", str(trained)).replace("scans/", f"{tmp_path}/scans/")
    (tmp_path / "snippet.py").write_text(code)
    result = processes.call("snippet", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "overlay.png").exists()


def test_the_notebook_does_what_the_page_says(trained: Path, cache: Path, tmp_path: Path) -> None:
    """On small synthetic data, with the segmentation run that it names."""
    root = read_synthetic(cache / "synthetic", 25, 20, 15, height=96, seed=0)[0][0].image.parents[1]
    seg = trained.parents[1] / "seg" / "run"
    filled = {
        '"data/Dataset_BUSI_with_GT", image_size=128': f'"{root}", image_size=32, num_folds=3',
        '"outputs/seg/<time>"': f'"{seg}"',
        "max_epochs=10": "max_epochs=1",
    }
    snippets = [
        block.text
        for block in BLOCKS
        if block.page == "docs/getting-started.md" and block.language == "python"
    ]
    assert len(snippets) == 2
    for number, code in enumerate(snippets):
        for words, small in filled.items():
            code = code.replace(words, small)
        assert "image_size=32" in code
        assert "max_epochs=1)" in code
        (tmp_path / f"cell{number}.py").write_text(code)
        result = processes.call(f"cell{number}", cwd=tmp_path, BUSI_CACHE=str(cache))
        assert result.returncode == 0, result.stderr


def test_columns_of_predictions_are_those_that_the_pages_name(trained: Path) -> None:
    listed = TEXTS["docs/reference/run-folder.md"].partition("## Columns")[2].partition("## Names")[0]
    named = set(re.findall(r"`([\w<>]+)`", re.sub(r"(?m)^(\|[^|]*\|[^|]*\|).*$", r"\1", listed)))
    spelled = {name.replace("<class>", one) for name in named for one in CLASSES}
    for run in (trained, trained.parents[1] / "seg" / "run"):
        assert read_table(run / "predictions.csv")[0].keys() <= spelled


def test_commands_are_typed_as_they_are_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each call of a command, in a block or in a line, is one that its parser takes."""

    def refuse(parser: argparse.ArgumentParser, message: str) -> None:
        if "required" not in message or line in typed:  # what stands in a sentence may be a part of a call
            pytest.fail(f"{parser.prog}: {message}")

    monkeypatch.setattr(Parser, "error", refuse)
    typed = [line for block in BLOCKS for line in block.commands]
    named = [words for text in TEXTS.values() for words in re.findall(r"`(python -m busi\.[^`\n]+)`", text)]
    tried = set()
    for line in typed + named:
        call = re.match(rf"python -m busi\.({'|'.join(COMMANDS)}) (.+)", line)
        if call:
            parser_of(call[1]).parse_args(shlex.split(call[2], comments=True))
            tried.add(call[1])
    assert tried == set(COMMANDS)


def test_make_targets_that_are_named_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    typed = [line for block in BLOCKS for line in block.commands]
    typed += [words for text in TEXTS.values() for words in re.findall(r"`(make [^`\n]+)`", text)]
    named = {call[1] for line in typed if (call := re.search(r"(?:^|\s)make ([a-z-]+)", line))}
    assert len(named) > 6
    assert named <= targets


@pytest.mark.parametrize("page", sorted({page for page, _ in TABLES.values()}))
def test_tables_are_those_of_the_code(page: str) -> None:
    """``python docs/tables.py`` writes them."""
    assert {str(path.relative_to(ROOT)): text for path, text in pages()}[page] == TEXTS[page]


def test_every_option_says_what_it_is() -> None:
    assert not [path for path in (ROOT / "conf").rglob("*.yaml") if len(comment(path)) < 10]


@pytest.mark.parametrize("page", ["README.md", "docs/explanation/architecture.md"])
def test_every_room_is_named(page: str) -> None:
    rooms = {path.parent.name for path in (ROOT / "busi").glob("*/__init__.py")}
    assert not [room for room in rooms if f"| `{room}` |" not in TEXTS[page]]


def anchors(text: str) -> set[str]:
    """The anchors that GitHub makes of the headings of a page."""
    titles = re.findall(r"^#+ (.*)$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", [*TEXTS, "CHANGELOG.md"])
def test_links_lead_somewhere(page: str) -> None:
    text = (ROOT / page).read_text()
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if link.startswith("http"):
            continue
        name, _, anchor = link.partition("#")
        target = ((ROOT / page).parent / name).resolve() if name else ROOT / page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target.read_text()), link


def test_every_page_is_linked_from_the_readme_or_from_a_page_that_is() -> None:
    found, new = set[Path](), {ROOT / "README.md"}
    while new:
        found |= new
        links = {
            (page.parent / link.partition("#")[0]).resolve()
            for page in new
            for link in re.findall(r"\]\(([^)\s]+\.md[^)\s]*)\)", page.read_text())
            if not link.startswith("http")
        }
        new = links - found
    assert set(PAGES) <= found


def test_the_readme_is_short() -> None:
    assert len(TEXTS["README.md"].splitlines()) <= 150


@pytest.mark.parametrize("page", TEXTS)
def test_no_old_word_is_left(page: str) -> None:
    assert not [
        f"{found[0]}: {line}"
        for line in TEXTS[page].splitlines()
        if (found := OLD.search(re.sub(r"\]\([^)]*\)", "]", line)))
    ]
