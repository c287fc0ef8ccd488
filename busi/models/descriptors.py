"""What a radiologist describes of a lesion, measured on image and guide: size, shape, margin, echoes."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate, max_pool2d

from busi.models.places import find_place, look_closer

Maps = Float[Tensor, "b 1 h w"]
Numbers = Float[Tensor, " b"]

DESCRIPTORS = (
    *("size", "orientation", "elongation", "evenness"),
    *("compactness", "closed", "closed_wide", "opened", "opened_wide"),
    *("margin_contrast", "margin_steepness", "margin_gradient", "margin_spread"),
    *("contrast", "brightness", "texture", "texture_around", "posterior", "shadow"),
    "present",
)
"""Names of the numbers that `describe_lesion` gives, in order."""
SIDE = 160
"""Side in pixels of the square view in which a lesion is described; it fills about half of it."""
GRID = 56
"""Side in pixels of the grid on which the parts of a mask are told apart."""
LEAST = 5e-4
"""Share of the image from which a mask is described."""
SMALL = 1e-6
"""What keeps quotients and roots finite."""


def describe_lesion(image: Maps, guide: Maps) -> Float[Tensor, "b 20"]:
    """Describe the largest part of a guide in the words of BI-RADS, as numbers of about 1.

    They are `DESCRIPTORS`: size (logarithm of the share of the image); orientation (above 0 for taller than
    wide); shape (elongation, evenness, compactness, and what closing and opening change of the area); margin
    (contrast and gradients across the outline); echo pattern (tissue around against the lesion, brightness,
    and their texture); posterior features (tissue below against the lesion, and against tissue beside it:
    below 0 for a shadow). All are 0 where there is no lesion.

    Args:
        image: Of any brightness and contrast: they do not matter.
        guide: From 0 to 1; a pixel is lesion from 0.5 on.

    Source: American College of Radiology, "ACR BI-RADS Atlas", 5th edition (2013), lexicon of ultrasound.
    """
    mask = keep_largest(((guide - 0.5) * 8 + 0.5).clamp(0, 1))
    share = mask.mean(dim=(1, 2, 3))
    center, covariance = find_place(mask, nothing=SMALL)
    low, high = (x(image, dim=(1, 2, 3), keepdim=True) for x in (torch.amin, torch.amax))
    gray = (image - low) / (high - low + SMALL)
    close = look_closer(torch.cat([gray, mask], dim=1), center, covariance, SIDE)
    numbers = [
        (share + SMALL).log(),
        *describe_ellipse(covariance, share),
        *describe_outline(close[:, 1:]),
        *describe_echoes(close[:, :1], close[:, 1:]),
        torch.ones_like(share),
    ]
    return torch.stack(numbers, dim=1) * (share >= LEAST)[:, None]


def keep_largest(mask: Maps) -> Maps:
    """Leave of a mask the part around its fullest place, on a coarse grid."""
    coarse = interpolate(mask, size=(GRID, GRID), mode="area")
    covered = (coarse > 0.1).float()
    fullness = avg_pool2d(coarse, 15, stride=1, padding=7) * covered
    part = (fullness >= fullness.amax(dim=(2, 3), keepdim=True)).float() * covered
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
    """Compactness (1 for a disk), and areas after closings and openings of two sizes, relative to it."""
    area = mask.sum(dim=(1, 2, 3)) + SMALL
    x, y = slopes(mask)
    length = (x.square() + y.square() + SMALL).sqrt().sum(dim=(1, 2, 3)) - SMALL**0.5 * x[0].numel()
    changed = [erode(dilate(mask, k), k) for k in (15, 31)] + [dilate(erode(mask, k), k) for k in (9, 21)]
    return 4 * torch.pi * area / (length.square() + 1), *(one.sum(dim=(1, 2, 3)) / area for one in changed)


def describe_echoes(gray: Maps, mask: Maps) -> tuple[Numbers, ...]:
    """Margin, echo pattern and posterior features, in standard deviations of the gray levels in view."""
    seen = (gray > 0.002).float()  # black is outside of what the scanner shows
    level = mean_over(gray, seen)
    spread = spread_over(gray, seen).clamp(min=0.02)
    gray = (gray - grown(level)) / grown(spread) * seen
    around = (dilate(mask, 29) - mask) * seen
    inside = mean_over(gray, mask * seen)
    outer, inner = (dilate(mask, 9) - mask) * seen, (mask - erode(mask, 9)) * seen
    (x, y), (along_x, along_y) = slopes(gray), slopes(mask)
    steepness = (along_x.square() + along_y.square()).sqrt()
    edge = (steepness > 0.01).float()
    across = -(x * along_x + y * along_y) / (steepness + 0.01) * edge
    below = ((mask.cumsum(dim=2) > 0.5) * (1 - mask)) * seen
    beside = (mask.amax(dim=2, keepdim=True) < 0.25) * seen * below.sum(dim=3, keepdim=True)
    posterior = mean_over(gray, below, otherwise=inside)
    return (
        mean_over(gray, outer) - mean_over(gray, inner),
        mean_over((x.square() + y.square() + SMALL).sqrt(), edge),
        mean_over(across, edge),
        spread_over(across, edge),
        mean_over(gray, around, otherwise=inside) - inside,
        inside,
        spread_over(gray, mask * seen),
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
    """Changes a pixel to the right and downwards, without the border."""
    x = maps[:, :, 1:-1, 2:] - maps[:, :, 1:-1, :-2]
    y = maps[:, :, 2:, 1:-1] - maps[:, :, :-2, 1:-1]
    return x / 2, y / 2


def mean_over(maps: Maps, weights: Maps, otherwise: Numbers | float = 0.0) -> Numbers:
    """Weighted mean of each map; `otherwise` where there is less than a pixel of weight."""
    total = weights.sum(dim=(1, 2, 3))
    found = (maps * weights).sum(dim=(1, 2, 3)) / total.clamp(min=1)
    return torch.where(total >= 1, found, otherwise)


def spread_over(maps: Maps, weights: Maps) -> Numbers:
    """Weighted standard deviation of each map."""
    apart = maps - grown(mean_over(maps, weights))
    return (mean_over(apart.square(), weights) + SMALL).sqrt()


def grown(numbers: Numbers) -> Float[Tensor, "b 1 1 1"]:
    """A number for each map, to be used with maps."""
    return numbers[:, None, None, None]
