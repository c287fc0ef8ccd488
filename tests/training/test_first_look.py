"""A wrong path ends before anything that takes long, and leaves nothing behind."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import DictConfig

from busi.core.types import InputError
from busi.train import forget_start
from busi.training.first_look import look_at_data

Compose = Callable[..., DictConfig]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ("data=busi data.root={at}/none", "no data at .*none. Give the folder with data.root="),
        ("data=busi data.root={at}", "none of the folders .* did you mean data.root=.*/BUSI.?$"),
        ("data=busi data.root={at}/BUSI/benign", "none of the folders .* did you mean data.root=.*/BUSI.?$"),
        ("data=busi data.root={at}/m.csv", "m.csv is a file: for a manifest, add data=csv$"),
        ("data=csv", "data.root is not given"),
        ("data=csv data.root={at}/m.csv", "unknown columns: 'class' .did you mean label"),
        ("data=busbra data.root={at}/none", "none is not there"),
    ],
)
def test_a_wrong_place_is_named_with_what_to_give(
    compose: Compose, tmp_path: Path, data: str, words: str
) -> None:
    for name in ("normal", "benign", "malignant"):
        (tmp_path / "BUSI" / name).mkdir(parents=True)
    (tmp_path / "m.csv").write_text("image,class\na.png,benign\n")
    with pytest.raises(InputError, match=words):
        look_at_data(compose(*data.format(at=tmp_path).split()))


@pytest.mark.parametrize(
    "data",
    [
        "data=synthetic",
        "data=busi data.root=/nowhere data.download=true",
        "data=busi data.root=/nowhere resume=x",
        "data=pooled data.sources=[/nowhere]",
        "data=busi data.root=/nowhere data.read._target_=my_package.read",
        "data=busi data.root=${nothing}",
        "data=busi data.root=???",
        "data=busi data.root=/nowhere data.read=null",
    ],
)
def test_what_is_made_later_or_read_by_others_is_left_to_the_run(compose: Compose, data: str) -> None:
    look_at_data(compose(*data.split()))


def test_a_run_that_did_not_begin_leaves_no_folder(tmp_path: Path) -> None:
    for name, more in (("failed", ()), ("begun", ("provenance.json",)), ("used", ("notes.txt",))):
        folder = tmp_path / name
        (folder / ".hydra").mkdir(parents=True)
        (folder / ".hydra" / "config.yaml").touch()
        for file in ("train.log", *more):
            (folder / file).touch()
        forget_start(folder)
        assert folder.exists() == bool(more)
    forget_start(tmp_path / "nowhere")


def test_a_folder_in_which_another_process_begins_is_left_to_it(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    (folder / ".hydra").mkdir(parents=True)
    begin = (
        "import sys; from pathlib import Path; from busi.core.locks import hold\n"
        "with hold(Path(sys.argv[1])): print(flush=True); input()"
    )
    arguments = [sys.executable, "-c", begin, str(folder)]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout
        other.stdout.readline()
        forget_start(folder)
        assert (folder / ".hydra").exists()
        other.communicate(b"\n")
    forget_start(folder)
    assert not folder.exists()
