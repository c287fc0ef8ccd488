"""Numbers of a pool: source by source, and means over sources."""

import json
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from scipy.special import softmax
from sklearn.metrics import recall_score
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor, nn

from busi.core.tables import read_table
from busi.core.types import BENIGN, CLASSES, MALIGNANT, NORMAL, Record
from busi.data.cohort import Cohort
from busi.data.contents import read_contents
from busi.data.datamodule import BUSIDataModule
from busi.metrics.bootstrap import bootstrap_sources
from busi.metrics.cases import find_cases
from busi.metrics.classification import classification_metrics
from busi.metrics.segmentation import segmentation_metrics
from busi.metrics.thresholds import ENOUGH, operating_points, source_rows
from busi.models.postprocess import Postprocess, fixed_postprocess
from busi.models.two_stage import Classifier
from busi.modules.classification import ClsModule
from busi.runs.predictions import read_columns
from busi.runs.run import BEST
from busi.training.loggers import CSVLog
from busi.training.probe import describe_pixels
from busi.training.scoring import score_classification, score_segmentation
from busi.training.summary import summarize
from tests.data.conftest import draw, save

MakePool = Callable[..., BUSIDataModule]
COUNTS = {"a": (40, 36, 20), "b": (36, 20, 12)}
"""Benign, malignant and normal images of each source."""


class Guided(nn.Module):
    """Logits of the means and deviations of image and guide."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.linear = nn.Linear(4, 3)

    def forward(self, image: Tensor, guide: Tensor) -> Tensor:
        both = torch.cat([image, guide], dim=1)
        features = torch.cat([both.mean(dim=(2, 3)), both.std(dim=(2, 3))], dim=1)
        return self.linear(20 * features)  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def pool(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> MakePool:
    """Two sources of images of two sizes, in pairs that belong together, split by hand."""
    root, folds = tmp_path_factory.mktemp("images"), []
    records: list[Record] = []
    for height, (source, counts) in zip((64, 88), COUNTS.items(), strict=True):
        for label, count in zip((BENIGN, MALIGNANT, NORMAL), counts, strict=True):
            for k in range(count):
                name = f"{source}_{label}_{k}"
                image = draw(len(records), height, height + 10 + k)
                mask = np.zeros_like(image)
                mask[20:40, 20 : 40 + k] = 255
                files = () if label == NORMAL else (save(root / f"{name}_mask.png", mask),)
                records.append(Record(name, save(root / f"{name}.png", image), files, label, source=source))
                folds.append(k // 2 % 3)

    def made(names: str = "ab", hold_out: str | None = None, **options: Any) -> BUSIDataModule:
        kept = [k for k, record in enumerate(records) if record.source in names]
        chosen = [records[k] for k in kept]
        _, contents, _ = read_contents((chosen, []), cache)
        splits = [("test", "val", "train")[folds[k]] for k in kept]
        if hold_out:
            splits = ["left_out" if split == "test" else split for split in splits]
            splits = [
                "test" if x.source == hold_out else split for x, split in zip(chosen, splits, strict=True)
            ]
        cohort = Cohort(
            records=chosen,
            contents=contents,
            groups=np.array(kept) // 2,
            folds=np.array(folds)[kept],
            splits=splits,
            reasons=[""] * len(kept),
            unusable=[],
            split_fingerprint="",
        )
        return BUSIDataModule(
            None, cohort=cohort, hold_out=hold_out, cache_dir=cache, image_size=32, num_folds=3, **options
        )

    return made


def score(
    network: nn.Module, data: BUSIDataModule, folder: Path, test: bool = True
) -> dict[str, float | None]:
    """Score a classifier, or a network whose classes are as common as in its training, in a folder."""
    if not isinstance(network, ClsModule):
        network = Classifier(network, torch.zeros(3), torch.ones(()))
    (folder / BEST).parent.mkdir(parents=True)
    torch.save({"state_dict": network.state_dict()}, folder / BEST)
    return score_classification(network, data, folder, guide="empty", test=test)


@pytest.fixture(scope="module")
def scored(pool: MakePool, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both stages, scored on the pool with networks that have not learned anything."""
    folder = tmp_path_factory.mktemp("scored")
    for stage, options in (("cls", {}), ("held_out", {"hold_out": "b"})):
        metrics = score(Guided(), pool(**options), folder / stage)
        (folder / stage / "metrics.json").write_text(json.dumps(metrics))
    convolution = nn.Conv2d(1, 1, 5, padding=2)
    post = partial(fixed_postprocess, threshold=0.5, high_threshold=0.0)
    (folder / "seg" / "checkpoints").mkdir(parents=True)
    torch.save({"busi": {"postprocess": asdict(Postprocess())}}, folder / "seg" / BEST)
    metrics = score_segmentation(convolution, pool(), folder / "seg", postprocess=post, test=True)
    (folder / "seg" / "metrics.json").write_text(json.dumps(metrics))
    return folder


