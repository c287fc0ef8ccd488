"""A classifier that looks twice, and is told what a radiologist would describe of the lesion."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from busi.core import CLASSES, InputError
from busi.models.descriptors import DESCRIPTORS, describe_lesion
from busi.models.two_views import TwoViews

GAIN = 4.0
"""Spread of each descriptor: the weights of these few move as slowly as those of the many features."""


class DescribedViews(TwoViews):
    """`TwoViews` whose last layer also reads `describe_lesion`.

    In training the features are left out for a share of the images, so that the descriptors learn to tell by
    themselves, and not only what the features leave over.

    Args:
        encoder: See `TwoViews`.
        view_size: See `TwoViews`.
        dropout: See `TwoViews`; of features, not of descriptors.
        drop_views: Chance of all features of an image to be left out in training, at least 0 and below 1.

    Raises:
        InputError: If `view_size` or `drop_views` is out of range.

    Source: Neverova, Wolf, Taylor, Nebout, "ModDrop: Adaptive Multi-Modal Gesture Recognition", IEEE TPAMI 38
    (2016).
    """

    def __init__(self, encoder: str, view_size: int, dropout: float = 0.2, drop_views: float = 0.5) -> None:
        super().__init__(encoder, view_size, dropout)
        if not 0 <= drop_views < 1:
            raise InputError(f"model.network.drop_views={drop_views}: give a number from 0 to below 1")
        self.drop_views = drop_views
        self.dropout = nn.Dropout(dropout)
        self.scale = nn.BatchNorm1d(len(DESCRIPTORS), affine=False)
        self.head = nn.Linear(self.num_features + len(DESCRIPTORS), len(CLASSES))

    def look(self, image: Float[Tensor, "b 1 h w"], guide: Float[Tensor, "b 1 h w"]) -> Float[Tensor, "b f"]:
        """Features of both views, the shape of the guide, and descriptors."""
        features = self.dropout(super().look(image, guide))
        if self.training:
            kept = torch.rand(len(features), 1, device=features.device) >= self.drop_views
            features = features * kept
        return torch.cat([features, GAIN * self.scale(describe_lesion(image, guide))], dim=1)
