"""Reports on several sources: means over sources, the calibration of each, and what was held out."""

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from omegaconf import DictConfig, OmegaConf
from sklearn.metrics import accuracy_score, f1_score, recall_score, roc_auc_score

from busi.core.types import CLASSES, MALIGNANT, InputError
from busi.metrics.bootstrap import bootstrap_groups
from busi.metrics.calibration import COVERAGE, conformal_quantiles, fit_temperature
from busi.metrics.estimates import average_sources
from busi.metrics.segmentation import segmentation_metrics
from busi.reporting.calibration import explain_calibration
from busi.reporting.diagnosis import compare_guides
from busi.reporting.estimates import estimate, estimate_masks, measure, measure_classes, subtract
from busi.reporting.pooling import Scored, fit_validation, join, rows_by_source, score
from busi.reporting.report import about_split, lead, report_runs
from busi.reporting.shortcut import describe_shortcut
from busi.reporting.titles import title_of
from busi.runs.fingerprints import settings_fingerprint
from busi.runs.predictions import Predictions, read_shortcut, take
from busi.runs.run import Run, open_run
from busi.runs.variant import Variant
from busi.runs.variants import read_variants
from busi.training.summary import measure_classes as measure_classes_of_rows
from busi.training.summary import summarize
from tests.conftest import accept
from tests.made_runs import NUM_FOLDS, POOL, make_cohort, make_run, shuffle_test_labels, simulate_rows

NO_VALUE = [None, None, None]
Make = Callable[..., Run]


@dataclass(frozen=True)
class SimulatedRun(Run):
    """A run that is nowhere, but for files that a test puts into its folder."""

    hold_out: str | None = None

    @property
    def config(self) -> DictConfig:
        """As far as a report asks for it here."""
        return OmegaConf.create({"data": {"hold_out": self.hold_out}, "guide": {"name": "empty"}})


def simulate(
    fold: int,
    folder: Path = Path("simulated"),
    pool: Mapping[str, tuple[int, ...]] = POOL,
    hold_out: str | None = None,
    stage: str = "cls",
) -> Predictions:
    """The predictions of a run, which is no folder."""
    rows = simulate_rows(make_cohort(fold, pool, (), hold_out), stage, fold)
    columns = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    columns["label"] = np.array([CLASSES.index(name) for name in columns["label"]])
    return Predictions(SimulatedRun(folder, {"fold": fold, "stage": stage}, hold_out), columns)


@pytest.fixture(scope="module")
def folds() -> list[Predictions]:
    """All folds of a classifier of the pool, one of whose sources has no normals."""
    return [simulate(fold) for fold in range(NUM_FOLDS)]


@pytest.fixture(scope="module")
def make(configs: Callable[..., DictConfig]) -> Make:
    """Make a run folder in another folder; see `tests.made_runs.make_run`."""
    composed = {stage: configs(f"stage={stage}", "run_dir=x") for stage in ("seg", "cls")}

    def made(at: Path, stage: str = "cls", fold: int = 0, seed: int = 0, **more: Any) -> Run:
        cfg = composed[stage]
        if stage == "cls":
            cfg.guide.name = "empty"
        return make_run(at / f"{fold}-{seed}", cfg, fold=fold, seed=seed, **more)

    return made


