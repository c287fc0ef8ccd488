"""Trainings on a pool of two sources, from the first image to the page."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hydra
import numpy as np
import pytest
from PIL import Image

from busi.core.building import open_configs
from busi.core.tables import read_table
from busi.core.types import CLASSES, InputError
from busi.data.synthetic import make_synthetic
from busi.evaluation.evaluation import evaluate
from busi.reporting.report import report_runs
from busi.runs.run import Run
from busi.training.ensemble import make_ensembles
from busi.training.fitting import fit
from tests.conftest import SMALL

Train = Callable[..., Run]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def train(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Train:
    """Train on two synthetic hospitals, ``near`` and ``far``, in three folds."""
    outputs = tmp_path_factory.mktemp("outputs")
    roots = [
        make_synthetic(outputs / name, (20, 30, 30), 96, seed) for seed, name in enumerate(("near", "far"))
    ]
    small = [text for text in SMALL if not text.startswith("data")]
    small += ["data=pooled", f"data.sources=[{roots[0]},{roots[1]}]", "data.num_folds=3"]
    small += [f"cache_dir={cache}", f"output_dir={outputs}"]

    def trained(name: str, *overrides: str) -> Run:
        with open_configs():
            return fit(hydra.compose("train", overrides=[*small, *overrides]), outputs / name)

    return trained


def read_report(folder: Path) -> tuple[Any, str]:
    return json.loads((folder / "report.json").read_text()), (folder / "index.html").read_text()


def test_a_pool_is_reported_by_source_as_runs_and_as_ensembles(train: Train, tmp_path: Path) -> None:
    seg = [train(f"seg-{seed}", "stage=seg", f"seed={seed}") for seed in (0, 1)]
    cls = [
        train(f"cls-{seed}", "stage=cls", f"seed={seed}", f"seg_ckpt={run.folder}")
        for seed, run in enumerate(seg)
    ]
    report_runs([run.folder for run in (*seg, *cls)], tmp_path / "runs", partial=True)
    content, page = read_report(tmp_path / "runs")
    assert " on near and far - partial, not all of 3 folds (" in content["title"]
    masks = content["segmentation"]
    assert list(masks["by_source"]) == ["near", "far"]
    rows = [read_table(run.folder / "predictions.csv") for run in seg]
    for source, found in masks["by_source"].items():
        lesions = [
            [
                float(row["dice"])
                for row in table
                if row["split"] == "test" and row["source"] == source and row["label"] != "normal"
            ]
            for table in rows
        ]
        assert found["dice"]["value"] == pytest.approx(np.mean(lesions))
    mean = np.mean([found["dice"]["value"] for found in masks["by_source"].values()])
    assert masks["by_class"]["all"]["dice"]["value"] == pytest.approx(mean)
    guide = content["diagnosis"]["guides"]["predicted"]
    assert list(guide["by_source"]) == ["near", "far"]
    assert "confusion" not in guide
    assert {"source", "fitted_on"} <= guide["calibration"][0].keys()
    probes = content["diagnosis"]["shortcut"]["predicted"]["probes"]
    assert 0 <= probes["all"]["features"]["auroc"]["value"] <= 1
    for words in (
        "The shortcut",
        "mean over sources".replace(" ", "\N{NO-BREAK SPACE}"),
        "Diagnosis by source",
    ):
        assert words in page

    ensembles = make_ensembles([*seg, *cls], tmp_path / "ensembles")
    report_runs([run.folder for run in ensembles], tmp_path / "of_ensembles", partial=True)
    content, page = read_report(tmp_path / "of_ensembles")
    assert "an ensemble of 2 trainings" in page
    assert list(content["segmentation"]["by_source"]) == ["near", "far"]
    with pytest.raises(InputError, match=r"several data sets \(near, far\), leave --data out"):
        make_ensembles(seg, tmp_path / "moved", tmp_path)


def test_evaluated_on_a_source_of_its_own_a_run_has_the_numbers_that_it_has_there(
    train: Train, cache: Path, tmp_path: Path
) -> None:
    run = train("own", "stage=cls", "guide=empty")
    near, far = (Path(one.root) for one in run.config.data.sources.values())
    page = evaluate(run.folder, str(near), tmp_path / "near", cache_dir=cache).read_text()
    assert (
        "Images of near have the prior of this source, and a calibration on the validation images of" in page
    )
    own, there = (
        {row["id"].split("/")[-1]: row for row in read_table(folder / "predictions.csv") if is_test(row)}
        for folder in (run.folder, tmp_path / "near")
    )
    assert own.keys() == there.keys()
    for name, row in own.items():
        for label in CLASSES:
            logit = float(row[f"logit_{label}"])
            assert float(there[name][f"logit_{label}"]) == pytest.approx(logit, abs=1e-4)
    report_runs([run.folder], tmp_path / "report", partial=True)
    metrics = [
        read_report(tmp_path / "report")[0]["diagnosis"]["guides"]["empty"]["by_source"]["near"]["metrics"],
        read_report(tmp_path / "near")[0]["diagnosis"]["guides"]["empty"]["metrics"],
    ]
    for name in ("accuracy", "brier", "coverage_malignant", "sensitivity_at_sensitivity_90"):
        assert metrics[1][name]["value"] == pytest.approx(metrics[0][name]["value"], abs=1e-4), name
    shutil.copytree(far, tmp_path / "near2" / "near")
    for path in (tmp_path / "near2" / "near").rglob("*.png"):  # other images under a name that is known
        Image.fromarray(np.asarray(Image.open(path))[::-1]).save(path)
    again = tmp_path / "again"
    page = evaluate(run.folder, str(tmp_path / "near2" / "near"), again, cache_dir=cache).read_text()
    assert "Images of near have the prior of a source that did not train" in page


def is_test(row: dict[str, str]) -> bool:
    return row["split"] == "test" and row["source"] == "near"


def test_a_source_that_is_held_out_is_tested_by_every_training(train: Train, tmp_path: Path) -> None:
    held = ("stage=cls", "guide=empty", "data.hold_out=far")
    runs = [train(f"held-{fold}", *held, f"data.fold={fold}") for fold in (0, 1)]
    report_runs([run.folder for run in runs], tmp_path, partial=False)
    content, page = read_report(tmp_path)
    assert content["title"].endswith(", trained on near, tested on far, which was held out")
    assert "Trained on near, tested on far, which took part in no training, choice or calibration." in page
    assert "come from the validation images of near in the same run" in page
    tested = [row for row in read_table(runs[0].folder / "predictions.csv") if row["split"] == "test"]
    assert {row["source"] for row in tested} == {"far"}
    assert f"{len(tested)} test images in " in page
    guide = content["diagnosis"]["guides"]["empty"]
    assert "by_source" not in guide
    assert np.sum(guide["confusion"]) == 2 * len(tested)  # summed over two trainings
    called = content["diagnosis"]["shortcut"]["empty"]["called_normal"]
    assert {name: one["split"] for name, one in called.items()} == {"far": "test", "near": "val"}
