"""Stage one: a network that marks the lesion in a picture."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torchmetrics import Metric, MetricCollection

from busi.core import Batch
from busi.modules.base import MakeOptimizer, MakeScheduler, StageModule


def dice_per_image(pred: Float[Tensor, "b 1 h w"], mask: Float[Tensor, "b 1 h w"]) -> Float[Tensor, " b"]:
    """Dice of {0, 1} masks, picture by picture; 1 where both are empty."""
    overlap = (pred * mask).sum(dim=(1, 2, 3))
    total = (pred + mask).sum(dim=(1, 2, 3))
    return torch.where(total > 0, 2 * overlap / total.clamp(min=1), torch.ones_like(total))


class MeanDice(Metric):
    """Mean Dice of pictures at network size.

    Args:
        lesions_only: Leave out pictures whose annotation is empty.
        threshold: Probability from which a pixel is lesion.
    """

    higher_is_better = True
    total: Tensor
    count: Tensor

    def __init__(self, lesions_only: bool, threshold: float) -> None:
        super().__init__()
        self.lesions_only, self.threshold = lesions_only, threshold
        self.add_state("total", torch.tensor(0.0, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, probs: Float[Tensor, "b 1 h w"], mask: Float[Tensor, "b 1 h w"]) -> None:
        """Add a batch."""
        dice = dice_per_image((probs >= self.threshold).float(), mask)
        counted = mask.flatten(1).any(dim=1) if self.lesions_only else torch.ones_like(dice, dtype=torch.bool)
        self.total += dice[counted].sum()
        self.count += counted.sum()

    def compute(self) -> Tensor:
        """Mean over the pictures so far; 0 without any (a NaN would end early stopping)."""
        return (self.total / self.count.clamp(min=1)).float()


class SegModule(StageModule):
    """Predicts the lesion mask.

    Args:
        network: Picture (b, 1, h, w) in [0, 1] -> logits (b, 1, h, w).
        loss: Of logits and annotation.
        optimizer: See `StageModule`.
        scheduler: See `StageModule`.
        monitor: See `StageModule`.
        threshold: Probability from which a pixel is lesion.
    """

    def __init__(
        self,
        network: nn.Module,
        loss: nn.Module,
        optimizer: MakeOptimizer,
        scheduler: MakeScheduler,
        monitor: str,
        threshold: float = 0.5,
    ) -> None:
        metrics = MetricCollection(
            {
                "dice_net": MeanDice(lesions_only=True, threshold=threshold),
                "dice_all_net": MeanDice(lesions_only=False, threshold=threshold),
            },
            compute_groups=False,
        )
        super().__init__(network, loss, optimizer, scheduler, monitor, metrics)
        self.threshold = threshold

    def forward(self, image: Float[Tensor, "b 1 h w"]) -> Float[Tensor, "b 1 h w"]:
        """Logits of the lesion."""
        return self.network(image.contiguous(memory_format=torch.channels_last))  # type: ignore[no-any-return]

    def step(self, batch: Batch, metrics: MetricCollection) -> Float[Tensor, ""]:
        """Loss of a batch."""
        logits = self(batch["image"])
        metrics.update(logits.detach().sigmoid(), batch["mask"])
        loss: Tensor = self.loss(logits, batch["mask"])
        return loss

    def predict_step(self, batch: Batch, *_: int) -> Float[Tensor, "b 1 h w"]:
        """Lesion probabilities, float32."""
        return self(batch["image"]).float().sigmoid()  # type: ignore[no-any-return]
