"""Ensembles of runs, by the real command, against the mean of what their members say."""

import json
import re
import shutil
from collections.abc import Callable
from itertools import product
from pathlib import Path

import hydra
import numpy as np
import pytest
import torch
from omegaconf import DictConfig
from PIL import Image
from torch import nn

from busi import ClsModule, Predictor, SegModule
from busi.core.tables import read_table
from busi.core.types import CLASSES, InputError
from busi.data.files import read_gray
from busi.data.geometry import letterbox, quantize, unletterbox
from busi.data.records import file_name
from busi.data.synthetic import make_synthetic
from busi.guides.upstream import find_upstream
from busi.inference.export import write_bundle
from busi.inference.maps import segment
from busi.metrics.calibration import fit_logit_scale
from busi.models.ensemble import Ensemble
from busi.models.two_stage import Segmenter, resize
from busi.reporting.calibration import calibration_table
from busi.reporting.pooling import score
from busi.runs.checkpoints import Checkpoint, load_classifier, load_network, load_segmenter, read_checkpoint
from busi.runs.members import check_members
from busi.runs.predictions import find_records, read_run_columns
from busi.runs.run import Run, open_run
from busi.runs.variants import read_variants
from busi.training.ensemble import make_ensemble, make_ensembles
from busi.training.fitting import fit, go_on
from tests.conftest import Fitted, of_fold, of_seed
from tests.made_runs import record_run
from tests.processes import call

Compose = Callable[..., DictConfig]


def test_a_network_says_the_mean_of_what_its_members_say() -> None:
    members = [nn.Bilinear(4, 2, 3) for _ in range(3)]
    one, other = torch.rand(5, 4), torch.rand(5, 2)
    expected = sum((member(one, other) for member in members), torch.zeros(5, 3)) / 3
    torch.testing.assert_close(Ensemble(members)(one, other), expected)


@pytest.fixture(scope="module")
def members(configs: Compose) -> dict[str, list[Run]]:
    """Two seeds of each stage; each classifier has the segmentation model of its seed, at half its size."""
    outputs = Path(configs().output_dir)
    seg = [fit(configs("stage=seg", f"seed={k}", "model.tta=flip"), outputs / f"seg{k}") for k in (0, 1)]
    cls = [
        fit(configs("stage=cls", f"seed={k}", "image_size=64", f"seg_ckpt={run.folder}"), outputs / f"cls{k}")
        for k, run in enumerate(seg)
    ]
    return {"seg": seg, "cls": cls}


