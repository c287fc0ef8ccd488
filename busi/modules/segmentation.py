"""Stage one: a network that marks the lesion in an image."""

import torch
from jaxtyping import Float, Int64, Shaped
from torch import Tensor, nn
from torchmetrics import MetricCollection

from busi.core import Batch, Config, InputError
from busi.modules.base import MakeOptimizer, MakeScheduler, StageModule, build_arguments
from busi.modules.losses import BCEDiceLoss
from busi.modules.source_mean import SourceMean, Sources


def dice_per_image(pred: Float[Tensor, "b 1 h w"], mask: Float[Tensor, "b 1 h w"]) -> Float[Tensor, " b"]:
    """Dice of {0, 1} masks, image by image; 1 where both are empty."""
    overlap = (pred * mask).sum(dim=(1, 2, 3))
    total = (pred + mask).sum(dim=(1, 2, 3))
    return torch.where(total > 0, 2 * overlap / total.clamp(min=1), torch.ones_like(total))


class MeanDice(SourceMean):
    """Mean Dice of images at network size, as the mean over sources.

    Args:
        lesions_only: Leave out images whose annotation is empty.
        threshold: Probability from which a pixel is lesion.
    """

    def __init__(self, lesions_only: bool, threshold: float) -> None:
        super().__init__()
        self.lesions_only, self.threshold = lesions_only, threshold

    def update(
        self, probs: Float[Tensor, "b 1 h w"], mask: Float[Tensor, "b 1 h w"], sources: Sources | None = None
    ) -> None:
        """Add a batch."""
        dice = dice_per_image((probs >= self.threshold).float(), mask)
        self.keep(dice, mask.flatten(1).any(dim=1).long(), sources)

    def measure(self, rows: Shaped[Tensor, "b *rest"], labels: Int64[Tensor, " b"]) -> Float[Tensor, ""]:
        """Mean over the images of one source; their labels say whether they have a lesion."""
        counted = rows[labels == 1] if self.lesions_only else rows
        return counted.cpu().double().mean().to(rows)


class SegModule(StageModule):
    """Predicts the lesion mask.

    Each part is an object, a config of one (`busi.core.Config`), or left to its default.

    Args:
        network: Image (b, 1, h, w) in [0, 1] -> logits (b, 1, h, w), e.g. `busi.models.unet`.
        loss: Of logits and annotation; BCE + Dice by default.
        optimizer: Makes the optimizer of the named parameters that need a gradient; AdamW by default.
        scheduler: Makes the learning-rate schedule; none by default.
        monitor: The validation metric that a schedule may follow.
        threshold: Probability from which a pixel is lesion.

    Raises:
        InputError: See `build_arguments`.
    """

    default_loss = BCEDiceLoss
    loss_inputs = ("logits", "mask")

    def __init__(
        self,
        network: nn.Module | Config | None = None,
        loss: nn.Module | Config | None = None,
        optimizer: MakeOptimizer | Config | None = None,
        scheduler: MakeScheduler | Config | None = None,
        monitor: str = "val/dice_net",
        threshold: float = 0.5,
    ) -> None:
        metrics = MetricCollection(
            {
                "dice_net": MeanDice(lesions_only=True, threshold=threshold),
                "dice_all_net": MeanDice(lesions_only=False, threshold=threshold),
            },
            compute_groups=False,
        )
        arguments = {
            "network": network,
            "loss": loss,
            "optimizer": optimizer,
            "scheduler": scheduler,
            "monitor": monitor,
            "threshold": threshold,
        }
        super().__init__(metrics, build_arguments(arguments))
        self.threshold = threshold

    def check_data(self, data: object) -> None:
        """Refuse lesions that nobody annotated: their empty masks would be learned as the truth.

        Raises:
            InputError: If a data module has some, or trains with no lesion at all.
        """
        cohort = getattr(data, "cohort", None)
        if getattr(cohort, "num_lesions", 1) == 0:
            raise InputError(
                "no training image has a lesion with a mask, and stage=seg learns from masks: give some "
                "(in a manifest, the column mask)"
            )
        if unannotated := getattr(cohort, "unannotated", None):
            raise InputError(
                f"{len(unannotated)} lesions have no annotation (e.g. {', '.join(unannotated[:3])}): leave "
                "them out with data.need_masks=true"
            )

    def forward(self, image: Float[Tensor, "b 1 h w"]) -> Float[Tensor, "b 1 h w"]:
        """Logits of the lesion."""
        return self.network(image.contiguous(memory_format=torch.channels_last))  # type: ignore[no-any-return]

    def step(self, batch: Batch, metrics: MetricCollection) -> Float[Tensor, ""]:
        """Loss of a batch."""
        logits = self(batch["image"])
        metrics.update(logits.detach().sigmoid(), batch["mask"], batch.get("source"))
        loss: Tensor = self.loss(logits, batch["mask"])
        return loss

    def predict_step(self, batch: Batch, *_: int) -> Float[Tensor, "b 1 h w"]:
        """Lesion probabilities, float32."""
        return self(batch["image"]).float().sigmoid()  # type: ignore[no-any-return]
