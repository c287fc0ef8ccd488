"""Encoder weights from files that somebody else wrote: every form, and what is wrong with others."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import segmentation_models_pytorch as smp
import timm
import torch
from torch import Tensor, nn

from busi.core.types import InputError
from busi.models.encoders import Normalized, load_encoder_weights
from busi.models.guided import EarlyGuide
from busi.models.weight_files import match_file
from tests.runs.test_checkpoints import Evil

ENCODER = "test_efficientnet"
State = dict[str, Tensor]


def unet(encoder: str = ENCODER) -> Normalized:
    return Normalized(smp.Unet(f"tu-{encoder}", encoder_weights=None, in_channels=1, classes=1))


@pytest.fixture
def reference() -> Any:
    """A timm network for color images, with statistics and a head."""
    torch.manual_seed(0)
    network: Any = timm.create_model(ENCODER)
    for x in network.buffers():
        if x.is_floating_point():
            x.uniform_(0.5, 1.5)
    return network.eval()


def prefixed(state: State, prefix: str) -> State:
    return {f"{prefix}{name}": x for name, x in state.items()}


FORMS: dict[str, Callable[[State, Path], object]] = {
    "bare.pth": torch.save,
    "compiled.pt": lambda state, path: torch.save(prefixed(state, "_orig_mod."), path),
    "parallel.pth": lambda state, path: torch.save({"state_dict": prefixed(state, "module.")}, path),
    "lightning.ckpt": lambda state, path: torch.save(
        {"state_dict": prefixed(state, "model.encoder.") | {"model.head.weight": torch.ones(2)}, "epoch": 3},
        path,
    ),
    "unet.pt": lambda state, path: torch.save({"model": prefixed(state, "encoder.model.")}, path),
    "optimizer.tar": lambda state, path: torch.save(
        {"backbone": state, "optimizer": {"state": {0: {"exp_avg": torch.ones(3)}}}, "best": 0.5}, path
    ),
    "half.pth": lambda state, path: torch.save({name: x.half() for name, x in state.items()}, path),
    "no_counters.pth": lambda state, path: torch.save(
        {name: x for name, x in state.items() if "num_batches" not in name}, path
    ),
    "bare.safetensors": safetensors.torch.save_file,
    "named.safetensors": lambda state, path: safetensors.torch.save_file(prefixed(state, "backbone."), path),
}


@pytest.mark.parametrize("form", FORMS)
def test_gray_image_gets_the_features_of_its_rgb_copy(reference: Any, tmp_path: Path, form: str) -> None:
    FORMS[form](reference.state_dict(), tmp_path / form)
    image = torch.rand(2, 1, 64, 64)
    for model in (unet(), Normalized(EarlyGuide(ENCODER))):
        load_encoder_weights(model, ENCODER, str(tmp_path / form))
        assert float(model.mean) == pytest.approx(sum(reference.pretrained_cfg["mean"]) / 3)
        assert float(model.std) == pytest.approx(sum(reference.pretrained_cfg["std"]) / 3)
    encoder: Any = model.network.eval().encoder
    with torch.inference_mode():
        features = encoder.forward_features(torch.cat([image, torch.rand_like(image)], dim=1))
        expected = reference.forward_features(image.expand(-1, 3, -1, -1))
    tolerance = 0.05 if form == "half.pth" else 1e-4
    torch.testing.assert_close(features, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("encoder", ["test_convnext", "resnet18"])
def test_unet_finds_names_that_timm_writes_in_another_way(tmp_path: Path, encoder: str) -> None:
    """``stages.0`` of the network is ``stages_0`` of its features alone, which timm itself makes here."""
    whole: Any = timm.create_model(encoder, in_chans=1)
    torch.save(whole.state_dict(), tmp_path / "x.pth")
    model: Any = unet(encoder)
    load_encoder_weights(model, encoder, str(tmp_path / "x.pth"))
    features: Any = timm.create_model(encoder, in_chans=1, features_only=True)
    stored = {name.replace(".", "_"): x for name, x in whole.state_dict().items()}
    found = model.network.encoder.model.state_dict()
    assert found.keys() == features.state_dict().keys()
    assert all(torch.equal(x, stored[name.replace(".", "_")]) for name, x in found.items())


def test_encoder_of_a_segmentation_network_is_found_behind_its_prefix(tmp_path: Path) -> None:
    source: Any = smp.Unet("resnet18", encoder_weights=None)
    torch.save({"state_dict": prefixed(source.state_dict(), "net.")}, tmp_path / "x.ckpt")
    model: Any = Normalized(EarlyGuide("resnet18"))
    load_encoder_weights(model, "resnet18", str(tmp_path / "x.ckpt"))
    name = "layer3.0.conv2.weight"
    assert torch.equal(model.network.encoder.state_dict()[name], source.encoder.state_dict()[name])
    stem = model.network.encoder.conv1.weight
    torch.testing.assert_close(stem[:, 0], source.encoder.conv1.weight.sum(dim=1))
    assert not stem[:, 1].any()


def test_equal_weights_under_two_names_are_one(reference: Any, tmp_path: Path) -> None:
    state = reference.state_dict()
    torch.save({"model": state, "model_ema": dict(state)}, tmp_path / "x.pth")
    model: Any = unet()
    load_encoder_weights(model, ENCODER, str(tmp_path / "x.pth"))
    loaded = model.network.encoder.model.state_dict()
    name = next(x for x in loaded if "blocks.1" in x and x.endswith("weight"))
    assert torch.equal(loaded[name], state[name])


def save_other(path: Path, _: State) -> None:
    torch.save(timm.create_model("resnet18").state_dict(), path)


def save_part(path: Path, state: State) -> None:
    torch.save({name: x for name, x in prefixed(state, "encoder.").items() if "blocks.1" not in name}, path)


def save_sizes(path: Path, state: State) -> None:
    torch.save({**state, "conv_stem.weight": torch.ones(3, 3, 3, 3)}, path)


def save_two(path: Path, state: State) -> None:
    torch.save({"student": state, "teacher": {name: x + 1 for name, x in state.items()}}, path)


def save_nan(path: Path, state: State) -> None:
    state["bn1.weight"][0] = float("nan")
    torch.save(state, path)


def save_run(path: Path, state: State) -> None:
    torch.save({"busi": {}, "state_dict": state}, path)


def save_network(path: Path, _: State) -> None:
    torch.save(nn.Linear(1, 1), path)


def save_empty(path: Path, _: State) -> None:
    torch.save({"epoch": 3}, path)


@pytest.mark.parametrize(
    ("save", "words"),
    [
        (save_other, "0 of 68 names of encoder=test_efficientnet match; not there: conv_stem.weight, blocks"),
        (
            save_part,
            r"\d+ of 68 names of encoder=test_efficientnet match behind 'encoder.'; not there: blocks.1",
        ),
        (save_sizes, r"of another size: conv_stem.weight \(3x3x3x3 there, \d+x1x3x3 needed\)"),
        (save_two, "several sets of weights .* behind 'student.', 'teacher.': save the one"),
        (save_nan, r"not finite \(bn1.weight\)"),
        (save_run, "is a checkpoint of busi.*start_from=RUN"),
        (save_network, "holds more than tensors.*Save them alone"),
        (save_empty, "holds no tensors"),
        (lambda path, _: path.write_bytes(b""), "damaged"),
        (lambda path, _: path.write_bytes(pickle.dumps({"a": 1})), "damaged"),
        (lambda path, _: path.mkdir(), "there is no file of this name"),
        (lambda *_: None, "packaged, imagenet, segmenter or none, or a file .*no file of this name"),
    ],
)
def test_what_holds_no_such_weights_is_one_error(
    reference: Any, tmp_path: Path, save: Callable[[Path, State], object], words: str
) -> None:
    save(tmp_path / "x.pth", reference.state_dict())
    model = unet()
    before = {name: x.clone() for name, x in model.state_dict().items()}
    with pytest.raises(InputError, match=words) as caught:
        load_encoder_weights(model, ENCODER, str(tmp_path / "x.pth"))
    assert "\n" not in str(caught.value)
    assert all(torch.equal(x, before[name]) for name, x in model.state_dict().items())


@pytest.mark.parametrize("content", [b"", b"not weights", b"\xff" * 16])
def test_damaged_safetensors_is_an_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.safetensors").write_bytes(content)
    with pytest.raises(InputError, match="x.safetensors cannot be read"):
        load_encoder_weights(unet(), ENCODER, str(tmp_path / "x.safetensors"))


@pytest.mark.parametrize("name", ["x.pth", "x.ckpt"])
def test_file_that_runs_code_is_refused_and_does_not_run(tmp_path: Path, name: str) -> None:
    trace = tmp_path / "trace"
    torch.save({"state_dict": Evil(trace)}, tmp_path / name)
    with pytest.raises(InputError, match="holds more than tensors"):
        load_encoder_weights(unet(), ENCODER, str(tmp_path / name))
    assert not trace.exists()


def test_the_best_prefix_wins_over_names_that_end_alike(tmp_path: Path) -> None:
    """A brute force over all prefixes finds the same."""
    torch.manual_seed(0)
    expected = {name: torch.zeros(2) for name in ("bn.weight", "layer.bn.weight", "fc.weight")}
    stored = {
        f"{prefix}{name}": torch.rand(2)
        for prefix, names in {"a.": list(expected), "a.layer.": ["fc.weight"], "b.": ["bn.weight"]}.items()
        for name in names
    }
    torch.save(stored, tmp_path / "x.pth")
    found = match_file(tmp_path / "x.pth", expected, "it")
    assert {name: x.tolist() for name, x in found.items()} == {
        name: stored[f"a.{name}"].tolist() for name in expected
    }
