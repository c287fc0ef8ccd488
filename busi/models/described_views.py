"""A classifier that looks twice, beside a linear one that reads descriptors of the lesion."""

from jaxtyping import Float
from torch import Tensor, nn

from busi.core import CLASSES
from busi.models.descriptors import DESCRIPTORS, describe_lesion
from busi.models.ensemble import Ensemble
from busi.models.two_views import TwoViews

GAIN = 4.0
"""Standard deviation of each descriptor: its few weights then go far enough at the learning rate of all."""


class DescribedLesion(nn.Module):
    """A linear classifier of what `describe_lesion` says."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.BatchNorm1d(len(DESCRIPTORS), affine=False)
        self.linear = nn.Linear(len(DESCRIPTORS), len(CLASSES))

    def forward(
        self, image: Float[Tensor, "b 1 h w"], guide: Float[Tensor, "b 1 h w"]
    ) -> Float[Tensor, "b 3"]:
        """Logits of the classes in the order of `busi.core.types.CLASSES`."""
        return self.linear(GAIN * self.scale(describe_lesion(image, guide)))  # type: ignore[no-any-return]


class DescribedViews(Ensemble):
    """`TwoViews` and `DescribedLesion`, trained side by side.

    In training the logits of both are given, (2, b, 3), so that each has its own loss. With one loss of their
    mean, the one that overfits first would leave little to learn for the other.

    Args:
        encoder: See `TwoViews`.
        view_size: See `TwoViews`.
        dropout: See `TwoViews`.

    Raises:
        InputError: If `view_size` is out of range.
    """

    def __init__(self, encoder: str, view_size: int, dropout: float = 0.2) -> None:
        views = TwoViews(encoder, view_size, dropout)
        super().__init__([views, DescribedLesion()])

    @property
    def encoder(self) -> nn.Module:
        """The encoder of the views, for pretrained weights."""
        return self.members[0].encoder  # type: ignore[return-value]

    def forward(self, *inputs: Tensor) -> Tensor:
        """The mean of both; in training both."""
        return self.ask_each(*inputs) if self.training else super().forward(*inputs)
