"""The real command on what real runs predicted, written as another tool would write it."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from busi.core.tables import read_table, write_table
from busi.core.types import CLASSES
from busi.data.files import read_gray
from busi.data.records import file_name
from busi.reporting.report import report_runs
from busi.runs.predictions import find_records
from busi.runs.run import open_run
from tests.processes import call

Score = Callable[..., subprocess.CompletedProcess[str]]

pytestmark = pytest.mark.slow


@pytest.fixture
def score(cache: Path, tmp_path: Path) -> Score:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return call("busi.score", *arguments, cwd=tmp_path, BUSI_ROOT=None, BUSI_CACHE=str(cache))

    return run


def write_masks(run: Path, folder: Path) -> None:
    """The test masks of a run: as PNG of 0 and 1, one of them as NPY, one as NIfTI."""
    postprocess = open_run(run).postprocess
    rows = [row for row in read_table(run / "predictions.csv") if row["split"] == "test"]
    folder.mkdir(parents=True)
    for number, row in enumerate(rows):
        name = file_name(row["id"])
        mask = postprocess(read_gray(run / "maps" / f"{name}.png") / 255).astype(np.uint8)
        assert mask.sum() == int(row["pred_area"])
        if number == 0:
            np.save(folder / f"{name}.npy", mask)
        elif number == 1:
            nibabel = pytest.importorskip("nibabel")
            nibabel.save(nibabel.Nifti1Image(mask.T, np.diag([-1, -1, 1, 1])), folder / f"{name}.nii.gz")
        else:
            Image.fromarray(mask).save(folder / f"{name}.png")


def write_classes(run: Path, folder: Path, kind: str) -> None:
    rows = [
        {
            **{"id": row["id"], "fold": 0, "split": row["split"]},
            **{f"{kind}_{name}": row[f"{kind}_{name}"] for name in CLASSES},
        }
        for row in read_table(run / "predictions.csv")
    ]
    write_table(folder / "classes.csv", rows)


def numbers(folder: Path) -> Any:
    content = json.loads((folder / "report.json").read_text())
    diagnosis = content.get("diagnosis", {"guides": {}, "subgroups": {}})
    (guide,) = diagnosis["guides"].values() or [{}]
    (subgroups,) = diagnosis["subgroups"].values() or [{}]
    guide = {name: x for name, x in guide.items() if name not in ("seeds", "calibration")}
    masks = {name: x for name, x in content.get("segmentation", {}).items() if name != "seeds"}
    calibration = [
        {name: x for name, x in one.items() if name != "seeds"}
        for one in (diagnosis["guides"] and next(iter(diagnosis["guides"].values()))["calibration"])
    ]
    return {"masks": masks, "guide": guide, "subgroups": subgroups, "calibration": calibration}


def test_predictions_written_by_another_tool_get_the_numbers_of_the_run_to_the_last_digit(
    trained: Path, score: Score, tmp_path: Path
) -> None:
    seg, cls = trained.parents[1] / "seg" / "run", trained
    data = str(next(iter(find_records(open_run(seg)).values())).image.parents[1])
    write_masks(seg, tmp_path / "theirs" / "fold_0" / "validation")
    write_classes(cls, tmp_path / "theirs", "logit")
    (tmp_path / "theirs" / "submission.json").write_text(json.dumps({"name": "index.html"}))
    done = score("theirs", str(seg), "--data", data, "--num-folds", "3", "--partial", "--output", "out")
    assert done.returncode == 0, done.stderr
    report_runs([seg, cls], tmp_path / "own", partial=True)
    ours, theirs = numbers(tmp_path / "own"), numbers(tmp_path / "out" / "submissions" / "index.html")
    assert theirs == ours
    assert theirs["masks"]["by_class"]["all"]["dice"]["value"] is not None
    assert (
        "No images are shown"
        not in (tmp_path / "out" / "submissions" / "index.html" / "index.html").read_text()
    )
    content = json.loads((tmp_path / "out" / "submissions" / "index.html" / "report.json").read_text())
    assert {run["folder"] for run in content["runs"]} == {"out/submissions/index.html"}
    assert not [path.name for path in tmp_path.iterdir() if path.name not in ("theirs", "own", "out")]
    # Beside it, the run has its own numbers, and differs by nothing.
    assert numbers(tmp_path / "out" / "submissions" / "run")["masks"] == ours["masks"]
    found = json.loads((tmp_path / "out" / "report.json").read_text())
    masks = found["comparison"]["segmentation"]
    assert masks["compared_with"] == "index.html"
    difference = masks["differences"]["run"]["dice"]
    assert [difference[name] for name in ("value", "low", "high")] == [0, 0, 0]
    assert found["submissions"]["index.html"]["classes"] == "with predictions of validation images"
