"""A classifier of several sources, evaluated on one of them: its prior and calibration of that source."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from omegaconf import DictConfig
from scipy.special import softmax

from busi.core.tables import read_table
from busi.core.types import CLASSES, InputError, Record
from busi.data.balance import logit_shift
from busi.data.contents import Content
from busi.evaluation.opening import OpenedModel, OwnSource
from busi.evaluation.own_sources import explain_sources, keep_recognized, read_own_sources
from busi.inference.loading import add_calibration
from busi.inference.model_info import ModelInfo
from busi.models.postprocess import Postprocess
from busi.reporting.pooling import fit_validation
from busi.runs.predictions import Predictions, read_run_columns, read_trained
from busi.runs.run import Run
from busi.runs.seen_images import SeenImages
from tests.made_runs import POOL, make_cohort, make_run

Make = Callable[..., Run]


@pytest.fixture
def make(compose: Callable[..., DictConfig], tmp_path: Path) -> Make:
    return lambda **more: make_run(tmp_path / "run", compose("stage=cls", "guide=empty"), **more)


def own_sources(run: Run) -> dict[str, OwnSource]:
    cohort = make_cohort(0, POOL, (), None)
    pairs = zip(cohort.records, cohort.contents, strict=True)
    trained = {record.id: content.pixel_hash for record, content in pairs}
    rows = read_table(run.folder / "split.csv")
    return read_own_sources(run, [trained[row["id"]] for row in rows if row["split"] == "train"])


def model_of(run: Run | None, *sources: str) -> OpenedModel:
    origin = {"name": "x", "guide": "empty", "fold": 0, "sources": list(sources)}
    info = ModelInfo(32, Postprocess(), 1.0, None, 0.9, {}, {}, {}, origin)
    own = own_sources(run) if run else {}
    seen = SeenImages(set(), [], [])
    return OpenedModel(Path("x"), info, lambda *_: [], ("empty",), seen, "", run, False, own)


def test_prior_and_calibration_of_a_source_are_those_of_a_report_on_the_run(make: Make) -> None:
    run = make()
    own = own_sources(run)
    assert list(own) == list(POOL)
    one, cohort = Predictions(run, read_run_columns(run)), make_cohort(0, POOL, (), None)
    train = cohort.indices("train")
    shifts = logit_shift("sampler", cohort.labels()[train], cohort.sources_of(train), list(POOL))
    assert np.abs(shifts).max() > 1  # a source without normals
    for (name, x), shift in zip(own.items(), shifts, strict=True):
        np.testing.assert_allclose(x.logit_shift, shift)
        expected = fit_validation(one, name)
        assert x.fitted == replace(expected, fitted_on=(f"the validation images of {name} in the run",))


@pytest.mark.parametrize("more", [{"pool": {"busi": POOL["busi"]}}, {"hold_out": "busbra"}])
def test_a_model_that_one_source_trained_has_one_of_each(make: Make, more: dict[str, Any]) -> None:
    cohort = make_cohort(0, more.get("pool", POOL), (), more.get("hold_out"))
    trained = [cohort.contents[i].pixel_hash for i in cohort.indices("train")]
    assert read_own_sources(make(**more), trained) == {}


def test_a_name_alone_proves_no_source(make: Make) -> None:
    """Many manifests are called the same: images that trained the model say whose they are."""
    model, cohort = model_of(make()), make_cohort(0, POOL, (), None)

    def recognized(records: list[Record], contents: list[Content]) -> list[str]:
        return list(keep_recognized(model, replace(cohort, records=records, contents=contents)).own_sources)

    records, contents = cohort.records, cohort.contents
    assert recognized(records, contents) == ["busi", "busbra"]
    first = [k for k, record in enumerate(records) if record.source == "busi"]
    assert recognized([records[k] for k in first], [contents[k] for k in first]) == ["busi"]
    new = [Content(pixel_hash=f"{10**6 + k:032x}") for k in range(len(records))]
    assert recognized(records, new) == []
    elsewhere = [replace(record, source="ours") for record in records]
    assert recognized(elsewhere, contents) == []
    swapped = [replace(record, source="busbra") for record in records]
    assert recognized([swapped[k] for k in first], [contents[k] for k in first]) == []


def test_the_page_says_which_prior_and_calibration_images_have_and_why(make: Make) -> None:
    run, bundle = model_of(make()), model_of(None, "busi", "busbra")
    both = explain_sources(run, ["busi"], ["busi", "other"], local=False)
    assert (
        "Images of busi have the prior of this source, and a calibration on the validation images of" in both
    )
    assert "Images of other have the prior of a source that did not train" in both
    assert "is not asked for a source" in explain_sources(run, [], ["busi"], local=True)
    assert "a bundle holds no other" in explain_sources(bundle, [], ["busi"], local=False)
    for silent in (model_of(None, "busi"), model_of(None), replace(bundle, variants=("segmentation",))):
        assert explain_sources(silent, [], ["busi"], local=False) == ""


def test_a_model_is_calibrated_on_its_answers_to_images_of_unknown_source(make: Make) -> None:
    run, (bare, level) = make(), (model_of(None).info, 0.9)
    info, columns = add_calibration(bare, run), read_run_columns(run)
    val = columns["split"] == "val"
    labels, sources = columns["label"][val], columns["source"][val].tolist()
    stored = np.stack([columns[f"logit_{name}"] for name in CLASSES], axis=1)[val]
    answered = stored - logit_shift("sampler", *read_trained(run), sources)
    assert np.abs(answered - stored).max() > 1
    probs = softmax(answered / info.temperature, axis=1)
    assert info.quantiles is not None
    for label, quantile in enumerate(info.quantiles):
        covered = 1 - probs[labels == label, label] <= quantile + 1e-9
        # The smallest quantile that covers enough, and one more image for those that nobody has seen.
        assert level <= covered.mean() <= level + 3 / len(covered)


def test_a_run_without_its_split_is_one_error(make: Make) -> None:
    run = make()
    with pytest.raises(InputError, match=r"split.csv is missing or damaged"):
        read_own_sources(run, ["0"])  # of another checkpoint
    (run.folder / "split.csv").unlink()
    with pytest.raises(InputError, match=r"split.csv is missing"):
        read_own_sources(run, [])
