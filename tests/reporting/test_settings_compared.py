"""Several settings on the same images: told apart, compared with the first, corrected for their number."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from omegaconf import DictConfig, OmegaConf

from busi.core.types import InputError
from busi.metrics.cases import Cases
from busi.metrics.estimates import Estimates
from busi.metrics.intervals import holm
from busi.reporting.report import report_runs
from busi.reporting.settings import compare
from busi.reporting.verdicts import Difference, explain, judge, measure_training_variance, say
from busi.runs.fingerprints import find_differences
from busi.runs.predictions import read_predictions
from busi.runs.settings import alike_in_a_setting, group_settings
from busi.runs.variants import open_runs, read_variants
from tests.made_runs import NUM_FOLDS, make_run

Make = Callable[..., None]
ONE = {"busi": (30, 60, 45)}


@pytest.fixture(scope="module")
def make(configs: Callable[..., DictConfig]) -> Make:
    """Make the folds of a setting, without a training."""
    composed = {stage: configs(f"stage={stage}", "run_dir=x") for stage in ("seg", "cls")}

    def made(
        at: Path, stage: str = "seg", seeds: int = 1, folds: int = NUM_FOLDS, lr: float = 0.1, **more: Any
    ) -> None:
        cfg = composed[stage].copy()
        OmegaConf.update(cfg, "optimizer.lr", lr)
        if stage == "cls":
            cfg.guide.name = "empty"
        for seed in range(seeds):
            for fold in range(folds):
                make_run(at / f"{fold}-{seed}", cfg, fold=fold, seed=seed, **{"pool": ONE, **more})

    return made


def report(output: Path, *folders: Path, partial: bool = False) -> tuple[Any, str]:
    page = report_runs(folders, output, partial)
    return json.loads((output / "report.json").read_text())["comparison"], page.read_text()


def test_settings_are_compared_with_the_first_and_words_say_which_differ(make: Make, tmp_path: Path) -> None:
    make(tmp_path / "b", seeds=3, folds=1, lr=0.2)
    make(tmp_path / "a", seeds=3, folds=1, lr=0.1, worse=1.0)
    make(tmp_path / "c", seeds=3, folds=1, lr=0.3, worse=0.01)
    found, page = report(tmp_path / "out", *(tmp_path / name for name in "bac"), partial=True)
    masks = found["segmentation"]
    assert masks["compared_with"] == "optimizer.lr=0.2"
    assert list(masks["settings"]) == ["optimizer.lr=0.2", "optimizer.lr=0.1", "optimizer.lr=0.3"]
    worse, same = (masks["differences"][f"optimizer.lr={x}"] for x in (0.1, 0.3))
    assert worse["dice"]["high"] < 0
    assert "dice" in worse["larger_than_noise"]
    assert same["larger_than_noise"] == []
    assert worse["p_holm"]["dice"] < 0.05 < same["p_holm"]["dice"]
    values = [masks["settings"][f"optimizer.lr={x}"]["dice"]["value"] for x in (0.1, 0.2)]
    assert worse["dice"]["value"] == pytest.approx(values[0] - values[1])
    assert masks["num_images"] == 46
    assert worse["normal_fp_rate"]["low"] is None  # of 10 normals in 5 groups
    assert "Compared with optimizer.lr=0.2: optimizer.lr=0.1: worse in lesion Dice" in page
    assert "Within the noise: optimizer.lr=0.3." in page
    assert "The p-values contain what another training changes" in page


def test_a_setting_of_one_seed_makes_no_claim_and_its_name_is_what_was_typed(
    make: Make, tmp_path: Path
) -> None:
    for name, lr in (("a", 0.1), ("b", 0.2)):
        make(tmp_path / name, "cls", folds=1, lr=lr, worse=lr)
        folder = tmp_path / name / "0-0" / ".hydra"
        folder.mkdir()
        size = "- image_size=32\n" if name == "a" else ""  # which b has, too
        (folder / "overrides.yaml").write_text(
            f"- model=fast\n{size}- optimizer={name}\n- data.fold=0\n- seed=3\n"
        )
    found, page = report(tmp_path / "out", tmp_path / "a", tmp_path / "b", partial=True)
    diagnosis = found["diagnosis"]
    assert list(diagnosis["settings"]) == ["optimizer=a", "optimizer=b"]
    assert diagnosis["settings"]["optimizer=a"]["folds"] == [0]
    assert "test images of fold 0" in page
    assert "all folds" not in page
    assert "A claim needs at least 3 seeds of each side. One has 1: no claim can be made" in page
    assert not diagnosis["differences"]["optimizer=b"]["enough_seeds"]
    assert "partial, not all of 3 folds" in page


def test_settings_that_lack_folds_or_share_none_are_one_line(make: Make, tmp_path: Path) -> None:
    make(tmp_path / "a", folds=1)
    make(tmp_path / "b", lr=0.2)
    with pytest.raises(
        InputError, match=r"segmentation \(optimizer.lr=0.1\) with seed 0 lacks fold 1, 2 of 3"
    ):
        read_variants([tmp_path], partial=False)
    (tmp_path / "b" / "0-0").rename(tmp_path / "elsewhere")
    for path in (tmp_path / "elsewhere").iterdir():
        path.unlink() if path.is_file() else None
    with pytest.raises(
        InputError, match=r"not of one recipe: optimizer.lr 0.1 and 0.2. .* on the same folds"
    ):
        read_variants([tmp_path / "a", tmp_path / "b"], partial=True)


def test_settings_are_compared_within_each_hospital_that_was_left_out(make: Make, tmp_path: Path) -> None:
    pool = {"busi": (20, 30, 30), "busbra": (0, 40, 40)}
    for name, lr in (("a", 0.1), ("b", 0.2)):
        for source in pool:
            at = tmp_path / name / source
            make(at, folds=1, lr=lr, pool=pool, hold_out=source, worse=float(name == "b"))
    make(tmp_path / "a" / "none", folds=1, pool=pool)
    found, page = report(tmp_path / "out", tmp_path / "a", tmp_path / "b", partial=True)
    masks, first, other = found["segmentation"], "optimizer.lr=0.1", "optimizer.lr=0.2"
    assert "Comparison of 2 settings on hospitals left out, BUS-BRA and BUSI" in page
    assert masks["compared_with"] == first
    hospitals, sources = masks["hospitals"], sorted(pool)
    assert list(hospitals) == [f"{x}, {kind}" for kind in ("left out", "in training") for x in sources]
    differences = {one["hospital"]: one for one in masks["differences"]}
    assert list(differences) == [f"{x}, left out" for x in sources]
    for source, counts in pool.items():
        own = f"{source}, left out"
        assert list(hospitals[own]) == [first, other]
        assert hospitals[own][other]["num_images"] == sum(counts)
        assert "dice" in differences[own]["larger_than_noise"]
        # The numbers are those of the hospital alone; the p-values know of the other hospital.
        variants = read_variants([tmp_path / name / source for name in "ab"], partial=False)
        alone: Any = compare("segmentation", variants)[1]
        assert hospitals[own][other]["metrics"]["dice"] == alone["settings"][other]["dice"]
        there, here = alone["differences"][other], differences[own]
        assert here["dice"] == there["dice"]
        assert here["p_holm"]["dice"] > there["p_holm"]["dice"] > 0
    folders = [tmp_path / "a" / "busbra", tmp_path / "b" / "busbra", tmp_path / "b" / "busi"]
    with pytest.raises(InputError, match=f"busi, left out: no run of {first}, with which"):
        report_runs(folders, tmp_path / "no")


def test_runs_are_grouped_by_setting_as_their_configs_differ(make: Make, tmp_path: Path) -> None:
    make(tmp_path / "a", seeds=2, folds=1, lr=1)
    make(tmp_path / "b", folds=2, lr=1.0)
    make(tmp_path / "c", folds=1, lr=2.0)
    found = [read_predictions(run) for name in "abc" for run in open_runs(tmp_path / name)]
    groups = group_settings(found)
    assert [len(group) for group in groups] == [4, 1]
    for group in groups:
        for one in found:
            alike = alike_in_a_setting(group[0], one)
            assert (one in group) == (not find_differences(group[0].config, one.config, alike))


def difference(value: float, spread: float, groups: int = 50, seeds: float = 0.0) -> Difference:
    """With normal resamples; `seeds` is the spread over three trainings of each side."""
    column = np.concatenate([[value], value + spread * np.random.default_rng(0).normal(size=2000)])
    found = Estimates({"dice": column}, {"dice": Cases("free", 100, groups, (float(groups),))})
    return Difference(
        found, (3, 3), measure_training_variance([{"dice": [x - seeds, x, x + seeds]} for x in (0.0, value)])
    )


def test_p_values_are_those_of_a_t_test_and_know_the_variance_of_trainings() -> None:
    alone = difference(0.05, 0.02)
    assert alone.p_value("dice") == pytest.approx(0.016, abs=0.004)
    with_variance = difference(0.05, 0.02, seeds=0.03)
    assert with_variance.p_value("dice") > 2 * alone.p_value("dice")
    assert np.isnan(difference(0.05, 0.02, groups=9).p_value("dice"))


def test_an_ensemble_is_one_model_and_not_one_seed() -> None:
    ensemble = difference(0.05, 0.02)
    both = replace(ensemble, trainings=(1, 1), members=(5, 5), training_variance={"dice": (0.0, 0)})
    text = explain({"a": both}, ["dice"])
    assert "An ensemble of 5 trainings is one model: a difference is of this ensemble" in text
    assert "a claim about the recipe needs at least 3 ensembles" in text
    assert "seeds" not in text
    beside = explain({"a": replace(ensemble, trainings=(1, 3), members=(5, 0))}, ["dice"])
    assert "The p-values take an ensemble for a training" in beside
    assert "no claim can be made" not in beside
    several = replace(ensemble, members=(5, 5))
    assert "needs at least" not in explain({"a": several}, ["dice"])
    one = explain({"a": replace(ensemble, trainings=(1, 3))}, ["dice"])
    assert "A claim needs at least 3 seeds of each side. One has 1" in one
    assert "ensemble" not in one


def test_the_more_settings_the_larger_a_difference_must_be() -> None:
    few = {"a": difference(0.05, 0.02)}
    many = few | {f"b{k}": difference(0.001, 0.02) for k in range(9)}
    assert judge(few, ["dice"])["a"]["dice"].larger
    verdicts = judge(many, ["dice"])
    assert not verdicts["a"]["dice"].larger
    expected = holm([one.p_value("dice") for one in many.values()])
    assert [one["dice"].p for one in verdicts.values()] == pytest.approx(expected)
    assert say(verdicts["a"], {"dice": "lesion Dice"}, claims=True) == "within the noise"
    assert say(judge(few, ["dice"])["a"], {"dice": "lesion Dice"}, claims=True) == "better in lesion Dice"
    said = say(judge(few, ["dice"])["a"], {"dice": "lesion Dice"}, claims=False)
    assert said == "no claim, too few seeds (these trainings: better in lesion Dice)"
    sides = {(3, 3): True, (2, 3): False, (3, 1): False}
    assert all(replace(few["a"], trainings=one).claims == claims for one, claims in sides.items())
    assert replace(few["a"], trainings=(1, 1), members=(5, 5)).claims
    few_cases = judge({"a": difference(0.05, 0.02, groups=9)}, ["dice"])["a"]
    assert say(few_cases, {"dice": "lesion Dice"}, claims=True) == "too few cases: nothing can be said"


def test_equal_settings_are_called_different_in_one_family_of_twenty() -> None:
    """Of five settings whose true difference is 0, none is called different in most of 200 pages."""
    rng, wrong = np.random.default_rng(5), 0
    cases, training_variance = (
        {"x": Cases("free", 40, 40, (40.0,))},
        measure_training_variance([{"x": [0.0]}]),
    )
    for _ in range(200):
        columns = rng.normal(size=(5, 40))
        weights = rng.multinomial(40, np.full(40, 1 / 40), 400) / 40
        found = {}
        for k, values in enumerate(columns):
            column = np.concatenate([[values.mean()], weights @ values])
            found[str(k)] = Difference(Estimates({"x": column}, cases), (1, 1), training_variance)
        wrong += any(one["x"].larger for one in judge(found, ["x"]).values())
    assert wrong / 200 < 0.1