@pytest.fixture(scope="module")
def pool(make: Make, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run folders of all folds of the pool."""
    folder = tmp_path_factory.mktemp("pool")
    for fold in range(NUM_FOLDS):
        make(folder, fold=fold)
    return folder


def values(scored: Scored) -> dict[str, dict[str, float]]:
    """Of the images themselves, by source."""
    found = estimate([scored], num_resamples=0)
    return {source: {name: one[name].value for name in one.columns} for source, one in found.items()}


def test_numbers_of_a_source_are_those_of_its_images_alone(folds: list[Predictions]) -> None:
    scored = score(folds)
    found = values(scored)
    assert list(found) == list(POOL)
    for source, here in rows_by_source(scored.columns).items():
        labels, preds = scored.labels[here], scored.probs[here].argmax(axis=1)
        classes = np.unique(labels)
        assert found[source]["accuracy"] == pytest.approx(accuracy_score(labels, preds))
        assert found[source]["macro_f1"] == pytest.approx(
            f1_score(labels, preds, labels=classes, average="macro")
        )
        assert found[source]["balanced_accuracy"] == pytest.approx(
            recall_score(labels, preds, labels=classes, average="macro", zero_division=0)
        )
        areas = [
            roc_auc_score(scored.labels[rows] == MALIGNANT, scored.probs[rows, MALIGNANT])
            for rows in (here & (scored.folds == fold) for fold in range(NUM_FOLDS))
        ]
        assert found[source]["auroc_malignant"] == pytest.approx(np.mean(areas))
    assert np.isnan(found["busbra"]["recall_normal"])


def test_guides_are_compared_on_the_images_that_both_have() -> None:
    """One that needs annotations tests fewer images; its answers to the others are the same here."""
    one = simulate(0)
    tested = np.flatnonzero(one.columns["split"] == "test")
    kept = np.setdiff1d(np.arange(len(one.columns["id"])), tested[::4])
    variants = [
        Variant("empty", ((one,),)),
        Variant("predicted", ((replace(one, columns=take(one.columns, kept)),),)),
    ]
    found = {variant.name: estimate([score(seed) for seed in variant.seeds]) for variant in variants}
    content: Any = compare_guides(variants, found)[1]
    (name,) = content
    assert name == f"empty - predicted, {len(tested) - len(tested[::4])} images that both have"
    assert [content[name][metric]["value"] for metric in ("accuracy", "brier")] == [0, 0]
    assert found["empty"]["busi"]["brier"].value != found["predicted"]["busi"]["brier"].value


def test_metrics_json_has_the_numbers_of_the_report_also_where_a_source_lacks_a_class() -> None:
    large = {name: tuple(2 * count for count in counts) for name, counts in POOL.items()}
    rows = simulate_rows(make_cohort(0, large, (), None), "cls", 0)
    metrics = summarize(rows, measure_classes_of_rows)
    rows_by_source = estimate([score([simulate(0, pool=large)])], measure_classes)
    mean = average_sources(list(rows_by_source.values()))
    for name in ("accuracy", "balanced_accuracy", "macro_f1", "recall_malignant"):
        for prefix, found in (("test", mean), *((f"test/{one}", x) for one, x in rows_by_source.items())):
            told = [metrics[f"{prefix}/{name}{end}"] for end in ("", "_low", "_high")]
            assert told[0] == pytest.approx(found[name].value)
            assert None not in told
    assert metrics["test/busbra/recall_normal"] is None
    assert metrics["test/busbra/auroc"] is not None


def test_a_source_counts_the_same_however_many_images_it_has(folds: list[Predictions]) -> None:
    """Twice the images of a source: its numbers stay, and the mean over sources."""
    scored = score(folds)
    again = np.concatenate(
        [np.arange(len(scored.labels)), np.flatnonzero(scored.columns["source"] == "busbra")]
    )
    once, twice = (
        average_sources(list(estimate([one], num_resamples=0).values()))
        for one in (scored, scored.only(again))
    )
    for name in ("accuracy", "macro_f1", "recall_normal", "auroc_malignant", "brier", "coverage_malignant"):
        assert once[name].value == pytest.approx(twice[name].value)
    found = values(scored)
    assert once["accuracy"].value == pytest.approx(np.mean([one["accuracy"] for one in found.values()]))
    assert once["recall_normal"].value == found["busi"]["recall_normal"]
    both = accuracy_score(scored.labels, scored.probs.argmax(axis=1))
    assert abs(once["accuracy"].value - both) > 1e-3  # images would count otherwise


@pytest.mark.parametrize("stage", ["seg", "cls"])
def test_one_source_has_the_numbers_of_all_images(stage: str) -> None:
    """Those of one bootstrap of groups within folds."""
    runs = [simulate(fold, pool={"busi": POOL["busi"]}, stage=stage) for fold in range(NUM_FOLDS)]
    columns = join(runs)
    if stage == "seg":
        found = estimate_masks([columns], num_resamples=50)
        compute = partial(segmentation_metrics, columns)
    else:
        found = estimate([score(runs)], num_resamples=50)
        compute = partial(measure, score(runs))
    expected = bootstrap_groups(columns["group"], compute, columns["fold"], num_resamples=50)
    assert list(found) == ["busi"]
    assert found["busi"].columns.keys() == expected.columns.keys()
    for name, x in expected.columns.items():
        np.testing.assert_allclose(found["busi"].columns[name], x, rtol=1e-12)


def test_intervals_of_the_mean_hold_it_and_are_narrower(folds: list[Predictions]) -> None:
    found = estimate([score(folds)], measure_classes, num_resamples=200)
    mean = average_sources(list(found.values()))
    for name in ("accuracy", "macro_f1", "auroc_malignant"):
        value, low, high = mean[name]
        assert low < value < high
        widths = [one[name].high - one[name].low for one in found.values()]
        assert high - low < np.mean(widths)


def test_differences_are_over_sources_where_both_are_defined(folds: list[Predictions]) -> None:
    ours, theirs = (estimate([score(folds[:k])], num_resamples=0) for k in (3, 2))
    gone = {"busi": theirs["busi"], "busbra": replace(theirs["busbra"])}
    gone["busbra"].columns["accuracy"][0] = np.nan
    apart = subtract(ours, gone)["accuracy"].value
    assert apart == pytest.approx(ours["busi"]["accuracy"].value - gone["busi"]["accuracy"].value)


def test_groups_of_several_sources_or_folds_do_not_stop_a_report(folds: list[Predictions]) -> None:
    """Near-duplicates across sources, and published folds that part a group."""
    torn = [replace(one, columns={**one.columns, "group": one.columns["group"] // 5}) for one in folds]
    for one in estimate([score(torn)], measure_classes, num_resamples=20).values():
        assert np.isfinite(one["accuracy"]).all()


def test_each_source_is_calibrated_on_its_own_validation_images(folds: list[Predictions]) -> None:
    """The logits of one are too certain by two, those of the other not certain enough."""
    scored = score(folds)
    for one in folds:
        val = one.part("val")
        for source in POOL:
            own = val["source"] == source
            fitted = scored.fitted[one.fold, source]
            temperature = fit_temperature(one.logits("val")[own], val["label"][own])
            assert fitted.temperature == pytest.approx(temperature)
            assert fitted.fitted_on == (source,)
            here = (scored.folds == one.fold) & (scored.columns["source"] == source)
            logits = one.logits("test")[one.part("test")["source"] == source]
            np.testing.assert_allclose(scored.probs[here], fitted.probs(logits))
        assert scored.fitted[one.fold, "busi"].temperature > 1.2
        assert scored.fitted[one.fold, "busbra"].temperature < 0.8


def test_a_class_that_a_source_lacks_is_left_out_of_sets_as_in_all_sources(folds: list[Predictions]) -> None:
    one = folds[0]
    fitted = fit_validation(one, "busbra")
    probs = fitted.probs(one.logits("val"))
    own = one.part("val")["source"] == "busbra"
    of_all = conformal_quantiles(probs, one.labels("val"), COVERAGE)
    of_own = conformal_quantiles(probs[own], one.labels("val")[own], COVERAGE)
    assert of_own[0] == 1
    assert fitted.quantiles == (of_all[0], *of_own[1:])


def test_a_source_with_too_few_images_is_calibrated_on_all_and_the_page_says_so() -> None:
    runs = tuple(simulate(fold, pool={**POOL, "tiny": (6, 12, 12)}) for fold in range(NUM_FOLDS))
    scored = score(runs)
    every = scored.fitted[0, "tiny"]
    assert every.fitted_on == ("busi", "busbra", "tiny")
    temperature = fit_temperature(runs[0].logits("val"), runs[0].labels("val"))
    assert every.temperature == pytest.approx(temperature)
    text = explain_calibration(Variant("empty", (runs,)), [scored])
    assert "at least 10 of them are malignant and 10 are not" in text
    assert text.endswith("tiny has too few in the runs of folds 0, 1, 2.")


def test_test_labels_change_no_calibration(folds: list[Predictions]) -> None:
    before, after = score(folds), score(shuffle_test_labels(folds))
    assert before.fitted == after.fitted
    assert np.array_equal(before.sets, after.sets)
    assert not np.array_equal(before.labels, after.labels)


def test_the_page_of_a_pool_names_its_sources(pool: Path) -> None:
    variants = read_variants([pool], partial=False)
    assert title_of(variants).endswith(" on BUSI and BUS-BRA, 3 folds")
    assert "285 test images (135 of busi, 150 of busbra) in " in lead(variants)
    assert "within sources and folds" in lead(variants)
    assert variants[0].trainings == "one seed"


def test_runs_with_a_source_held_out_are_trainings_on_the_same_images(make: Make, tmp_path: Path) -> None:
    for fold, seed in ((0, 0), (1, 0), (0, 1)):  # no fold is missed
        make(tmp_path, "cls", fold, seed, hold_out="busbra")
    (variant,) = variants = read_variants([tmp_path], partial=False)
    assert [(one.fold, one.seed) for (one,) in variant.seeds] == [(0, 0), (1, 0), (0, 1)]
    assert variant.trainings == "3 trainings"
    assert variant.folds == (0, 1)
    assert title_of(variants) == (
        "Report: classifier with early guide (test_efficientnet), trained on BUSI, tested on BUS-BRA, "
        "which was held out"
    )
    words = "Trained on busi, tested on busbra, which took part in no training, choice or calibration."
    assert about_split(variants).startswith(words)
    assert lead(variants).startswith("150 test images in 75 groups of near-duplicates. ")
    seeds = [score(seed) for seed in variant.seeds]
    assert explain_calibration(variant, seeds).endswith("the validation images of busi in the same run.")
    (found,) = estimate(seeds, num_resamples=100).values()
    right = [(one.probs.argmax(axis=1) == one.labels).mean() for one in seeds]
    assert found["accuracy"].value == pytest.approx(np.mean(right))
    # As wide as that of one training: three of them are not three times as many images.
    (alone,) = estimate(seeds[:1], num_resamples=100).values()
    widths = [one["accuracy"].high - one["accuracy"].low for one in (found, alone)]
    assert widths[0] > 0.7 * widths[1]
    assert [len(seed) for seed in variant.only([1]).seeds] == [1]
    shutil.copytree(variant.seeds[0][0].run.folder, tmp_path / "again")
    with pytest.raises(InputError, match="fold 0 of empty with seed 0 is there twice"):
        read_variants([tmp_path], partial=False)


def test_a_run_that_is_given_twice_counts_once(make: Make, tmp_path: Path) -> None:
    """By itself and with its folder, by a link, and by two ways to write its path; it is named anyway."""
    folder = tmp_path / "runs"
    runs = [make(folder, fold=fold).folder for fold in range(NUM_FOLDS)]
    (tmp_path / "link").symlink_to(runs[1])
    (variant,) = read_variants([folder, runs[0], tmp_path / "link", folder / ".." / folder.name], False)
    assert [one.run.folder for one in variant.seeds[0]] == runs
    (variant,) = read_variants([tmp_path / "link", folder], False)
    assert [one.run.folder for one in variant.seeds[0]] == [runs[0], tmp_path / "link", runs[2]]
    provenance = json.loads((runs[1] / "provenance.json").read_text())
    (runs[1] / "provenance.json").write_text(json.dumps(provenance | {"finished": None}))
    read_variants([folder], True)
    with pytest.raises(InputError, match=r"1 run is not finished .*; or leave them out"):
        read_variants([folder, tmp_path / "link"], True)


def test_a_report_that_was_stopped_while_it_drew_is_written_by_the_same_command(
    pool: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("busi.figures.pages.write_tables", stop)
        with pytest.raises(KeyboardInterrupt):
            report_runs([pool], tmp_path)
    assert list((tmp_path / "figures").iterdir())
    assert not (tmp_path / "index.html").exists()
    report_runs([pool], tmp_path)
    assert (tmp_path / "index.html").exists()


@pytest.mark.parametrize("stage", ["seg", "cls"])
def test_hospitals_left_out_in_turn_are_rows_of_one_table(make: Make, tmp_path: Path, stage: str) -> None:
    for source in POOL:
        make(tmp_path / source, stage, hold_out=source)
    for fold in range(NUM_FOLDS):
        make(tmp_path / "none", stage, fold)
    report_runs([tmp_path], tmp_path / "report")
    content = json.loads((tmp_path / "report" / "report.json").read_text())
    assert content["title"].endswith(" (test_efficientnet) on hospitals left out, BUS-BRA and BUSI")
    (found,) = content["left_out"].values()
    name = "dice" if stage == "seg" else "auroc_malignant"
    entry = "segmentation" if stage == "seg" else "diagnosis"
    page = (tmp_path / "report" / "index.html").read_text()
    reach = "the masks of lesions reach a Dice of" if stage == "seg" else "reaches an AUROC of"
    key = page[page.index('class="key"') : page.index("</section>")]
    assert f"Where a hospital was left out, {'' if stage == 'seg' else 'the diagnosis with guide '}" in key
    assert reach in key
    for source, other in (("busi", "busbra"), ("busbra", "busi")):
        out, inside = found[source]["left_out"], found[source]["in_training"]
        assert out["trained_on"] == [other]
        assert inside["trained_on"] == list(POOL)
        assert out["num_images"] == inside["num_images"] == sum(POOL[source])
        parts = [(out, source), (inside, "none")][: 2 if stage == "seg" else source == "busi"]
        for part, folder in parts:  # as a report on these runs alone says
            report_runs([tmp_path / folder], tmp_path / "alone")
            alone = json.loads((tmp_path / "alone" / "report.json").read_text())[entry]
            if stage == "cls":
                alone = alone["guides"]["empty"]
            sources = alone.get("by_source", {})
            values = sources.get(source, alone["by_class"]["all"] if stage == "seg" else alone)
            values = values if stage == "seg" else values["metrics"]
            assert part["metrics"][name] == values[name]
            shown = "{value:.3f} [{low:.3f}, {high:.3f}]".format(**values[name])
            assert shown.replace(" ", "\N{NO-BREAK SPACE}") in page
        short = "{value:.2f} [{low:.2f}, {high:.2f}]".format(**out["metrics"][name])
        assert short in key
        beside = "{value:.2f} [{low:.2f}, {high:.2f}]".format(**inside["metrics"][name])
        assert f"({beside} when it was in training)" in key


def test_hospitals_left_out_by_other_recipes_are_no_table(make: Make, tmp_path: Path) -> None:
    for source in POOL:
        make(tmp_path / source, "seg", hold_out=source)
    path = tmp_path / "busi" / "0-0"
    config = open_run(path).config
    config.image_size = 64
    OmegaConf.save(config, path / "config.yaml")
    provenance = json.loads((path / "provenance.json").read_text())
    provenance["settings"] = settings_fingerprint(config)
    (path / "provenance.json").write_text(json.dumps(provenance))
    with pytest.raises(
        InputError, match="but are not of one recipe: image_size 32 and 64. Report each alone"
    ):
        report_runs([tmp_path], tmp_path / "report")


def test_sources_that_only_train_are_named(make: Make, tmp_path: Path) -> None:
    make(tmp_path, "seg", train_only=("busbra",))
    variants = read_variants([tmp_path], partial=True)
    assert about_split(variants).endswith("No image of busbra validated or tested: they only trained.")
    assert title_of(variants).startswith("Report: U-Net (test_efficientnet) on BUSI - partial")
    assert list(rows_by_source(join(variants[0].seeds[0]))) == ["busi"]


def test_where_a_source_lies_does_not_matter_but_its_name_does(pool: Path, tmp_path: Path) -> None:
    shutil.copytree(pool, tmp_path, dirs_exist_ok=True)
    for folder in tmp_path.iterdir():
        path = folder / "config.yaml"
        path.write_text(path.read_text().replace("nowhere/", f"{folder.name}/"))
    assert len(read_variants([tmp_path], partial=False)) == 1
    path = folder / "predictions.csv"
    path.write_text(path.read_text().replace(",busbra,", ",BUSBRA,"))
    accept(folder)
    with pytest.raises(InputError, match=r"is of the source 'busbra' in .*, and of 'BUSBRA' in .*: give the"):
        read_variants([tmp_path], partial=False)


def probe(features: float, *sources: str) -> dict[str, Any]:
    told = {"balanced_accuracy": [features, features - 0.1, features + 0.1], "auroc": [0.9, 0.8, 1.0]}
    return {
        "skipped": None,
        "sources": list(sources),
        "num_fitted": 90,
        "num_judged": 95,
        "chance": {"balanced_accuracy": 1 / len(sources), "auroc": 0.5},
        "features": told,
        "pixels": told,
    }


def shortcut(features: float = 0.8, split: str = "test") -> dict[str, Any]:
    """As a classification run of the pool writes it."""
    few = "a probe needs two sources with enough images (busbra: 0 images to fit on)"
    normals = {"num_normals": 10, "num_lesions": 35, "normal_recall": [0.8, 0.7, 0.9]}
    return {
        "skipped": None,
        "left_out": {},
        "design": "val_to_test",
        "no_features": None,
        "probes": {
            "all": {**probe(features, "busi", "busbra"), "label": {"auroc": [0.6, 0.5, 0.7]}},
            "normal": {"skipped": few},
            "benign": probe(features, "busi", "busbra"),
        },
        "normals": {"busi": {**normals, "split": split, "lesions_called_normal": NO_VALUE}},
    }


def described(
    at: Path, contents: Sequence[Any], hold_out: str | None = None, pool: Mapping[str, tuple[int, ...]] = POOL
) -> tuple[list[Any], Any]:
    """The section of runs, one a fold, with these contents of ``shortcut.json``; None for no such file."""
    runs = []
    for fold, content in enumerate(contents):
        (at / str(fold)).mkdir()
        if content is not None:
            (at / str(fold) / "shortcut.json").write_text(json.dumps(content))
        runs.append(simulate(fold, at / str(fold), pool, hold_out))
    seeds = tuple((one,) for one in runs) if hold_out else (tuple(runs),)
    variant = Variant("empty", seeds)
    return describe_shortcut([variant], {"empty": [score(seed) for seed in seeds]})


def test_the_shortcut_is_averaged_over_runs_and_says_what_was_skipped(
    folds: list[Predictions], tmp_path: Path
) -> None:
    (section,), content = described(tmp_path, [shortcut(features) for features in (0.7, 0.8, 0.9)])
    told = content["empty"]["probes"]["all"]
    assert told["features"]["balanced_accuracy"] == pytest.approx({"value": 0.8, "low": 0.7, "high": 0.9})
    assert (told["runs"], told["chance"], told["sources"]) == (3, 0.5, ["busi", "busbra"])
    assert told["label"]["auroc"] == pytest.approx({"value": 0.6, "low": 0.5, "high": 0.7})
    assert "normal" not in content["empty"]["probes"]
    assert any(str(block).startswith("Normal alone: a probe needs two") for block in section.blocks)
    found = estimate([score(folds)], measure_classes)
    called = content["empty"]["called_normal"]
    assert called["busi"]["normal_recall"]["value"] == found["busi"]["recall_normal"].value
    assert called["busbra"]["normal_recall"] == {"value": None, "low": None, "high": None}
    assert called["busbra"]["num_normals"] == 0
    assert 0 < called["busbra"]["lesions_called_normal"]["value"] < 0.5


def test_probes_of_other_sources_are_not_averaged(tmp_path: Path) -> None:
    other = shortcut()
    other["probes"]["all"] = probe(0.1, "busi", "busbra", "tiny")
    _, content = described(tmp_path, [shortcut(), other, shortcut()])
    assert content["empty"]["probes"]["all"]["runs"] == 2
    assert content["empty"]["probes"]["all"]["features"]["balanced_accuracy"]["value"] == pytest.approx(0.8)


def test_sources_that_only_validate_have_their_normals_there(tmp_path: Path) -> None:
    _, content = described(tmp_path, [shortcut(split="val")] * 2, hold_out="busbra")
    called = content["empty"]["called_normal"]
    assert [(source, one["split"]) for source, one in called.items()] == [("busbra", "test"), ("busi", "val")]
    assert called["busi"]["normal_recall"] == pytest.approx({"value": 0.8, "low": 0.7, "high": 0.9})


def test_a_single_source_has_no_shortcut(tmp_path: Path) -> None:
    assert described(tmp_path, [None, None], pool={"busi": POOL["busi"]}) == ([], {})


def test_a_pool_whose_runs_have_no_probe_says_so(tmp_path: Path) -> None:
    (section,), content = described(tmp_path, [None] * 2)
    assert "2 of 2 runs have no shortcut.json." in section.blocks
    assert content["empty"]["probes"] == {}


def all_images(content: Any) -> Any:
    return content["probes"]["all"]


def busi(content: Any) -> Any:
    return content["normals"]["busi"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda content: content.pop("probes"), "probes: Field required"),
        (lambda content: all_images(content).update(num_judged=-1), "probes.all.num_judged: Input should"),
        (lambda content: all_images(content).update(sources=[1]), "probes.all.sources.0: Input should"),
        (lambda content: all_images(content)["features"].update(auroc=[0.5]), "features.auroc: List should"),
        (lambda content: busi(content).update(normal_recall=[2, 0, 1]), "less than or equal to 1"),
        (lambda content: busi(content).update(split="train"), "normals.busi.split: Input should"),
        (lambda content: content.clear(), "skipped: Field required"),
    ],
)
def test_a_damaged_shortcut_is_one_line(tmp_path: Path, change: Callable[[Any], Any], words: str) -> None:
    content = shortcut()
    change(content)
    with pytest.raises(InputError, match=words) as caught:
        described(tmp_path, [content])
    assert "\n" not in str(caught.value)


def test_a_shortcut_that_is_no_json_or_another_file_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "shortcut.json"
    for text in ("{", "[" * 100_000, "\udcff"):
        path.write_bytes(text.encode(errors="surrogateescape"))
        with pytest.raises(InputError, match="is damaged: train this run again"):
            read_shortcut(Run(tmp_path, {}))
    path.write_text("[1]")
    with pytest.raises(InputError, match="train this run again"):
        read_shortcut(Run(tmp_path, {}))
    with pytest.raises(InputError, match="is not the file that this run wrote"):
        read_shortcut(Run(tmp_path, {"finished": "then", "files": {"shortcut.json": "another"}}))
    path.unlink()
    with pytest.raises(InputError, match=r"shortcut\.json is missing"):
        read_shortcut(Run(tmp_path, {"finished": "then", "files": {"shortcut.json": "another"}}))
    assert read_shortcut(Run(tmp_path, {"finished": "then", "files": {}})) is None


def test_every_class_has_a_column_by_source(folds: list[Predictions]) -> None:
    for one in values(score(folds)).values():
        assert {f"coverage_{name}" for name in CLASSES} <= one.keys()
