import pickle
import resource
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from omegaconf import DictConfig, OmegaConf
from torch.optim.swa_utils import AveragedModel

from busi.core.files import need_room
from busi.core.types import InputError
from busi.models.building import build_network
from busi.models.postprocess import Postprocess
from busi.modules.classification import ClsModule
from busi.runs.checkpoints import (
    WholeCheckpointIO,
    load_classifier,
    load_network,
    load_segmenter,
    make_metadata,
    read_checkpoint,
    remove_parts,
    write_logit_scale,
)
from tests.guides.test_leaks import cohort


class Evil:
    """Runs a command when it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return (Path.touch, (self.trace,))


def test_pickle_that_runs_code_is_refused_and_does_not_run(tmp_path: Path) -> None:
    trace, path = tmp_path / "trace", tmp_path / "evil.ckpt"
    torch.save({"busi": Evil(trace), "state_dict": {}, "epoch": 0, "global_step": 0}, path)
    with pytest.raises(InputError, match="damaged or no checkpoint"):
        read_checkpoint(path)
    assert not trace.exists()


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", pickle.dumps({"a": 1})])
def test_damaged_checkpoint_is_an_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.ckpt"
    path.write_bytes(content)
    with pytest.raises(InputError, match="damaged or no checkpoint"):
        read_checkpoint(path)


@pytest.mark.parametrize("kind", ["zip", "gztar"])
def test_a_packed_folder_is_to_be_unpacked(tmp_path: Path, kind: str) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "provenance.json").write_text("{}")
    packed = shutil.make_archive(str(tmp_path / "packed"), kind, tmp_path, "run")
    with pytest.raises(InputError, match="is a packed folder: unpack it, and give the folder"):
        read_checkpoint(Path(packed))


def test_foreign_checkpoint_is_an_error(tmp_path: Path) -> None:
    torch.save({"state_dict": {}}, tmp_path / "x.ckpt")
    with pytest.raises(InputError, match="not a checkpoint of busi"):
        read_checkpoint(tmp_path / "x.ckpt")


def test_missing_checkpoint_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no checkpoint at"):
        read_checkpoint(tmp_path / "x.ckpt")


@pytest.mark.parametrize(
    "target",
    ["os.system", "busi.runs.provenance.subprocess.run", "torch.hub.load", "torch.nn.functional.relu"],
)
def test_config_in_a_checkpoint_can_only_build_networks(target: str) -> None:
    with pytest.raises(InputError, match="is nothing that a config may build"):
        build_network(OmegaConf.create({"network": {"_target_": target}, "tta": "none"}))


def test_network_is_rebuilt_from_its_checkpoint_alone(
    tmp_path: Path, compose: Callable[..., DictConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []
    monkeypatch.setattr("busi.runs.checkpoints.keep_freed_memory", lambda: asked.append(True))
    cfg = compose("image_size=32", "run_dir=here", "model.network.decoder_channels=[8,8,8,8,8]")
    network = build_network(cfg.model).eval()
    network.mean.fill_(0.3)
    metadata = make_metadata(cfg, cohort(0), None, Postprocess())
    weights = {f"network.{name}": x for name, x in network.state_dict().items()}
    weights["other"] = torch.ones(1)
    content = {"busi": metadata, "state_dict": weights, "epoch": 3, "global_step": 12}
    torch.save(content, tmp_path / "x.ckpt")
    rebuilt = load_network(read_checkpoint(tmp_path / "x.ckpt"))
    assert asked == [True]  # before it predicts
    image = torch.rand(1, 1, 32, 32)
    assert not rebuilt.training
    assert torch.equal(rebuilt(image), network(image))


def test_classifier_has_the_scale_of_its_checkpoint(trained: Path, tmp_path: Path) -> None:
    """One that earlier versions wrote has none, which means 1."""
    path = tmp_path / "x.ckpt"
    shutil.copy(trained / "checkpoints" / "best.ckpt", path)
    image, guide = torch.rand(2, 3, 1, 64, 64)
    answers = []
    for scale in (None, 1.0, 3.0):
        content = torch.load(path, weights_only=True)
        if scale is None:
            del content["state_dict"]["logit_scale"]
            torch.save(content, path)
        else:
            write_logit_scale(path, torch.tensor(scale))
        module = ClsModule.load_from_checkpoint(path).eval()
        with torch.no_grad():
            answers.append(load_classifier(read_checkpoint(path))(image, guide))
            assert torch.allclose(module(image, guide), answers[-1], atol=1e-5)
    averaged = AveragedModel(module, use_buffers=True).state_dict()  # of callbacks=[default,ema]
    del averaged["module.logit_scale"]
    AveragedModel(module, use_buffers=True).load_state_dict(averaged)
    old, one, three = (x - content["state_dict"]["logit_correction"] for x in answers)
    assert torch.equal(old, one)
    assert torch.allclose(3 * one, three, atol=1e-5)
    content["state_dict"]["logit_scale"] = torch.ones(3)
    torch.save(content, path)
    with pytest.raises(InputError, match=r"damaged \(.*logit_scale\)"):
        load_classifier(read_checkpoint(path))


def test_classifier_without_what_guided_it_is_refused(trained: Path, tmp_path: Path) -> None:
    path = tmp_path / "x.ckpt"
    content = torch.load(trained / "checkpoints" / "best.ckpt", weights_only=True)
    torch.save({**content, "busi": {**content["busi"], "upstream": None}}, path)
    with pytest.raises(InputError, match="lacks the segmentation model of guide=predicted: give another"):
        load_segmenter(read_checkpoint(path))


@pytest.mark.parametrize("named", [{"encoder_weights": "imagenet"}, {"encoder_weights": True}, {}])
def test_checkpoint_that_names_hub_weights_is_rebuilt_without_the_network(
    tmp_path: Path,
    compose: Callable[..., DictConfig],
    monkeypatch: pytest.MonkeyPatch,
    named: dict[str, object],
) -> None:
    def call(*_: object, **__: object) -> None:
        raise AssertionError("a server was looked up")

    cfg = compose("image_size=32", "run_dir=here", "model.network.decoder_channels=[8,8,8,8,8]")
    network = build_network(cfg.model).eval()
    del cfg.model.network.encoder_weights
    cfg.model.network = {**cfg.model.network, **named}
    weights = {f"network.{name}": x for name, x in network.state_dict().items()}
    metadata = make_metadata(cfg, cohort(0), None, Postprocess())
    content = {"busi": metadata, "state_dict": weights, "epoch": 3, "global_step": 12}
    torch.save(content, tmp_path / "x.ckpt")
    monkeypatch.setattr("socket.getaddrinfo", call)
    rebuilt = load_network(read_checkpoint(tmp_path / "x.ckpt"))
    image = torch.rand(1, 1, 32, 32)
    assert torch.equal(rebuilt(image), network(image))
    with pytest.raises(InputError, match="encoder_weights"):  # a training asks for them in another way
        build_network(cfg.model)


@pytest.mark.parametrize("arguments", [["resnet34", 5, "imagenet"], ["resnet34"]])
def test_networks_have_named_arguments(arguments: list[object]) -> None:
    network = {"_target_": "segmentation_models_pytorch.Unet", "_args_": arguments, "encoder_weights": None}
    with pytest.raises(InputError, match="_args_: give a network its arguments by name"):
        build_network(OmegaConf.create({"network": network, "tta": "none"}))


def test_checkpoint_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    path, checkpoints = tmp_path / "last.ckpt", WholeCheckpointIO()
    checkpoints.save_checkpoint({"weights": torch.zeros(10)}, path)
    _, most = limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, most))
        with pytest.raises(InputError, match=r"File too large\. Make room"), need_room(tmp_path):
            checkpoints.save_checkpoint({"weights": torch.zeros(10_000)}, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert torch.load(path, weights_only=True)["weights"].shape == (10,)
    assert [file.name for file in tmp_path.iterdir()] == ["last.ckpt"]


def test_parts_of_a_killed_process_are_deleted(tmp_path: Path) -> None:
    for name in (".last-abc.ckpt", "last.ckpt"):
        (tmp_path / name).touch()
    remove_parts(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["last.ckpt"]