@pytest.fixture(scope="module")
def ensembles(members: dict[str, list[Run]], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    """By the command, which is given the classifiers first."""
    folder = tmp_path_factory.mktemp("ensembles")
    given = [str(run.folder) for stage in ("cls", "seg") for run in members[stage]]
    done = call("busi.ensemble", *given, "--output", str(folder), cwd=folder)
    assert done.returncode == 0, done.stderr
    return {"seg": open_run(folder / "segmentation" / "0"), "cls": open_run(folder / "predicted" / "0")}


@torch.inference_mode()
def mean_map(members: list[Run], gray: np.ndarray) -> np.ndarray:
    """Lesion probability of an image by the mean of the logits of segmentation runs."""
    image = torch.from_numpy(letterbox(gray, 32))[None, None].float() / 255
    networks = [load_network(read_checkpoint(run.best_checkpoint)) for run in members]
    logits = torch.stack([network(image) for network in networks]).mean(dim=0)
    return np.asarray(logits.sigmoid()[0, 0])


def test_maps_are_those_of_the_mean_of_logits(
    ensembles: dict[str, Run], members: dict[str, list[Run]]
) -> None:
    run, records = ensembles["seg"], find_records(ensembles["seg"])
    rows = read_table(run.folder / "predictions.csv")
    assert {row["split"] for row in rows} == {"val", "test"}
    for row in rows[::5]:
        gray = read_gray(records[row["id"]].image)
        expected = unletterbox(mean_map(members["seg"], gray), *gray.shape)
        stored = np.asarray(Image.open(run.folder / "maps" / f"{file_name(row['id'])}.png"))
        assert np.abs(stored.astype(int) - quantize(expected).astype(int)).max() <= 1


def test_classes_are_those_of_the_mean_of_logits_guided_by_the_ensemble(
    ensembles: dict[str, Run], members: dict[str, list[Run]]
) -> None:
    """Before the scale and the prior: the scale is that of the mean, fitted anew."""
    run, records = ensembles["cls"], find_records(ensembles["cls"])
    weights = read_checkpoint(run.best_checkpoint).weights
    columns, mean = read_run_columns(run), answers_of(run)
    val, correction = columns["split"] == "val", weights["logit_correction"].double().numpy()
    priors = np.broadcast_to(correction, mean[val].shape)
    scale = fit_logit_scale(mean[val], columns["label"][val], priors)
    assert weights["logit_scale"].item() == pytest.approx(scale, rel=1e-3)
    classifiers = [load_classifier(read_checkpoint(one.best_checkpoint)) for one in members["cls"]]
    network = load_network(read_checkpoint(ensembles["seg"].best_checkpoint))
    segmenter = Segmenter(network, 32)
    rows = read_table(run.folder / "predictions.csv")
    assert [row["id"] for row in rows] == [
        row["id"] for row in read_table(members["cls"][0].folder / "predictions.csv")
    ]
    for row in rows[::5]:
        square = letterbox(read_gray(records[row["id"]].image), 64)
        guide = torch.from_numpy(quantize(segment(segmenter, square[None]).numpy())).float() / 255
        with torch.inference_mode():
            image = torch.from_numpy(square)[None, None].float() / 255
            answers = torch.stack([classifier.network(image, guide) for classifier in classifiers])
            expected = answers.mean(dim=0)[0] * weights["logit_scale"] + weights["logit_correction"]
        stored = [float(row[f"logit_{name}"]) for name in CLASSES]
        assert stored == pytest.approx(expected.tolist(), abs=1e-4)


def test_an_ensemble_is_a_run_like_any_other(
    ensembles: dict[str, Run], members: dict[str, list[Run]]
) -> None:
    """A report takes it; it predicts both stages, calibrated, and says what its members have seen."""
    variants = read_variants([run.folder for run in ensembles.values()], partial=True)
    assert [variant.name for variant in variants] == ["segmentation", "predicted"]
    assert calibration_table(variants[1], [score(variants[1].seeds[0])]).rows[0][0] == "0, 1"
    assert ensembles["cls"].config.seg_ckpt == str(ensembles["seg"].best_checkpoint.resolve())
    for stage, run in ensembles.items():
        metadata, first = (read_checkpoint(one.best_checkpoint).metadata for one in (run, members[stage][0]))
        assert all(metadata[name] == first[name] for name in ("data", "split", "fold", "train", "val"))
        assert run.members == [str(one.folder) for one in members[stage]]
        assert run.finished
        assert run.provenance["tested"]
    predictor = Predictor(ensembles["cls"].folder)
    assert predictor.calibrated
    assert predictor.infos[0].postprocess == ensembles["seg"].postprocess
    assert {"dice", "macro_f1"} <= {name.removeprefix("test/") for name in predictor.infos[0].metrics}
    for kind, module in (("seg", SegModule), ("cls", ClsModule)):
        path = ensembles[kind].best_checkpoint
        state = module.load_from_checkpoint(path).state_dict()
        assert all(torch.equal(x, state[name]) for name, x in read_checkpoint(path).weights.items())
    record = next(iter(find_records(ensembles["cls"]).values()))
    gray = read_gray(record.image)
    guide = resize(torch.from_numpy(mean_map(members["seg"], gray))[None, None], 64)[0, 0].numpy()
    np.testing.assert_allclose(
        predictor(record.image).mask_probs, unletterbox(guide, *gray.shape), atol=0.02
    )  # the pipeline shrinks the classifier's square, which was scaled from the image


def test_classifiers_of_one_segmentation_model_keep_it(
    configs: Compose, members: dict[str, list[Run]], tmp_path: Path
) -> None:
    """The segmentation run need not be given; members may have different encoders."""
    seg = members["seg"][0]
    other = fit(
        configs("stage=cls", "encoder=resnet10t", "image_size=64", f"seg_ckpt={seg.folder}"),
        tmp_path / "other",
    )
    (made,) = make_ensembles([members["cls"][0], other], tmp_path / "ensembles")
    inside = load_segmenter(read_checkpoint(made.best_checkpoint))
    assert inside is not None
    state, expected = inside.network.state_dict(), read_checkpoint(seg.best_checkpoint).part("network.")
    assert state.keys() == expected.keys()
    assert all(torch.equal(state[name], expected[name]) for name in state)
    assert sorted(made.config.encoder.split(" and ")) == ["resnet10t", "test_efficientnet"]


def test_empty_guides_need_no_segmentation_model(fitted: Fitted, tmp_path: Path) -> None:
    runs = [fitted("cls", "guide=empty", *of_seed(k)) for k in (0, 1)]
    made = make_ensemble(runs, tmp_path / "ensemble")
    mean, one, other = (answers_of(run) for run in (made, *runs))
    assert mean == pytest.approx((one + other) / 2, abs=1e-4)


def answers_of(run: Run) -> np.ndarray:
    """Logits of the network of a classifier, without the scale and the prior, (n, 3)."""
    rows = read_table(run.folder / "predictions.csv")
    logits = np.array([[float(row[f"logit_{name}"]) for name in CLASSES] for row in rows])
    weights = read_checkpoint(run.best_checkpoint).weights
    return (logits - weights["logit_correction"].numpy()) / weights["logit_scale"].item()  # type: ignore[no-any-return]


def test_untested_members_leave_the_test_fold_alone(fitted: Fitted, tmp_path: Path) -> None:
    runs = [fitted("seg", *of_seed(k), "test=false") for k in (0, 1)]
    made = make_ensemble(runs, tmp_path / "ensemble")
    assert not made.provenance["tested"]
    assert {row["split"] for row in read_table(made.folder / "predictions.csv")} == {"val"}
    assert not any(
        name.startswith("test/") for name in json.loads((made.folder / "metrics.json").read_text())
    )


def test_what_does_not_belong_together_is_refused(
    configs: Compose,
    fitted: Fitted,
    members: dict[str, list[Run]],
    ensembles: dict[str, Run],
    tmp_path: Path,
) -> None:
    first, second = members["seg"]
    with pytest.raises(InputError, match="Give at least two"):
        make_ensembles([first, Run(first.folder / "." / "", first.provenance)], tmp_path / "out")
    with pytest.raises(InputError, match="are the same training. Leave one out"):
        check_members([first, Run(tmp_path / "copy", first.provenance)])
    with pytest.raises(InputError, match="is an ensemble already"):
        check_members([first, ensembles["seg"]])
    with pytest.raises(InputError, match="not finished: python -m busi.train resume="):
        check_members([first, Run(second.folder, second.provenance | {"finished": None})])
    stopped = Run(ensembles["seg"].folder, ensembles["seg"].provenance | {"finished": None})
    assert "busi.ensemble" in stopped.how_to_finish
    with pytest.raises(InputError, match="differ in split, and cannot"):
        check_members([first, Run(second.folder, second.provenance | {"split": "another"})])
    larger = record_run(tmp_path / "larger", configs("stage=seg", "image_size=64"))
    with pytest.raises(InputError, match="differ in image_size, and cannot"):
        check_members([first, larger])
    inner = [Run(run.folder, run.provenance | {"leave_out": 2}) for run in members["seg"]]
    with pytest.raises(InputError, match="they make guides for other runs, and are not scored"):
        make_ensembles(inner, tmp_path / "out")
    with pytest.raises(InputError, match="carry 2 segmentation models, .* Give the runs of all of them"):
        make_ensembles(members["cls"], tmp_path / "out")
    third = fitted("seg", "seed=2")
    with pytest.raises(InputError, match=f"Leave out those that no classifier carries: {third.folder}"):
        make_ensembles([*members["cls"], *members["seg"], third], tmp_path / "out")
    other_fold = [
        record_run(tmp_path / f"seed{seed}", configs("stage=seg", "data.fold=1", f"seed={seed}"))
        for seed in (1, 2)
    ]
    with pytest.raises(InputError, match=r"folds 0 and 1 have different members \(seeds 0, 1 and 1, 2\)"):
        make_ensembles([*members["seg"], *other_fold], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_order_of_runs_does_not_matter(
    ensembles: dict[str, Run], members: dict[str, list[Run]], tmp_path: Path
) -> None:
    (again,) = make_ensembles(members["seg"][::-1], tmp_path)
    assert again.members == ensembles["seg"].members
    assert again.provenance["recipe"] == ensembles["seg"].provenance["recipe"]
    assert read_table(again.folder / "predictions.csv") == read_table(
        ensembles["seg"].folder / "predictions.csv"
    )


def no_data(*_: object) -> None:
    raise InputError("the disk is not there")


def test_the_same_command_goes_on(
    ensembles: dict[str, Run],
    members: dict[str, list[Run]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What is finished is kept, what was stopped is made again, and nothing else is touched."""
    folder = tmp_path / "segmentation" / "0"
    shutil.copytree(ensembles["seg"].folder, folder)
    before = (folder / "provenance.json").read_text()
    make_ensembles(members["seg"], tmp_path)
    assert (folder / "provenance.json").read_text() == before
    stopped = json.loads(before) | {"finished": None}
    (folder / "provenance.json").write_text(json.dumps(stopped))
    (folder / "metrics.json").unlink()
    assert make_ensembles(members["seg"], tmp_path)[0].finished
    assert (folder / "metrics.json").is_file()
    since = [Run(run.folder, run.provenance | {"finished": "later"}) for run in members["seg"]]
    finished = (folder / "provenance.json").read_text()
    monkeypatch.setattr("busi.training.ensemble.construct", no_data)
    with pytest.raises(InputError, match="the disk is not there"):
        make_ensembles(since, tmp_path)
    monkeypatch.undo()
    assert (folder / "provenance.json").read_text() == finished
    (again,) = make_ensembles(since, tmp_path)
    assert again.provenance["upstream"]["members_finished"] == ["later", "later"]
    third = Run(members["seg"][0].folder, members["seg"][0].provenance)
    shutil.rmtree(folder)
    shutil.copytree(third.folder, folder)
    with pytest.raises(InputError, match="holds another run"):
        make_ensembles(members["seg"], tmp_path)
    assert read_table(folder / "predictions.csv") == read_table(third.folder / "predictions.csv")


def test_ensembles_may_lie_among_their_members(members: dict[str, list[Run]], tmp_path: Path) -> None:
    for k, run in enumerate(members["seg"]):
        shutil.copytree(run.folder, tmp_path / str(k))
    for expected in ("Finished in", "Finished already"):
        done = call("busi.ensemble", str(tmp_path), "--output", str(tmp_path / "both"), cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert expected in done.stderr + done.stdout


def test_other_data_is_refused(
    members: dict[str, list[Run]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where only what is scored has changed."""
    then = [Run(run.folder, run.provenance | {"data": "of that time"}) for run in members["seg"]]
    with pytest.raises(InputError, match="is of another run: its data differ"):
        make_ensemble(then, tmp_path / "out")
    read: Callable[[Run], Checkpoint] = lambda run: read_checkpoint(run.best_checkpoint)  # noqa: E731
    monkeypatch.setattr("busi.training.ensemble.read_best", read)
    with pytest.raises(InputError, match="holds other data than .*seg0 was trained on"):
        make_ensemble(then, tmp_path / "out")


@pytest.mark.slow
def test_an_ensemble_is_exported_and_tried_on_other_data(
    ensembles: dict[str, Run], cache: Path, tmp_path: Path
) -> None:
    write_bundle(ensembles["cls"].folder, tmp_path / "bundle")
    metadata = (tmp_path / "bundle" / "README.md").read_text()
    assert "the mean logits of 2 trainings with the seeds 0, 1" in metadata
    for kind, module in (("seg", SegModule), ("cls", ClsModule)):
        path = ensembles[kind].best_checkpoint
        state = module.load_from_checkpoint(path).state_dict()
        assert all(torch.equal(x, state[name]) for name, x in read_checkpoint(path).weights.items())
    record = next(iter(find_records(ensembles["cls"]).values()))
    found, expected = (
        Predictor(source)(record.image).probs for source in (tmp_path / "bundle", ensembles["cls"].folder)
    )
    assert found == pytest.approx(expected, abs=1e-4)
    other = make_synthetic(tmp_path / "other", (10, 10, 10), 96, 9)
    arguments = [str(ensembles["cls"].folder), "--cache", str(cache), "--data", str(other)]
    done = call("busi.evaluate", *arguments, "--output", str(tmp_path / "evaluation"), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "evaluation" / "index.html").read_text()
    assert "ensemble of 2" in page


def test_an_ensemble_is_neither_trained_nor_taken_for_a_run_to_train_like(
    configs: Compose, members: dict[str, list[Run]], ensembles: dict[str, Run]
) -> None:
    untested = Run(ensembles["seg"].folder, ensembles["seg"].provenance | {"tested": False})
    with pytest.raises(InputError, match="is an ensemble and cannot go on"):
        go_on(untested, test=True)
    folder, other = (Path(configs().output_dir) / name for name in ("ensemble", "other"))
    shutil.copytree(ensembles["seg"].folder, folder)
    try:
        for seed, run in enumerate(members["seg"]):
            cfg = configs("stage=cls", f"seed={seed}", "seg_ckpt=auto")
            data, output_dir = hydra.utils.instantiate(cfg.data), Path(cfg.output_dir)
            assert find_upstream("auto", data, output_dir, debug=False).path == run.best_checkpoint
        record_run(other, configs("stage=seg", "seed=3", "optimizer.lr=1e-4"))
        with pytest.raises(InputError, match="different settings"):
            find_upstream("auto", data, output_dir, debug=False)
    finally:
        shutil.rmtree(folder)
        shutil.rmtree(other)
    with pytest.raises(InputError, match="is an ensemble, with several encoders"):
        fit(configs("stage=cls", f"seg_ckpt={ensembles['seg'].folder}", "encoder_weights=segmenter"), folder)
    cfg = configs("stage=cls", "guide=crossfit", f"seg_ckpt={ensembles['seg'].folder}")
    with pytest.raises(InputError, match=r"is an ensemble, .* seg_ckpt=.*seg0"):
        fit(cfg, folder)


def test_an_output_that_cannot_be_is_one_line(members: dict[str, list[Run]], tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("")
    given = [str(run.folder) for run in members["seg"]]
    done = call("busi.ensemble", *given, "--output", str(tmp_path / "mine.txt"), cwd=tmp_path)
    assert done.returncode == 1
    assert re.fullmatch(r"error: .*mine\.txt.*\n", done.stderr)


def test_folds_of_ensembles_are_one_result(fitted: Fitted, tmp_path: Path) -> None:
    """Two seeds of every fold, in folders whose names are in no order."""
    runs = [
        open_run(
            shutil.copytree(
                fitted("cls", "guide=empty", *of_seed(seed), *of_fold(fold)).folder, tmp_path / name
            )
        )
        for name, (seed, fold) in zip(
            ["10", "2", "33", "4", "5", "6"], product((0, 1), range(3)), strict=True
        )
    ]
    made = make_ensembles(runs, tmp_path / "ensembles")
    assert [run.provenance["seeds"] for run in made] == [[0, 1]] * 3
    (variant,) = read_variants([tmp_path / "ensembles"], partial=False)
    assert (variant.name, variant.folds, variant.trainings) == (
        "empty",
        (0, 1, 2),
        "an ensemble of 2 trainings",
    )
    with pytest.raises(InputError, match=r"different numbers of trainings \(.* of 2, .* of 1\): report each"):
        read_variants([made[0].folder, *(run.folder for run in runs[1:3])], partial=False)
