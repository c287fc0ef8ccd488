"""Maps scaled down are those of PyTorch's own function, on any sizes."""

import pytest
import torch
from torch.nn.functional import interpolate

from busi.models.shrinking import shrink


@pytest.mark.parametrize(
    ("height", "width", "side"),
    [(448, 448, 160), (64, 96, 32), (37, 53, 10), (20, 33, 33), (7, 5, 9), (1, 1, 2)],
)
def test_pixels_are_means_of_what_they_cover(height: int, width: int, side: int) -> None:
    maps = torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(0), requires_grad=True)
    found, expected = shrink(maps, side), interpolate(maps, size=(side, side), mode="area")
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    gradients = [torch.autograd.grad(one.square().sum(), maps)[0] for one in (found, expected)]
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-6)
