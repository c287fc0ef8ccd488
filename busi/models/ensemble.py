"""Several trained networks as one."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Ensemble(nn.Module):
    """The mean of what several networks say: of logits, so that one temperature can calibrate it.

    In training it gives what each says, so that each learns by itself.

    Args:
        members: Called alike, and giving one shape.
    """

    def __init__(self, members: Sequence[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, *inputs: Tensor) -> Tensor:
        """The mean, of the shape that each gives; in training all, (members, ...)."""
        each = torch.stack([member(*inputs) for member in self.members])
        return each if self.training else each.mean(dim=0)
