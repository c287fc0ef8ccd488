"""The U-Net as first published, trained from scratch: five levels, no pretrained encoder."""

import torch
from jaxtyping import Float
from torch import Tensor, nn


class PlainUNet(nn.Module):
    """A U-Net of double 3x3 convolutions with batch norm, halved and doubled four times.

    Padded convolutions keep the size, and batch norm follows each one, unlike the original.

    Args:
        width: Channels of the first level; each level below has twice as many.

    Source: Ronneberger, Fischer, Brox, "U-Net", MICCAI 2015.
    """

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        widths = [width * 2**level for level in range(5)]
        self.down = nn.ModuleList(_double(i, o) for i, o in zip([1, *widths], widths, strict=False))
        self.up = nn.ModuleList(nn.ConvTranspose2d(2 * w, w, 2, stride=2) for w in reversed(widths[:-1]))
        self.merge = nn.ModuleList(_double(2 * w, w) for w in reversed(widths[:-1]))
        self.head = nn.Conv2d(width, 1, 1)

    def forward(self, image: Float[Tensor, "b 1 h w"]) -> Float[Tensor, "b 1 h w"]:
        """Logits of the lesion; height and width are multiples of 16."""
        skips: list[Tensor] = []
        x: Tensor = image
        for level, block in enumerate(self.down):
            x = block(x if level == 0 else nn.functional.max_pool2d(x, 2))
            skips.append(x)
        for up, merge, skip in zip(self.up, self.merge, reversed(skips[:-1]), strict=True):
            x = merge(torch.cat([skip, up(x)], dim=1))
        return self.head(x)  # type: ignore[no-any-return]


def _double(inputs: int, outputs: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for channels in (inputs, outputs):
        layers += [nn.Conv2d(channels, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
    return nn.Sequential(*layers)