def metrics_of(folder: Path) -> dict[str, float | None]:
    metrics: dict[str, float | None] = json.loads((folder / "metrics.json").read_text())
    return metrics


def test_probabilities_are_those_under_the_prior_of_each_source(
    pool: MakePool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bayes' rule by hand: what a network says of balanced classes, times how common they are there.

    How far the network is believed is what makes validation images most likely. It knows more of test images,
    and they change nothing.
    """
    data = pool(balance="weights")
    module = ClsModule(network=Guided(), **data.class_balance())
    places, records = data.cohort.indices("val", "test"), data.cohort.records
    gains = [1.0 if split == "val" else 4.0 for split in np.array(data.cohort.splits)[places]]
    labels = data.cohort.labels()[places]
    logits = np.random.default_rng(0).normal(size=(len(places), 3)) + np.eye(3)[labels] * np.c_[gains]
    monkeypatch.setattr("busi.training.scoring.predict_logits", lambda *_: logits)
    metrics = score(module, data, tmp_path)
    rows = read_rows(tmp_path)
    train, counts = data.cohort.indices("train"), np.zeros((len(rows), 3))
    for row, count in zip(rows, counts, strict=True):
        for i in train:
            count[records[i].label] += records[i].source == row["source"]

    def believe(scale: float) -> np.ndarray:
        weighed = softmax(logits * scale, axis=1) * counts
        return np.asarray(weighed / weighed.sum(axis=1, keepdims=True))

    val = np.array([row["split"] == "val" for row in rows])
    scales = np.geomspace(0.25, 4, 2001)
    likely = np.array([np.log(believe(scale)[range(len(rows)), labels]) for scale in scales])
    scale = float(module.logit_scale)
    assert scale == pytest.approx(scales[likely[:, val].sum(axis=1).argmax()], rel=0.002)
    assert 0.3 < scale < 0.9 * scales[likely.sum(axis=1).argmax()]
    assert metrics["val/logit_scale"] == pytest.approx(scale)
    for row, expected in zip(rows, believe(scale), strict=True):
        assert [row[f"prob_{name}"] for name in CLASSES] == pytest.approx(expected, rel=1e-5)
        found = np.array([row[f"logit_{name}"] for name in CLASSES], np.float64)
        assert softmax(found) == pytest.approx(expected, rel=1e-5)
    assert {row["source"] for row in rows} == {"a", "b"}
    assert torch.load(tmp_path / BEST, weights_only=True)["state_dict"]["logit_scale"] == module.logit_scale
    score_classification(module, data, tmp_path, guide="empty", test=True)
    assert read_rows(tmp_path) == rows
    module.on_fit_start()
    assert module.logit_scale == 1  # other weights


def test_source_stands_after_the_id_and_is_read_again(scored: Path) -> None:
    for stage in ("cls", "seg"):
        path = scored / stage / "predictions.csv"
        assert list(read_table(path)[0])[:3] == ["id", "source", "label"]
        columns = read_columns(path, stage)
        assert set(columns["source"].tolist()) == {"a", "b"}


@pytest.mark.parametrize("stage", ["cls", "seg"])
def test_each_source_has_its_own_numbers_and_the_pool_their_mean(scored: Path, stage: str) -> None:
    metrics, rows = metrics_of(scored / stage), read_rows(scored / stage)
    measure = measures(stage)
    for split in ("val", "test"):
        alone = [
            summarize([row for row in rows if row["source"] == name and row["split"] == split], measure)
            for name in "ab"
        ]
        for name in alone[0]:
            if name.endswith(("_low", "_high")):
                continue
            own = [one[name] for one in alone]
            for source, value in zip("ab", own, strict=True):
                same = None if value is None else pytest.approx(value)
                assert metrics[f"{split}/{source}/{name.split('/')[1]}"] == same
            defined = [x for x in own if x is not None]
            expected = pytest.approx(np.mean(defined)) if defined else None
            assert metrics[name] == expected
            if (
                split == "test"
                and (value := metrics[name]) is not None
                and metrics[f"{name}_low"] is not None
            ):
                assert metrics[f"{name}_low"] <= value + 1e-9  # type: ignore[operator]
                assert value <= metrics[f"{name}_high"] + 1e-9  # type: ignore[operator]


@pytest.mark.parametrize("stage", ["cls", "seg"])
def test_with_one_source_numbers_are_those_of_all_its_images(scored: Path, stage: str) -> None:
    rows = [row for row in read_rows(scored / stage) if row["source"] == "a"]
    metrics, measure = summarize(rows, measures(stage)), measures(stage)
    assert not [name for name in metrics if name.count("/") > 1]
    for split, number in (("val", 1000), ("test", 2000)):
        table = [row for row in rows if row["split"] == split]
        columns = {name: np.array([row[name] for row in table]) for name in table[0]}
        columns["label"] = np.array([CLASSES.index(name) for name in columns["label"]])
        compute = partial(measure, columns)
        (found,) = bootstrap_sources(
            columns["source"],
            columns["group"],
            lambda here, weights, compute=compute: compute(weights),  # noqa: ARG005
            number,
            over=find_cases(columns),
        ).values()
        for name in found.columns:
            for end, x in zip(("", "_low", "_high"), found[name], strict=True):
                assert metrics[f"{split}/{name}{end}"] == (x if np.isfinite(x) else None)


def test_thresholds_come_from_the_source_where_it_has_enough(scored: Path) -> None:
    metrics, columns = metrics_of(scored / "cls"), read_columns(scored / "cls" / "predictions.csv", "cls")
    probs = np.stack([columns[f"prob_{name}"] for name in CLASSES], axis=1)
    is_val, labels, sources = columns["split"] == "val", columns["label"], columns["source"]
    names = set()
    for source in "ab":
        val, test = is_val & (sources == source), ~is_val & (sources == source)
        enough = (labels[val] == MALIGNANT).sum() >= ENOUGH
        assert enough == (source == "a")
        fitted = val if enough else is_val
        for name, x in operating_points(labels[fitted], probs[fitted], labels[test], probs[test]).items():
            assert metrics[f"test/{source}/{name}"] == x
            names.add(name)
    for name in names:
        own = [x for source in "ab" if (x := metrics[f"test/{source}/{name}"]) is not None]
        assert metrics[f"test/{name}"] == pytest.approx(np.mean(own))


def test_unknown_source_takes_all_validation_images() -> None:
    labels, sources = np.array([1, 2] * 12), np.array(["a"] * 24)
    assert source_rows(labels, sources, "a").all()
    assert source_rows(labels, sources, "elsewhere").all()
    assert source_rows(labels[:2], sources[:2], "a").all()
    mixed = np.array(["a"] * 24 + ["b"] * 2)
    assert source_rows(np.append(labels, [1, 2]), mixed, "a").tolist() == [True] * 24 + [False] * 2


def test_probe_of_a_pool_is_written_and_its_main_numbers_stand_among_the_metrics(scored: Path) -> None:
    content = json.loads((scored / "cls" / "shortcut.json").read_text())
    metrics, columns = metrics_of(scored / "cls"), read_columns(scored / "cls" / "predictions.csv", "cls")
    assert (content["skipped"], content["no_features"], content["left_out"]) == (None, None, {})
    assert content["design"] == "val_to_test"
    probe = content["probes"]["all"]
    assert probe["num_fitted"] == (columns["split"] == "val").sum()
    assert probe["num_judged"] == (columns["split"] == "test").sum()
    assert probe["chance"] == {"balanced_accuracy": 0.5, "auroc": 0.5}
    # The sources differ in the height of their images.
    assert probe["pixels"]["auroc"][0] > 0.95
    assert metrics["test/shortcut/source_auroc"] == probe["features"]["auroc"][0]
    assert (
        metrics["test/shortcut/source_balanced_accuracy_benign_high"]
        == (content["probes"]["benign"]["features"]["balanced_accuracy"][2])
    )
    assert "label" not in content["probes"]["benign"]
    assert content["probes"]["normal"].keys() == {"skipped"}  # 6 of them in a part
    for source in "ab":
        said, here = content["normals"][source], (columns["source"] == source) & (columns["split"] == "test")
        truth, called = columns["label"][here] == 0, columns["pred"][here] == "normal"
        assert said["normal_recall"][0] == pytest.approx(recall_score(truth, called))
        assert said["normal_recall"][0] == metrics[f"test/{source}/recall_normal"]
        assert said["lesions_called_normal"][0] == pytest.approx(called[~truth].mean())
        assert (said["split"], said["num_normals"]) == ("test", truth.sum())


def test_source_that_is_held_out_has_the_plain_numbers_and_is_told_from_the_others(scored: Path) -> None:
    content, metrics = (
        json.loads((scored / "held_out" / "shortcut.json").read_text()),
        metrics_of(scored / "held_out"),
    )
    assert not [name for name in metrics if name.startswith(("test/a/", "test/b/", "val/a/"))]
    assert content["design"] == "halves"
    assert content["probes"]["all"]["sources"] == ["a", "b"]
    assert {name: one["split"] for name, one in content["normals"].items()} == {"a": "val", "b": "test"}
    assert isinstance(metrics["test/shortcut/source_auroc"], float)


def test_one_source_has_no_probe(pool: MakePool, tmp_path: Path) -> None:
    metrics = score(Guided(), pool("b"), tmp_path)
    assert not (tmp_path / "shortcut.json").exists()
    assert not [name for name in metrics if name.count("/") > 1]


def test_run_that_leaves_the_test_fold_alone_probes_nothing(pool: MakePool, tmp_path: Path) -> None:
    metrics = score(Guided(), pool(), tmp_path, test=False)
    assert not (tmp_path / "shortcut.json").exists()
    assert {name.split("/")[0] for name in metrics} == {"val"}
    assert "val/b/auroc" in metrics


def test_pixels_are_of_the_image_without_its_padding(pool: MakePool) -> None:
    data = pool()
    pixels = describe_pixels(data)
    indices = data.cohort.indices("val", "test")
    assert pixels[:, 3:].sum(axis=1) == pytest.approx(np.ones(len(indices)))
    heights = [data.cohort.contents[i].height for i in indices]
    assert np.exp(pixels[:, 0]) == pytest.approx(heights)
    # Images of these counts are wider than tall: bars of black would be a fifth of some.
    assert np.median(pixels[:, 3]) < 0.15


def read_rows(folder: Path) -> list[dict[str, object]]:
    stage = "seg" if folder.name == "seg" else "cls"
    columns = read_columns(folder / "predictions.csv", stage)
    named = {**columns, "label": np.array(CLASSES)[columns["label"]]}
    return [{name: column[k].item() for name, column in named.items()} for k in range(len(columns["label"]))]


def measures(stage: str) -> Any:
    def classify(columns: Any, weights: Any) -> Any:
        probs = np.stack([columns[f"prob_{name}"] for name in CLASSES], axis=1)
        return classification_metrics(columns["label"], probs, weights)

    return segmentation_metrics if stage == "seg" else classify


def test_names_of_sources_go_into_logs_as_they_are(tmp_path: Path) -> None:
    sources = ("Klinik Süd (2)", "a*b?", "=1+2", "a.b", "a/b", 'it\'s "x"', "$x$", "日本", "a,b;c", "[x]{y}")
    metrics = {f"test/{source}/dice": 0.5 for source in sources}
    log = CSVLog(str(tmp_path))
    log.log_metrics({**metrics, "epoch": 0}, 0)
    log.save()
    assert read_table(tmp_path / "metrics.csv")[0].keys() == {*metrics, "epoch", "step"}
    board = TensorBoardLogger(str(tmp_path))
    board.log_metrics(metrics, 0)
    board.finalize("success")
    events = EventAccumulator(board.log_dir)
    events.Reload()
    assert set(events.Tags()["scalars"]) == metrics.keys()
