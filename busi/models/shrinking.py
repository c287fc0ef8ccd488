"""Maps scaled down, so that a graph does it as fast as the network."""

import math

from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import interpolate


def shrink(maps: Float[Tensor, "b c h w"], side: int) -> Float[Tensor, "b c {side} {side}"]:
    """Scale maps to a square: each pixel is the mean of those that it covers, in part or whole.

    As ``interpolate(mode="area")``, up to rounding. Where `side` does not divide the lengths, a graph of
    that would gather every pixel of every window; here it multiplies rows and columns by a small matrix.
    """
    height, width = maps.shape[-2:]
    if height % side == 0 and width % side == 0:
        return interpolate(maps, size=(side, side), mode="area")
    b, c = maps.shape[:2]
    groups, shares = _find_shares(maps, height, side)
    maps = (shares @ maps.reshape(b, c, groups, -1, width)).reshape(b, c, side, width)
    groups, shares = _find_shares(maps, width, side)
    return (maps.reshape(b, c, side, groups, -1) @ shares.T).reshape(b, c, side, side)


def _find_shares(like: Tensor, length: int, side: int) -> tuple[int, Float[Tensor, "q p"]]:
    """How often the windows along a line repeat, and what share each pixel has in each window."""
    groups = math.gcd(length, side)
    pixels, windows = length // groups, side // groups
    rows = []
    for k in range(windows):
        first, end = k * pixels // windows, -(-(k + 1) * pixels // windows)
        rows.append([(first <= i < end) / (end - first) for i in range(pixels)])
    return groups, like.new_tensor(rows)
