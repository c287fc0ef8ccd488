"""The audit by its real command, on synthetic data, damaged data, and BUSI."""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from busi.data.synthetic import make_synthetic

Audit = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_synthetic(tmp_path_factory.mktemp("data") / "Synthetic data", (12, 20, 16), 128, 0)


@pytest.fixture
def audit(tmp_path: Path) -> Audit:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "busi.audit", *arguments],
            cwd=tmp_path,
            env={**os.environ, "BUSI_CACHE": str(tmp_path / "cache")},
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def test_page_stands_alone_and_agrees_with_its_tables(audit: Audit, root: Path, tmp_path: Path) -> None:
    done = audit(str(root), "--output", "out")
    assert done.returncode == 0, done.stderr
    findings = json.loads((tmp_path / "out" / "audit.json").read_text())
    page = (tmp_path / "out" / "index.html").read_text()
    assert not re.findall(r"(?:src|href)=\"(?!data:|#)", page)
    assert not re.findall(r"https?://", page)
    figures = {path.stem for path in (tmp_path / "out" / "figures").iterdir()}
    assert len(figures) == page.count("<img ") >= 4
    with (tmp_path / "out" / "groups.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["id", "label", "group"]
    for name, number in findings["images"].items():
        assert sum(row["label"] == name for row in rows) == number
    groups = [row["group"] for row in rows]
    assert findings["groups"] == len(set(groups))
    assert findings["images_with_a_near_duplicate"] == sum(groups.count(group) > 1 for group in groups)
    labels = {row["id"]: row["label"] for row in rows}
    for ids in findings["conflicts"]:
        assert len({labels[name] for name in ids}) > 1
    assert findings["random_split_leak"]["mean"] > 0


def test_damaged_files_are_listed_and_do_not_stop_it(audit: Audit, root: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad"
    shutil.copytree(root, bad)
    images = sorted(path for path in bad.glob("benign/*.png") if "_mask" not in path.name)
    images[0].write_bytes(b"no image")
    images[1].with_name(f"{images[1].stem}_mask.png").unlink()
    (bad / "normal" / "<b>&.png").write_bytes(b"")
    done = audit("bad", "--output", "out")
    assert done.returncode == 0, done.stderr
    unusable = json.loads((tmp_path / "out" / "audit.json").read_text())["unusable"]
    assert {entry["file"] for entry in unusable} == {images[0].name, images[1].name, "<b>&.png"}
    page = (tmp_path / "out" / "index.html").read_text()
    assert "lesion without a mask" in page
    assert "&lt;b&gt;&amp;.png" in page


@pytest.mark.parametrize("numbers", [(1, 1, 1), (0, 2, 0)])
def test_a_handful_of_images_is_enough(
    audit: Audit, root: Path, tmp_path: Path, numbers: tuple[int, int, int]
) -> None:
    for name, number in zip(("normal", "benign", "malignant"), numbers, strict=True):
        (tmp_path / "few" / name).mkdir(parents=True)
        for path in sorted(path for path in (root / name).glob("*.png") if "_mask" not in path.name)[:number]:
            for file in (root / name).glob(f"{path.stem.replace('(', '[(]')}*"):
                shutil.copy(file, tmp_path / "few" / name)
    done = audit("few", "--output", "out")
    assert done.returncode == 0, done.stderr
    findings = json.loads((tmp_path / "out" / "audit.json").read_text())
    assert sum(findings["images"].values()) == sum(numbers)
    assert findings["metadata_baseline"] == {}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere", "--output", "out"], "error: no data at nowhere"),
        (["empty", "--output", "out"], "error: empty has none of the folders"),
        (["ROOT", "--output", "file/out"], "error: cannot write to file/out"),
        (["ROOT"], "the following arguments are required: --output"),
    ],
)
def test_wrong_arguments_are_one_line(
    audit: Audit, root: Path, tmp_path: Path, arguments: list[str], words: str
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    done = audit(*(text.replace("ROOT", str(root)) for text in arguments))
    assert done.returncode in (1, 2)
    assert words in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
@pytest.mark.real
def test_headline_of_the_real_data(audit: Audit, tmp_path: Path) -> None:
    if "BUSI_ROOT" not in os.environ:
        pytest.skip("BUSI_ROOT is not set: the real data is not here")
    done = audit(str(Path(os.environ["BUSI_ROOT"]).resolve()), "--output", "out")
    assert done.returncode == 0, done.stderr
    findings = json.loads((tmp_path / "out" / "audit.json").read_text())
    assert findings["images"] == {"normal": 133, "benign": 437, "malignant": 210}
    assert (findings["groups"], findings["clusters"]) == (583, 155)
    assert findings["images_with_a_near_duplicate"] == 352
    assert len(findings["several_masks"]) == 17
    assert sum(len(ids) for ids in findings["conflicts"]) == 19
    assert findings["unusable"] == []
    # Counted by hand: 40 % of benign, 25 % of malignant and 6 % of normal images have burned-in annotations.
    for name, share in {"normal": 0.06, "benign": 0.40, "malignant": 0.25}.items():
        assert findings["burned_in"][name] == pytest.approx(share, abs=0.08)
