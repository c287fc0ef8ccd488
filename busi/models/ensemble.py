"""Several trained networks as one."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Ensemble(nn.Module):
    """The mean of what several networks say: of logits, so that a scale and a temperature can calibrate it.

    Args:
        members: Called alike, and giving one shape.
    """

    def __init__(self, members: Sequence[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, *inputs: Tensor) -> Tensor:
        """The mean."""
        return self.ask_each(*inputs).mean(dim=0)

    def ask_each(self, *inputs: Tensor) -> Tensor:
        """What each member says, (members, ...)."""
        return torch.stack([member(*inputs) for member in self.members])
