"""Classifiers of a picture and the mask that guides them."""

import timm
import torch
from jaxtyping import Float
from torch import Tensor, nn

from busi.types import CLASSES


class EarlyGuide(nn.Module):
    """A timm network that sees picture and guide as its two input channels.

    Args:
        encoder: Name of the timm network.
        dropout: Chance of a feature to be dropped before the last layer.
    """

    def __init__(self, encoder: str, dropout: float = 0.2) -> None:
        super().__init__()
        self.encoder: nn.Module = timm.create_model(
            encoder, in_chans=2, num_classes=len(CLASSES), drop_rate=dropout
        )

    def forward(
        self, image: Float[Tensor, "b 1 h w"], guide: Float[Tensor, "b 1 h w"]
    ) -> Float[Tensor, "b 3"]:
        """Logits of the classes in the order of `busi.types.CLASSES`."""
        return self.encoder(torch.cat([image, guide], dim=1))  # type: ignore[no-any-return]
