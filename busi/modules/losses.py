"""Losses as functions of a batch, and thin modules that hold their settings."""

from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional


def soft_dice(
    probs: Float[Tensor, "b 1 h w"], mask: Float[Tensor, "b 1 h w"], smooth: float
) -> Float[Tensor, " b"]:
    """Soft Dice of each image, [0, 1].

    `smooth` pixels are added to overlap and sum alike: an empty annotation gives `smooth` / (`smooth`
    + predicted area), so that a false mask on a normal image costs and an empty prediction is 1.

    Source: Milletari, Navab, Ahmadi, "V-Net", 3DV 2016, with the linear denominator.
    """
    overlap = (probs * mask).sum(dim=(1, 2, 3))
    total = probs.sum(dim=(1, 2, 3)) + mask.sum(dim=(1, 2, 3))
    return (2 * overlap + smooth) / (total + smooth)


class BCEDiceLoss(nn.Module):
    """Binary cross-entropy plus one minus the soft Dice of each image, averaged over the batch.

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


class FocalTverskyLoss(nn.Module):
    """Focal Tversky loss of each image, averaged over the batch: missed pixels cost more than false ones.

    Args:
        miss_weight: Weight of lesion pixels that are missed; falsely marked ones have the rest, in [0, 1].
        gamma: Exponent; below 1 it favors images that are almost right, as the source does with 3/4.
        smooth: As in `soft_dice`, in pixels, above 0.

    Source: Abraham, Khan, "A novel focal Tversky loss function with improved attention U-Net for lesion
    segmentation", ISBI 2019 (its experiments include BUSI).
    """

    def __init__(self, miss_weight: float = 0.7, gamma: float = 0.75, smooth: float = 100.0) -> None:
        super().__init__()
        if not 0 <= miss_weight <= 1 or gamma <= 0 or smooth <= 0:
            raise ValueError(
                f"miss_weight={miss_weight} must be in [0, 1], gamma={gamma} and smooth={smooth} above 0"
            )
        self.miss_weight, self.gamma, self.smooth = miss_weight, gamma, smooth

    def forward(self, logits: Float[Tensor, "b 1 h w"], mask: Float[Tensor, "b 1 h w"]) -> Float[Tensor, ""]:
        """Loss of a batch; logits of any precision are brought to float32 first."""
        probs = logits.float().sigmoid()
        hit, missed, false = (
            x.sum(dim=(1, 2, 3)) for x in (probs * mask, (1 - probs) * mask, probs * (1 - mask))
        )
        errors = self.miss_weight * missed + (1 - self.miss_weight) * false
        # 1 - Tversky index, written without the difference of two close numbers.
        share = errors / (hit + errors + self.smooth)
        # A power below 1 has no finite slope at 0.
        return share.clamp(min=1e-7).pow(self.gamma).mean()


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


class FocalLoss(nn.Module):
    """Cross-entropy that counts well-classified images less.

    Args:
        gamma: At least 0; 0 gives cross-entropy.

    Source: Lin, Goyal, Girshick, He, Dollar, "Focal loss for dense object detection", ICCV 2017.
    """

    def __init__(self, gamma: float = 2.0) -> None:
        super().__init__()
        if gamma < 0:
            raise ValueError(f"gamma={gamma} must be at least 0")
        self.gamma = gamma

    def forward(
        self, logits: Float[Tensor, "b c"], label: Int64[Tensor, " b"], class_weights: Float[Tensor, " c"]
    ) -> Float[Tensor, ""]:
        """Loss of a batch, as a mean with the class weights of the labels."""
        log_prob = -functional.cross_entropy(logits.float(), label, reduction="none")
        weights = class_weights[label]
        # With gamma below 1 the slope of the power is infinite at 0.
        modulation = (1 - log_prob.exp()).clamp(min=1e-7).pow(self.gamma)
        return -(weights * modulation * log_prob).sum() / weights.sum()
