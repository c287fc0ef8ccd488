"""What a page says of its images is true of them."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from omegaconf import DictConfig

from busi.core.tables import read_table, write_table
from busi.metrics.estimates import Estimate
from busi.reporting.charts import draw_ranking
from busi.reporting.mistakes import show_mistakes
from busi.reporting.pooling import score
from busi.reporting.report import lead, report_runs
from busi.reporting.words import DUPLICATES, MIXED, PATIENTS, UNKNOWN, name_groups, name_test_images
from busi.runs.run import Run
from busi.runs.variants import read_variants
from tests.conftest import accept
from tests.made_runs import NUM_FOLDS, make_run

Make = Callable[..., Run]


@pytest.fixture(scope="module")
def make(configs: Callable[..., DictConfig]) -> Make:
    """Make a run folder of a classifier, without a training."""
    cfg = configs("stage=cls", "run_dir=x")
    cfg.guide.name = "empty"
    return lambda folder, **more: make_run(folder, cfg, **{"pool": {"busi": (30, 60, 45)}, **more})


def plain(text: str) -> str:
    return text.replace("\N{NO-BREAK SPACE}", " ")


def test_one_fold_and_one_seed_are_called_so(make: Make, tmp_path: Path) -> None:
    for fold in range(NUM_FOLDS):
        make(tmp_path / "all" / str(fold), fold=fold)
    page = report_runs([tmp_path / "all" / "0"], tmp_path / "one", True).read_text()
    for words in (
        "all folds",
        "each fold",
        "over folds",
        "mean over seeds",
        "within folds",
        "means over seeds",
    ):
        assert words not in page, words
    assert "Test images of fold 0, one seed, with 95 % intervals." in page
    (variant,) = read_variants([tmp_path / "all"], False)
    assert name_test_images(variant) == "test images of all 3 folds"
    assert "within folds" in lead([variant])
    assert name_test_images(variant.only([0, 2])) == "test images of folds 0, 2"


@pytest.mark.parametrize(
    ("known", "words"), [("1", PATIENTS), ("0", DUPLICATES), ("10", MIXED), (None, UNKNOWN)]
)
def test_groups_that_are_patients_are_called_so(
    make: Make, tmp_path: Path, known: str | None, words: str
) -> None:
    run = make(tmp_path / "run")
    rows: list[dict[str, object]] = [dict(row) for row in read_table(run.folder / "split.csv")]
    for i, row in enumerate(rows):
        if known is None:
            del row["has_patient"]
        else:
            row["has_patient"] = known[i % len(known)]
    write_table(run.folder / "split.csv", rows)
    accept(run.folder)
    (variant,) = variants = read_variants([run.folder], True)
    assert name_groups(variant.seeds[0][0]) == words
    assert f"46 test images in 23 {words}." in lead(variants)


def test_a_class_of_few_cases_is_named_and_its_numbers_have_no_interval(make: Make, tmp_path: Path) -> None:
    make(tmp_path / "run")
    page = plain(report_runs([tmp_path / "run"], tmp_path / "out", True).read_text())
    assert "fewer than 10 independent cases: normal (5), malignant (8)." in page
    content = json.loads((tmp_path / "out" / "report.json").read_text())
    metrics = content["diagnosis"]["guides"]["empty"]["metrics"]
    for name in ("recall_normal", "recall_malignant", "auroc_malignant", "sensitivity_at_specificity_90"):
        assert metrics[name]["low"] is None
        assert metrics[name]["value"] is not None
        assert f"{metrics[name]['value']:.3f} (too few)" in page
    assert metrics["accuracy"]["low"] < metrics["accuracy"]["value"] < metrics["accuracy"]["high"]
    assert (metrics["recall_malignant"]["images"], metrics["recall_malignant"]["groups"]) == (16, 8)


def test_the_most_certain_mistakes_are_drawn_where_the_images_are(make: Make, tmp_path: Path) -> None:
    make(tmp_path / "run")
    (variant,) = read_variants([tmp_path / "run"], True)
    scored = score(variant.seeds[0])
    (text,) = show_mistakes(variant, scored)
    assert str(text).startswith("No images are shown here: no data at nowhere")


def test_curves_are_steps_and_the_legend_has_the_area(make: Make, tmp_path: Path) -> None:
    make(tmp_path / "run")
    (variant,) = read_variants([tmp_path / "run"], True)
    scored = score(variant.seeds[0])
    figure = draw_ranking({"malignant": [(scored, 2)]}, {"malignant": Estimate(0.875, 0.8, 0.9)})
    left, right = figure.axes
    legend = left.get_legend()
    assert legend is not None
    assert plain(legend.get_texts()[0].get_text()) == "malignant, AUC 0.88 [0.80, 0.90]"
    curve = left.lines[0]
    assert curve.get_drawstyle() == "steps-post"
    assert right.lines[0].get_drawstyle() == "steps-pre"
    heights = np.unique(np.asarray(curve.get_ydata()))
    positives = int((scored.labels == 2).sum())
    assert len(heights) <= positives + 1  # as many steps as positives: nothing lies between
    assert np.allclose(heights * positives, np.round(heights * positives))
