"""Classifiers of an image and the mask that guides them."""

import timm
import torch
from jaxtyping import Float
from torch import Tensor, nn

from busi.core import CLASSES, InputError


class EarlyGuide(nn.Module):
    """A timm network that sees image and guide as its two input channels.

    Args:
        encoder: Name of the timm network.
        dropout: Chance of a feature to be dropped before the last layer.
    """

    def __init__(self, encoder: str, dropout: float = 0.2) -> None:
        super().__init__()
        self.encoder: nn.Module = timm.create_model(encoder, num_classes=0, in_chans=2)
        num_features: int = self.encoder.head_hidden_size  # type: ignore[assignment]
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(num_features, len(CLASSES)))

    def forward(
        self, image: Float[Tensor, "b 1 h w"], guide: Float[Tensor, "b 1 h w"]
    ) -> Float[Tensor, "b 3"]:
        """Logits of the classes in the order of `busi.core.types.CLASSES`."""
        return self.head(self.encoder(torch.cat([image, guide], dim=1)))  # type: ignore[no-any-return]


class LateGuide(nn.Module):
    """A timm network that sees the image alone, and whose features are pooled inside and around the guide.

    The last layer reads the mean feature of the image, the mean feature weighted by the guide, and the
    share of the image that the guide covers.

    Args:
        encoder: Name of the timm network; its features must keep the places of the image.
        dropout: Chance of a feature to be dropped before the last layer.

    Raises:
        InputError: If the features are no maps (b, c, h, w).
    """

    def __init__(self, encoder: str, dropout: float = 0.2) -> None:
        super().__init__()
        self.encoder: nn.Module = timm.create_model(encoder, num_classes=0, in_chans=1, global_pool="")
        num_features: int = self.encoder.head_hidden_size  # type: ignore[assignment]
        try:
            with torch.inference_mode():
                shape = self.encoder.eval()(torch.zeros(1, 1, 64, 64)).shape
        except (AssertionError, RuntimeError):
            shape = torch.Size()
        if len(shape) != 4 or shape[1] != num_features:
            raise InputError(
                f"model=guide_late needs a convolutional encoder, {encoder} is none: choose model=guide_early"
            )
        self.encoder.train()
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(2 * num_features + 1, len(CLASSES)))

    def forward(
        self, image: Float[Tensor, "b 1 h w"], guide: Float[Tensor, "b 1 h w"]
    ) -> Float[Tensor, "b 3"]:
        """Logits of the classes in the order of `busi.core.types.CLASSES`."""
        features = self.encoder(image)
        weights = nn.functional.adaptive_avg_pool2d(guide, features.shape[-2:])
        share = weights.mean(dim=(2, 3))
        inside = (features * weights).mean(dim=(2, 3)) / share.clamp(min=1e-3)
        return self.head(torch.cat([features.mean(dim=(2, 3)), inside, share], dim=1))  # type: ignore[no-any-return]
