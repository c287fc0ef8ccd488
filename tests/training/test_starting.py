"""Runs that start from others: the weights that they begin with, what is refused, and the whole chain."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
import timm
import torch
from omegaconf import DictConfig

from busi.core.tables import read_table
from busi.core.types import InputError
from busi.models.building import build_network
from busi.models.postprocess import Postprocess
from busi.runs.checkpoints import Checkpoint, make_metadata, read_checkpoint
from busi.runs.run import Run, open_run
from busi.training.fitting import fit, go_on, resolve
from busi.training.starting import check_kind, load_start, refuse_two_starts
from tests.conftest import SMALL, Compose
from tests.guides.test_leaks import cohort
from tests.processes import call

SEG = ("stage=seg", "encoder=test_efficientnet", "image_size=32", "run_dir=/runs/1")
CLS = ("stage=cls", *SEG[1:])


def make_checkpoint(cfg: DictConfig) -> Checkpoint:
    """A run that was never trained."""
    network = build_network(cfg.model)
    network.mean.fill_(0.25)
    weights = {f"network.{name}": x for name, x in network.state_dict().items()}
    metadata = make_metadata(cfg, cohort(0), None, Postprocess())
    return Checkpoint(Path("runs/pre/best.ckpt"), metadata, weights, 0, 0)


@pytest.mark.parametrize(
    ("there", "here"),
    [
        (SEG, SEG),
        (CLS, CLS),
        (SEG, (*SEG, "image_size=64", "model.tta=flip", "optimizer.lr=1", "data=busbra")),
        (CLS, (*CLS, "model.network.dropout=0.5", "guide=empty")),
    ],
)
def test_whole_network_begins_with_the_weights_of_the_start(
    compose: Compose, there: tuple[str, ...], here: tuple[str, ...]
) -> None:
    start, cfg = make_checkpoint(compose(*there)), compose(*here)
    check_kind(cfg, start)
    network = build_network(cfg.model)
    load_start(network, cfg, start)
    state = start.part("network.")
    assert network.state_dict().keys() == state.keys()
    assert all(torch.equal(x, state[name]) for name, x in network.state_dict().items())


@pytest.mark.parametrize(
    ("there", "here", "words"),
    [
        (SEG, (*SEG, "encoder=resnet18"), "encoder_name=tu-test_efficientnet there.*give encoder=test_effic"),
        (
            # Networks of the same tensors, which pad images in another way.
            (*SEG, "encoder=tf_efficientnet_lite0"),
            (*SEG, "encoder=efficientnet_lite0"),
            "give encoder=tf_efficientnet_lite0",
        ),
        (SEG, (*SEG, "model=unetplusplus"), "Unet there, .*UnetPlusPlus here.*give model=unet, or leave"),
        ((*SEG, "model=segformer"), SEG, "give model=segformer"),
        (
            SEG,
            (*SEG, "model.network.decoder_channels=[64,32,16,8,8]"),
            r"of \d+ tensors fit.*give model.network.decoder_channels=\[256,128,64,32,16\], or leave",
        ),
        (
            CLS,
            (*CLS, "model=guide_late"),
            "EarlyGuide there, .*LateGuide here.*give model=guide_early",
        ),
        (CLS, (*CLS, "encoder=resnet18"), "give encoder=test_efficientnet, or leave start_from out"),
    ],
)
def test_other_network_is_an_error_that_says_what_to_give(
    compose: Compose, there: tuple[str, ...], here: tuple[str, ...], words: str
) -> None:
    cfg = compose(*here)
    network = build_network(cfg.model)
    before = {name: x.clone() for name, x in network.state_dict().items()}
    with pytest.raises(InputError, match=f"has another network: .*{words}") as caught:
        load_start(network, cfg, make_checkpoint(compose(*there)))
    assert "\n" not in str(caught.value)
    assert all(torch.equal(x, before[name]) for name, x in network.state_dict().items())


def test_advice_makes_the_network_fit(compose: Compose) -> None:
    """What the error says to give, given."""
    there = make_checkpoint(compose(*SEG, "model=unetplusplus", "encoder=resnet10t"))
    cfg = compose(*SEG)
    with pytest.raises(InputError) as caught:
        load_start(build_network(cfg.model), cfg, there)
    advice = str(caught.value).split(": give ")[1].split(", or leave")[0].split()
    again = compose(*SEG, *advice)
    load_start(build_network(again.model), again, there)


def test_other_stage_and_ensemble_are_refused(compose: Compose) -> None:
    with pytest.raises(InputError, match="is of stage=cls: give a run of stage=seg$"):
        check_kind(compose(*SEG), make_checkpoint(compose(*CLS)))
    with pytest.raises(InputError, match="give a run of stage=cls. .*encoder_weights=segmenter"):
        check_kind(compose(*CLS), make_checkpoint(compose(*SEG)))
    cfg = compose(*SEG)
    ensemble = make_checkpoint(cfg)
    cfg.model.network._target_ = "busi.models.Ensemble"
    ensemble = Checkpoint(ensemble.path, make_metadata(cfg, cohort(0), None, None), {}, 0, 0)
    with pytest.raises(InputError, match="is an ensemble: give one of the runs"):
        check_kind(cfg, ensemble)


def test_start_takes_the_place_of_other_weights_unless_both_are_asked_for(compose: Compose) -> None:
    cfg = compose("stage=seg", "start_from=pre")
    refuse_two_starts(cfg, ["stage=seg", "start_from=pre"])
    resolved = resolve(cfg, Path("/runs/1"))
    assert (resolved.encoder_weights, resolved.start_from) == ("none", str(Path.cwd() / "pre"))
    said = ["start_from=pre", "encoder_weights=imagenet"]
    with pytest.raises(InputError, match="encoder_weights=imagenet others: leave one of them out"):
        refuse_two_starts(compose(*said), said)
    said[1] = "encoder_weights=none"
    refuse_two_starts(compose(*said), said)
    with pytest.raises(InputError, match="start.seed=3: a run fills that in.*start_from=RUN"):
        refuse_two_starts(compose("start.seed=3"), ["start.seed=3"])


@pytest.fixture(scope="module")
def pre(configs: Compose) -> Run:
    """A run on other images."""
    outputs = Path(configs().output_dir)
    return fit(configs("stage=seg", "data.read.seed=7"), outputs / "pre")


@pytest.fixture(scope="module")
def tuned(configs: Compose, pre: Run) -> Run:
    cfg = configs("stage=seg", f"start_from={pre.folder}", "trainer.max_epochs=2")
    return fit(cfg, Path(cfg.output_dir) / "tuned")


def test_refusals_come_before_anything_is_written(configs: Compose, trained: Path, tmp_path: Path) -> None:
    seg = open_run(trained.parents[1] / "seg" / "run")
    for overrides, words in (
        ([f"start_from={tmp_path}/x"], "does not exist"),
        ([f"start_from={trained}"], "is of stage=cls"),
        (
            [f"start_from={seg.folder}", "data.fold=1"],
            "leak: .* that test this run.* that validate this",
        ),
        ([f"start_from={seg.folder / 'checkpoints' / 'last.ckpt'}", "data.fold=2"], "leak: "),
        ([f"start_from={seg.folder}", "data.num_folds=4", "data.leave_out=2"], "that this run leaves out"),
        ([f"start_from={seg.folder}", "encoder=resnet18"], "give encoder=test_efficientnet"),
        ([f"start_from={seg.folder}", "trainer.max_epochs=0"], "trainer.max_epochs=0"),
        ([f"encoder_weights={seg.best_checkpoint}"], "start_from=RUN"),
        ([f"encoder_weights={seg.folder}"], "packaged, imagenet, segmenter or none, or a file"),
    ):
        with pytest.raises(InputError, match=words):
            fit(configs("stage=seg", *overrides), tmp_path / "run")
        assert not (tmp_path / "run").exists()


def test_weights_that_are_not_there_are_found_before_the_data_is_read(
    configs: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("busi.training.fitting.prepare", lambda _: pytest.fail("the data was read"))
    for setting, words in (
        ("start_from", "start_from=.*x does not exist: give a run folder or a .ckpt file"),
        ("encoder_weights", "encoder_weights=.*x: give packaged, imagenet, segmenter or none, or a file"),
    ):
        with pytest.raises(InputError, match=words):
            fit(configs("stage=seg", f"{setting}={tmp_path}/x"), tmp_path / "run")


@pytest.mark.slow
def test_run_goes_on_when_the_one_that_it_started_from_is_gone(
    configs: Compose, pre: Run, tuned: Run, tmp_path: Path
) -> None:
    lost = tmp_path / "pre"
    shutil.copytree(pre.folder, lost)
    cfg = configs("stage=seg", f"start_from={lost}", "trainer.max_epochs=2")
    stopped = fit(cfg, tmp_path / "stopped")
    facts = json.loads((stopped.folder / "provenance.json").read_text())
    (stopped.folder / "provenance.json").write_text(json.dumps({**facts, "finished": None}))
    shutil.rmtree(lost)
    again = go_on(open_run(stopped.folder), test=True)
    assert read_checkpoint(again.best_checkpoint).metadata["start"] == [
        read_checkpoint(pre.best_checkpoint).metadata
    ]
    cfg.start_from, cfg.reuse = str(pre.folder), True
    same = fit(cfg, tmp_path / "x")
    assert same.folder == tuned.folder
    for path in (stopped.folder / "checkpoints").glob("*.ckpt"):
        path.unlink()
    (stopped.folder / "provenance.json").write_text(json.dumps({**facts, "finished": None}))
    with pytest.raises(InputError, match="start_from=.* does not exist"):
        go_on(open_run(stopped.folder), test=True)
    shutil.copytree(tuned.folder, lost)
    with pytest.raises(InputError, match="start_from=.* is not what it was when .* was started"):
        go_on(open_run(stopped.folder), test=True)


@pytest.mark.slow
def test_whole_chain_of_commands(cache: Path, tmp_path: Path) -> None:
    """Pretrain, fine-tune, classify, ensemble, export, report, evaluate: what was seen stays known."""
    small = [*SMALL, "data.num_folds=3"]

    def run(command: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        done = call(command, *arguments, cwd=tmp_path, BUSI_CACHE=str(cache), COLUMNS="160")
        assert done.returncode == 0, done.stderr
        return done

    run("busi.train", "stage=seg", *small, "data.read.seed=7", "hydra.run.dir=my pretrained")
    sweep = ("-m", "stage=seg", *small, "data.fold=0,1,2", "test=true")
    for seed in "01":
        place = f"hydra.sweep.dir=outputs/seg{seed}"
        run("busi.train", *sweep, "start_from='my pretrained'", f"seed={seed}", place)
    shutil.rmtree(tmp_path / "my pretrained")
    run("busi.train", "stage=cls", *small, "seg_ckpt=outputs/seg0/0", "hydra.run.dir=outputs/cls")
    run("busi.ensemble", "outputs/seg0", "outputs/seg1", "--output", "ensembles")
    seen = {
        row["id"]
        for row in read_table(tmp_path / "outputs/cls/split.csv")
        if row["split"] in ("train", "val")
    }
    for path in ("outputs/cls", "ensembles/segmentation/0"):
        metadata = read_checkpoint(tmp_path / path / "checkpoints/best.ckpt").metadata
        behind = metadata["start"] or metadata["upstream"]["start"]
        assert len(behind) == 1
        assert len(metadata["train"]) + len(metadata["val"]) == len(seen)
    run("busi.report", "outputs/seg0", "outputs/seg1", "--output", "report")
    page = (tmp_path / "report/index.html").read_text()
    assert "my pretrained" in page
    assert "These runs started from trained weights" in page
    run("busi.export", "outputs/cls", "--output", "bundle")
    info = json.loads((tmp_path / "bundle/model.json").read_text())
    hashes = {x for one in behind for split in ("train", "val") for x in one[split]}
    assert hashes < set(info["seen"])
    made = [path for path in (cache / "synthetic").glob("[!.]*") if path.is_dir()]
    folder = next(path for path in made if is_of(path, hashes, tmp_path / "hashes"))
    for model in ("outputs/cls", "bundle", "ensembles/segmentation/0"):
        output = f"evaluation/{model}"
        run("busi.evaluate", model, "--data", str(folder), "--output", output)
        reasons = [row["reason"] for row in read_table(tmp_path / output / "split.csv")]
        assert reasons.count("seen") >= len(hashes)


def is_of(folder: Path, hashes: set[str], kept: Path) -> bool:
    """Whether most of the images that have these pixel hashes are in a folder."""
    from busi.data.class_folders import read_busi
    from busi.data.contents import read_contents

    _, contents, _ = read_contents(read_busi(folder), kept)
    return len(hashes & {content.pixel_hash for content in contents}) > len(hashes) / 2


@pytest.mark.slow
def test_encoder_of_others_trains_and_is_known_by_its_content(
    configs: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a.pth", "b.pth"):
        torch.manual_seed(0)
        torch.save(timm.create_model("test_efficientnet").state_dict(), name)
    torch.save(timm.create_model("test_efficientnet").state_dict(), "c.pth")
    outputs = f"output_dir={tmp_path}"
    runs = {
        name: fit(configs("stage=seg", outputs, f"encoder_weights={name}", "reuse=true"), tmp_path / name[0])
        for name in ("a.pth", "b.pth", "c.pth")
    }
    assert runs["b.pth"].folder == runs["a.pth"].folder != runs["c.pth"].folder
    metadata = read_checkpoint(runs["a.pth"].best_checkpoint).metadata
    assert (metadata["start"], metadata["encoder_files"]) == ([], [f"{tmp_path}/a.pth"])
    Path("a.pth").unlink()
    assert go_on(runs["a.pth"], test=True).finished
