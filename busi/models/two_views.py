"""A classifier that looks twice: at the whole image, and closely at what lies around the guide."""

import timm
import torch
from jaxtyping import Float
from torch import Tensor, nn

from busi.core import CLASSES, InputError
from busi.models.places import NOTHING, find_place, look_closer
from busi.models.shrinking import shrink

NUM_SHAPES = 9
"""Numbers that `describe_shape` gives."""


class TwoViews(nn.Module):
    """A timm network that sees image and guide twice, whole and around the guide, at one size.

    So it sees a lesion at several times the resolution that its cost would allow for the whole image. The
    last layer reads the features of both views and the shape of the guide.

    Args:
        encoder: Name of the timm network, which both views share.
        view_size: Side of each view in pixels, a multiple of 32; the image should be larger.
        dropout: Chance of a feature to be dropped before the last layer.

    Raises:
        InputError: If `view_size` is no such number.
    """

    def __init__(self, encoder: str, view_size: int, dropout: float = 0.2) -> None:
        super().__init__()
        if view_size < 32 or view_size % 32:
            raise InputError(f"model.network.view_size={view_size}: give a multiple of 32, at least 32")
        self.encoder: nn.Module = timm.create_model(encoder, num_classes=0, in_chans=2)
        self.view_size = view_size
        num_features: int = self.encoder.head_hidden_size  # type: ignore[assignment]
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(2 * num_features + NUM_SHAPES, len(CLASSES)))

    def forward(
        self, image: Float[Tensor, "b 1 h w"], guide: Float[Tensor, "b 1 h w"]
    ) -> Float[Tensor, "b 3"]:
        """Logits of the classes in the order of `busi.core.types.CLASSES`."""
        both = torch.cat([image, guide], dim=1)
        close = look_closer(both, *find_place(guide), self.view_size)
        features = self.encoder(torch.cat([shrink(both, self.view_size), close]))
        whole, close = features.reshape(2, -1, features.shape[1])
        return self.head(torch.cat([whole, close, describe_shape(guide)], dim=1))  # type: ignore[no-any-return]


def describe_shape(guide: Float[Tensor, "b 1 h w"]) -> Float[Tensor, "b 9"]:
    """What a radiologist says of an outline, as numbers of about 1.

    Root of the covered share, largest value, doubt (how far the guide is from 0 and 1), width, height,
    orientation (taller than wide, tilt), evenness (1 for an ellipse, less the more the outline is broken),
    and depth.
    """
    center, covariance = find_place(guide)
    share = guide.mean(dim=(1, 2, 3))
    xx, yy, xy = covariance[:, 0, 0], covariance[:, 1, 1], covariance[:, 0, 1]
    doubt = (guide * (1 - guide)).mean(dim=(1, 2, 3)) / share.clamp(min=NOTHING)
    ellipse = 4 * torch.pi * (xx * yy - xy.square()).clamp(min=1e-10).sqrt()
    return torch.stack(
        [
            share.sqrt(),
            guide.amax(dim=(1, 2, 3)),
            doubt,
            4 * xx.sqrt(),
            4 * yy.sqrt(),
            (yy / xx.clamp(min=1e-8)).clamp(1e-3, 1e3).log(),
            xy / (xx * yy).clamp(min=1e-10).sqrt(),
            share / ellipse,
            center[:, 1],
        ],
        dim=1,
    )
