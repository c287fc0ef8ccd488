"""Where a guide is in its image, and a closer view of that place."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import grid_sample

NOTHING = 1e-4
"""Guide that is added to every pixel unless something else is said."""


def find_place(
    guide: Float[Tensor, "b 1 h w"], nothing: float = NOTHING
) -> tuple[Float[Tensor, "b 2"], Float[Tensor, "b 2 2"]]:
    """Center (x, y) and covariance of the guide, in units of the image's sides, from 0 to 1.

    Args:
        guide: From 0 to 1.
        nothing: Added to every pixel: where there is no guide, the place is the whole image.
    """
    weights = guide[:, 0] + nothing
    weights = weights / weights.sum(dim=(1, 2), keepdim=True)
    x, y = ((torch.arange(n, device=guide.device) + 0.5) / n for n in (guide.shape[3], guide.shape[2]))
    along_x, along_y = weights.sum(dim=1), weights.sum(dim=2)
    center = torch.stack([(along_x * x).sum(dim=1), (along_y * y).sum(dim=1)], dim=1)
    dx, dy = x - center[:, :1], y - center[:, 1:]
    xx, yy = (along_x * dx.square()).sum(dim=1), (along_y * dy.square()).sum(dim=1)
    xy = (weights * dy[:, :, None] * dx[:, None, :]).sum(dim=(1, 2))
    return center, torch.stack([xx, xy, xy, yy], dim=1).reshape(-1, 2, 2)


def look_closer(
    both: Float[Tensor, "b c h w"],
    center: Float[Tensor, "b 2"],
    covariance: Float[Tensor, "b 2 2"],
    view_size: int,
) -> Float[Tensor, "b c {view_size} {view_size}"]:
    """Cut a square around a place, twice as wide as an ellipse of its spread; black beyond the image.

    It is at least a quarter of the image wide, and at most the whole: so where the guide is empty or
    scattered.

    Args:
        both: Images and maps that the square is cut from.
        center: See `find_place`.
        covariance: See `find_place`.
        view_size: Side of the square in pixels.
    """
    # An even ellipse has half axes of two standard deviations.
    spread = covariance.diagonal(dim1=1, dim2=2).amax(dim=1).sqrt()
    half = (4 * spread).clamp(0.125, 0.5)[:, None]
    steps = (torch.arange(view_size, device=both.device) + 0.5) / view_size * 2 - 1
    # grid_sample counts from -1 to 1.
    x, y = ((2 * center[:, k : k + 1] - 1) + 2 * half * steps for k in (0, 1))
    size = (-1, view_size, view_size)
    grid = torch.stack([x[:, None, :].expand(size), y[:, :, None].expand(size)], dim=3)
    return grid_sample(both, grid.to(both.dtype), mode="bilinear", padding_mode="zeros", align_corners=False)
