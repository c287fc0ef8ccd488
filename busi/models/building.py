"""Networks built from the config group ``model``, and the two that a program needs first."""

from collections.abc import Mapping
from typing import Any

from busi.core import Config, build, to_plain
from busi.models.encoders import Normalized, check_encoder, load_encoder_weights


def build_network(model: Mapping[str, Any]) -> Normalized:
    """Build a network with random weights from the config group ``model``.

    Args:
        model: With ``network``, the config of a network, and ``tta`` (see `Normalized`).

    Raises:
        InputError: If a target is no network of a known package.
    """
    return _normalized(to_plain(model["network"]), model["tta"])


def unet(encoder: str = "tf_efficientnet_lite0", weights: str = "packaged", tta: str = "none") -> Normalized:
    """The default network of stage one: a U-Net, image (b, 1, h, w) -> logits (b, 1, h, w).

    Args:
        encoder: Name of a timm network.
        weights: Of the encoder; see `load_encoder_weights`.
        tta: See `Normalized`.

    Raises:
        InputError: If timm has no such network, or there are no such weights for it.
    """
    network = {
        "_target_": "segmentation_models_pytorch.Unet",
        "encoder_name": f"tu-{encoder}",
        "encoder_weights": None,
        "decoder_channels": [256, 128, 64, 32, 16],
        "in_channels": 1,
        "classes": 1,
    }
    return _pretrained(network, encoder, weights, tta)


def guided_classifier(
    encoder: str = "tf_efficientnet_lite0", weights: str = "packaged", tta: str = "none", dropout: float = 0.2
) -> Normalized:
    """The default network of stage two: image and guide (b, 1, h, w) -> logits (b, 3).

    Args:
        encoder: See `unet`.
        weights: See `unet`.
        tta: See `Normalized`.
        dropout: Chance of a feature to be dropped before the last layer.

    Raises:
        InputError: See `unet`.
    """
    network = {"_target_": "busi.models.EarlyGuide", "encoder": encoder, "dropout": dropout}
    return _pretrained(network, encoder, weights, tta)


def _pretrained(network: Config, encoder: str, weights: str, tta: str) -> Normalized:
    check_encoder(encoder)
    model = _normalized(network, tta)
    load_encoder_weights(model, encoder, weights)
    return model


def _normalized(network: Config, tta: str) -> Normalized:
    model: Normalized = build({"_target_": "busi.models.Normalized", "network": network, "tta": tta})
    return model
