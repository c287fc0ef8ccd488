"""Losses as functions of a batch, and thin modules that hold their settings."""

from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional


def soft_dice(
    probs: Float[Tensor, "b 1 h w"], mask: Float[Tensor, "b 1 h w"], smooth: float
) -> Float[Tensor, " b"]:
    """Soft Dice of each picture, [0, 1].

    `smooth` pixels are added to overlap and sum alike: an empty annotation gives `smooth` / (`smooth`
    + predicted area), so that a false mask on a normal picture costs and an empty prediction is 1.

    Source: Milletari, Navab, Ahmadi, "V-Net", 3DV 2016, with the linear denominator.
    """
    overlap = (probs * mask).sum(dim=(1, 2, 3))
    total = probs.sum(dim=(1, 2, 3)) + mask.sum(dim=(1, 2, 3))
    return (2 * overlap + smooth) / (total + smooth)


class BCEDiceLoss(nn.Module):
    """Binary cross-entropy plus one minus the soft Dice of each picture, averaged over the batch.

    Args:
        dice_weight: Weight of the Dice term; cross-entropy has the rest, in [0, 1].
        smooth: See `soft_dice`, in pixels, above 0.

    Example:
        >>> import torch
        >>> loss = BCEDiceLoss()
        >>> mask = torch.ones(2, 1, 32, 32)
        >>> bool(loss(20 * mask, mask) < 1e-3)
        True
    """

    def __init__(self, dice_weight: float = 0.5, smooth: float = 100.0) -> None:
        super().__init__()
        if not 0 <= dice_weight <= 1 or smooth <= 0:
            raise ValueError(f"dice_weight={dice_weight} must be in [0, 1] and smooth={smooth} above 0")
        self.dice_weight, self.smooth = dice_weight, smooth

    def forward(self, logits: Float[Tensor, "b 1 h w"], mask: Float[Tensor, "b 1 h w"]) -> Float[Tensor, ""]:
        """Loss of a batch; logits of any precision are brought to float32 first."""
        logits = logits.float()
        cross_entropy = functional.binary_cross_entropy_with_logits(logits, mask)
        dice = soft_dice(logits.sigmoid(), mask, self.smooth).mean()
        return (1 - self.dice_weight) * cross_entropy + self.dice_weight * (1 - dice)


class CrossEntropyLoss(nn.Module):
    """Cross-entropy whose class weights come with the data.

    Args:
        label_smoothing: In [0, 1); above 0 it pulls probabilities together.
    """

    def __init__(self, label_smoothing: float = 0.0) -> None:
        super().__init__()
        self.label_smoothing = label_smoothing

    def forward(
        self, logits: Float[Tensor, "b c"], label: Int64[Tensor, " b"], class_weights: Float[Tensor, " c"]
    ) -> Float[Tensor, ""]:
        """Loss of a batch."""
        return functional.cross_entropy(
            logits.float(), label, weight=class_weights, label_smoothing=self.label_smoothing
        )
