"""The audit by its real command, on synthetic data, damaged data, and BUSI."""

import csv
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from busi.data.files import read_gray
from busi.data.synthetic import make_synthetic
from tests.data.test_dicom import write
from tests.processes import call

Audit = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_synthetic(tmp_path_factory.mktemp("data") / "Synthetic data", (12, 20, 16), 128, 0)


@pytest.fixture
def audit(tmp_path: Path) -> Audit:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return call("busi.audit", *arguments, cwd=tmp_path, BUSI_CACHE=str(tmp_path / "cache"))

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
    assert list(rows[0]) == ["id", "source", "label", "near_duplicates", "group"]
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
    assert "3 files cannot be used: the page lists them" in done.stdout + done.stderr
    unusable = json.loads((tmp_path / "out" / "audit.json").read_text())["unusable"]
    assert {entry["file"] for entry in unusable} == {images[0].name, images[1].name, "<b>&.png"}
    page = (tmp_path / "out" / "index.html").read_text()
    assert "lesion without a mask" in page
    assert "&lt;b&gt;&amp;.png" in page


@pytest.mark.parametrize("numbers", [(1, 1, 1), (0, 2, 0), (2, 2, 2)])
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
        (["n" * 300, "--output", "out"], "error: no data at nnn"),
        (["empty", "--output", "out"], "error: empty is in no layout that is known: "),
        (["pooled", "--output", "out"], "error: data=pooled is made of several data sets: name one of them"),
        (["csv", "--output", "out"], "error: data=csv has no root"),
        (["notes.csv", "--output", "out"], "error: notes.csv has unknown columns"),
        (["lost.csv", "--output", "out"], "error: no image of lost.csv can be used: 1 x label is none of"),
        (["ROOT", "--output", "file/out"], "error: cannot write to file/out"),
        (
            ["synthetic", "--output", "out", "--labels", "x=benign"],
            "error: labels are for the words of",
        ),
        (["ROOT"], "the following arguments are required: --output"),
    ],
)
def test_wrong_arguments_are_one_line(
    audit: Audit, root: Path, tmp_path: Path, arguments: list[str], words: str
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "notes.csv").write_text("file,label\nfile,benign\n")
    (tmp_path / "lost.csv").write_text("image,label\nfile,cyst\n")
    done = audit(*(text.replace("ROOT", str(root)) for text in arguments))
    assert done.returncode in (1, 2)
    assert words in done.stderr
    assert "Traceback" not in done.stderr


@pytest.fixture(scope="module")
def clinic(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A manifest of DICOM files without normals, whose patients, scanners and BI-RADS are known in part.

    It says cancer for malignant. Image 0 and 1 are one frame under two patients and two labels.
    """
    folder = tmp_path_factory.mktemp("clinic")
    rows = ["image,label,mask,patient,scanner,birads,spacing,source"]
    lesions = sorted(path for path in root.glob("[bm]*/*.png") if "_mask" not in path.name)
    for k, path in enumerate([lesions[0], *lesions[:11]]):
        label = "Cancer" if k == 1 or path.parent.name == "malignant" else "benign"
        write(folder / f"{k}.dcm", read_gray(path), PixelSpacing=[0.1, 0.2])
        mask = "" if k == 5 else path.with_name(f"{path.stem}_mask.png")
        source = "north" if k < 8 else "south"
        rows.append(f"{k}.dcm,{label},{mask},P{k // 3 if k else 9},{'ABA'[k % 3]},{'4a' * (k < 4)},,{source}")
    (folder / "clinic.csv").write_text("\n".join(rows))
    return folder / "clinic.csv"


def test_everything_that_is_known_of_a_manifest_is_described(
    audit: Audit, clinic: Path, tmp_path: Path
) -> None:
    done = audit(str(clinic), "--output", "out", "--labels", "cancer=malignant")
    assert done.returncode == 0, done.stderr
    findings = json.loads((tmp_path / "out" / "audit.json").read_text())
    page = (tmp_path / "out" / "index.html").read_text()
    assert findings["name"] == "clinic"
    assert findings["images"]["normal"] == 0
    assert findings["modes"] == {"DICOM MONOCHROME2, 8 bits": 12}
    assert findings["spacing"] == {"images": 12, "smallest": 0.1, "largest": 0.2}
    assert findings["not_annotated"] == ["5"]
    assert {name: sum(row.values()) for name, row in findings["scanners"].items()} == {"A": 8, "B": 4}
    assert {name: sum(row.values()) for name, row in findings["sources"].items()} == {"north": 8, "south": 4}
    assert {name: sum(row.values()) for name, row in findings["birads"].items()} == {"4a": 4, "not known": 8}
    patients = findings["patients"]
    assert patients["images_without_patient"] == 0
    # P0 to P3, of which P2 has images of both sources, and P9.
    assert (patients["patients"], patients["images_a_patient"]) == (6, {"1": 2, "2": 2, "3": 2})
    assert any({"0", "1"} <= set(ids) for ids in patients["crossing"])
    assert any({"0", "1"} <= set(ids) for ids in findings["conflicts"])
    for text in ("4a", "Patients", "1 (malignant)", "Near-duplicates under different patients", "Too few"):
        assert text in page


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
