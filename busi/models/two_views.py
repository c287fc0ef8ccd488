"""A classifier that looks twice: at the whole image, and closely at what lies around the guide."""

import timm
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import grid_sample, interpolate

from busi.core import CLASSES, InputError

NUM_SHAPES = 9
"""Numbers that `describe_shape` gives."""
NOTHING = 1e-4
"""Guide that is added to every pixel: where there is no other, the place is the whole image."""


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
        size = (self.view_size, self.view_size)
        views = torch.cat([interpolate(both, size, mode="area"), look_closer(both, guide, self.view_size)])
        features = self.encoder(views)
        whole, close = features.reshape(2, -1, features.shape[1])
        return self.head(torch.cat([whole, close, describe_shape(guide)], dim=1))  # type: ignore[no-any-return]


def find_place(guide: Float[Tensor, "b 1 h w"]) -> tuple[Float[Tensor, "b 2"], Float[Tensor, "b 2 2"]]:
    """Center (x, y) and covariance of the guide, in units of the image's sides, from 0 to 1."""
    weights = guide[:, 0] + NOTHING
    weights = weights / weights.sum(dim=(1, 2), keepdim=True)
    x, y = ((torch.arange(n, device=guide.device) + 0.5) / n for n in (guide.shape[3], guide.shape[2]))
    along_x, along_y = weights.sum(dim=1), weights.sum(dim=2)
    center = torch.stack([(along_x * x).sum(dim=1), (along_y * y).sum(dim=1)], dim=1)
    dx, dy = x - center[:, :1], y - center[:, 1:]
    xx, yy = (along_x * dx.square()).sum(dim=1), (along_y * dy.square()).sum(dim=1)
    xy = (weights * dy[:, :, None] * dx[:, None, :]).sum(dim=(1, 2))
    return center, torch.stack([xx, xy, xy, yy], dim=1).reshape(-1, 2, 2)


def look_closer(
    both: Float[Tensor, "b c h w"], guide: Float[Tensor, "b 1 h w"], view_size: int
) -> Float[Tensor, "b c {view_size} {view_size}"]:
    """Cut a square around the guide, twice as wide as an ellipse of its spread; black beyond the image.

    It is at least a quarter of the image wide, and at most the whole: so where the guide is empty or
    scattered.
    """
    center, covariance = find_place(guide)
    # An even ellipse has half axes of two standard deviations.
    spread = covariance.diagonal(dim1=1, dim2=2).amax(dim=1).sqrt()
    half = (4 * spread).clamp(0.125, 0.5)[:, None]
    steps = (torch.arange(view_size, device=both.device) + 0.5) / view_size * 2 - 1
    # grid_sample counts from -1 to 1.
    x, y = ((2 * center[:, k : k + 1] - 1) + 2 * half * steps for k in (0, 1))
    size = (-1, view_size, view_size)
    grid = torch.stack([x[:, None, :].expand(size), y[:, :, None].expand(size)], dim=3)
    return grid_sample(both, grid.to(both.dtype), mode="bilinear", padding_mode="zeros", align_corners=False)


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
