"""What a radiologist describes of a lesion, measured on image and guide: size, shape, margin, echoes."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate, max_pool2d

from busi.models.places import find_place, look_closer
from busi.models.shrinking import shrink

Maps = Float[Tensor, "b 1 h w"]
Numbers = Float[Tensor, " b"]

DESCRIPTORS = (
    *("size", "orientation", "elongation", "evenness"),
    *("compactness", "closed", "closed_wide", "opened", "opened_wide"),
    *("margin_contrast", "margin_gradient", "margin_spread"),
    *("contrast", "brightness", "texture", "texture_around", "posterior", "shadow"),
    "present",
)
"""Names of the numbers that `describe_lesion` gives, in order."""
SIDE = 160
"""Side in pixels of the square view in which a lesion is described; one above an eighth of the image fills
about half of it."""
GRID = 56
"""Side in pixels of the grid on which the parts of a mask are told apart."""
LEAST = 5e-4
"""A mask below this share of the image is not described; up to twice of it, descriptors rise from 0."""
SMALL = 1e-6
"""What keeps quotients and roots finite."""


def describe_lesion(image: Maps, guide: Maps) -> Float[Tensor, "b 19"]:
    """Describe a lesion in the words of BI-RADS, as numbers of about 1.

    They are `DESCRIPTORS`: size (logarithm of the share of the image); orientation (above 0 for taller than
    wide); shape (elongation, evenness, compactness, and what closing and opening change of the area); margin
    (contrast and gradient across the outline); echo pattern (tissue around against the lesion, brightness,
    and their texture); posterior features (tissue below against the lesion, and against tissue beside it:
    below 0 for a shadow). All are 0 where there is no lesion. Of several parts of a guide, the one around its
    fullest place is described. A small change of a pixel changes them a little, except where two parts are
    equally full. So a graph says what its network says.

    Args:
        image: Square, of any brightness and contrast: they do not matter. Gradients and texture depend on its
            size.
        guide: From 0 to 1. The outline is at 0.5; from 0.44 to 0.56 a pixel counts in part.

    Source: American College of Radiology, "ACR BI-RADS Atlas", 5th edition (2013), lexicon of ultrasound.
    """
    mask = keep_fullest(((guide - 0.5) * 8 + 0.5).clamp(0, 1))
    share = mask.mean(dim=(1, 2, 3))
    center, covariance = find_place(mask, nothing=SMALL)
    low, high = (x(image, dim=(1, 2, 3), keepdim=True) for x in (torch.amin, torch.amax))
    gray = (image - low) / (high - low + SMALL)
    close = look_closer(torch.cat([gray, mask, find_visible(gray)], dim=1), center, covariance, SIDE)
    close_gray, close_mask, visible = close[:, :1], close[:, 1:2], close[:, 2:]
    visible = ((visible - 0.99) * 100).clamp(0, 1)  # nothing that is mixed with what lies outside
    numbers = [
        (share + SMALL).log(),
        *describe_ellipse(covariance, share),
        *describe_outline(close_mask),
        *describe_echoes(close_gray, close_mask, visible),
        torch.ones_like(share),
    ]
    return torch.stack(numbers, dim=1) * (share / LEAST - 1).clamp(0, 1)[:, None]


def find_visible(gray: Maps) -> Maps:
    """Where the scanner shows something: all but rows and columns that are black over the whole image.

    Args:
        gray: From 0, for black, to 1.
    """
    bright = (300 * gray).clamp(0, 1)
    return bright.amax(dim=2, keepdim=True) * bright.amax(dim=3, keepdim=True)


def keep_fullest(mask: Maps) -> Maps:
    """Leave of a mask the part around its fullest place; parts are told apart on a coarse grid."""
    coarse = shrink(mask, GRID)
    covered = (10 * coarse).clamp(0, 1)
    rows = avg_pool2d(coarse, (15, 1), stride=1, padding=(7, 0), count_include_pad=False)
    fullness = avg_pool2d(rows, (1, 15), stride=1, padding=(0, 7), count_include_pad=False) * covered
    part = (fullness >= fullness.amax(dim=(2, 3), keepdim=True)) * covered
    for _ in range(GRID):
        part = torch.minimum(max_pool2d(part, 3, stride=1, padding=1), covered)
    near = max_pool2d(part, 3, stride=1, padding=1)
    return mask * interpolate(near, size=mask.shape[-2:], mode="nearest")


def describe_ellipse(covariance: Float[Tensor, "b 2 2"], share: Numbers) -> tuple[Numbers, ...]:
    """Orientation, elongation and evenness (1 for an ellipse) of an area with this covariance and share."""
    xx, yy, xy = covariance[:, 0, 0], covariance[:, 1, 1], covariance[:, 0, 1]
    half, product = (xx + yy) / 2, (xx * yy - xy.square()).clamp(min=SMALL**2)
    apart = (half.square() - product).clamp(min=0).sqrt()
    major, minor = half + apart + SMALL, (half - apart).clamp(min=0) + SMALL
    return (
        ((yy + SMALL) / (xx + SMALL)).log(),
        (major / minor).log(),
        share / (4 * torch.pi * product.sqrt() + SMALL),
    )


def describe_outline(mask: Maps) -> tuple[Numbers, ...]:
    """Compactness (1 for a disk), and the area after closings and openings, as a share of its own."""
    area = mask.sum(dim=(1, 2, 3)) + SMALL
    dx, dy = slopes(mask)
    length = (dx.square() + dy.square() + SMALL).sqrt().sum(dim=(1, 2, 3)) - SMALL**0.5 * dx[0].numel()
    disk = 4 * torch.pi * area  # the square of the length, if it were one; never more, also at the border
    changed = [erode(dilate(mask, k), k) for k in (15, 31)] + [dilate(erode(mask, k), k) for k in (9, 21)]
    return disk / length.square().maximum(disk), *(one.sum(dim=(1, 2, 3)) / area for one in changed)


def describe_echoes(gray: Maps, mask: Maps, visible: Maps) -> tuple[Numbers, ...]:
    """Margin, echo pattern and posterior features, in standard deviations of the visible gray levels."""
    level, spread = mean_over(gray, visible), spread_over(gray, visible).clamp(min=0.02)
    gray = (gray - as_maps(level)) / as_maps(spread)
    within, around = mask * visible, (dilate(mask, 29) - mask) * visible
    near = dilate(mask, 9)
    outer, inner = (near - mask) * visible, (mask - erode(mask, 9)) * visible
    inside = mean_over(gray, within)
    (dx, dy), (mask_dx, mask_dy) = slopes(gray), slopes(mask)
    steepness = (mask_dx.square() + mask_dy.square()).sqrt()
    edge = (20 * steepness).clamp(0, 1) * visible[:, :, 1:-1, 1:-1]
    across = -(dx * mask_dx + dy * mask_dy) / (steepness + 0.01)
    below = mask.cumsum(dim=2).clamp(0, 1) * (1 - near) * visible
    beside = (1 - near.amax(dim=2, keepdim=True)) * visible * below.sum(dim=3, keepdim=True)
    posterior = mean_over(gray, below, otherwise=inside)
    return (
        mean_over(gray, outer, otherwise=inside) - mean_over(gray, inner, otherwise=inside),
        mean_over(across, edge),
        spread_over(across, edge),
        mean_over(gray, around, otherwise=inside) - inside,
        inside,
        spread_over(gray, within),
        spread_over(gray, around),
        posterior - inside,
        posterior - mean_over(gray, beside, otherwise=posterior),
    )


def dilate(mask: Maps, size: int) -> Maps:
    """Grow a mask by a square of `size` pixels, an odd number."""
    rows = max_pool2d(mask, (size, 1), stride=1, padding=(size // 2, 0))
    return max_pool2d(rows, (1, size), stride=1, padding=(0, size // 2))


def erode(mask: Maps, size: int) -> Maps:
    """Shrink a mask by a square of `size` pixels, an odd number."""
    return 1 - dilate(1 - mask, size)


def slopes(maps: Maps) -> tuple[Float[Tensor, "b 1 h2 w2"], Float[Tensor, "b 1 h2 w2"]]:
    """Central differences along x and y, a pixel, without the border."""
    x = maps[:, :, 1:-1, 2:] - maps[:, :, 1:-1, :-2]
    y = maps[:, :, 2:, 1:-1] - maps[:, :, :-2, 1:-1]
    return x / 2, y / 2


def mean_over(maps: Maps, weights: Maps, otherwise: Numbers | float = 0.0) -> Numbers:
    """Weighted mean of each map; `otherwise` where weights sum to 0, in part where to less than 1."""
    total = weights.sum(dim=(1, 2, 3))
    return (maps * weights).sum(dim=(1, 2, 3)) / total.clamp(min=1) + otherwise * (1 - total).clamp(min=0)


def spread_over(maps: Maps, weights: Maps) -> Numbers:
    """Weighted standard deviation of each map."""
    difference = maps - as_maps(mean_over(maps, weights))
    return (mean_over(difference.square(), weights) + SMALL).sqrt()


def as_maps(numbers: Numbers) -> Float[Tensor, "b 1 1 1"]:
    """Numbers of maps, in a shape that goes with them."""
    return numbers[:, None, None, None]
