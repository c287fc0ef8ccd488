"""Stage two: a network that tells normal, benign and malignant from a picture and its guide."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torchmetrics import MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassAUROC, MulticlassF1Score

from busi.core import CLASSES, Batch
from busi.modules.base import MakeOptimizer, MakeScheduler, StageModule


def prior_correction(class_counts: Sequence[int]) -> list[float]:
    """What to add to the logits of a network that was trained with classes balanced.

    Balanced training estimates p(class | picture) under equal priors; adding the log of the prior,
    relative to the equal one, gives it under the prior of the training set. An absent class gets 0.

    Source: Saerens, Latinne, Decaestecker, "Adjusting the outputs of a classifier to new a priori
    probabilities", Neural Computation 14 (2002), equation 2.4.
    """
    counts = torch.tensor(list(class_counts), dtype=torch.float64)
    prior = counts / counts.sum() * (counts > 0).sum()
    return torch.where(counts > 0, prior.clamp(min=1e-12).log(), 0.0).tolist()


def balanced_weights(class_counts: Sequence[int]) -> list[float]:
    """Weights under which every class that is present has the same share of the loss; mean 1."""
    counts = torch.tensor(list(class_counts), dtype=torch.float64)
    present = (counts > 0).sum()
    return torch.where(counts > 0, counts.sum() / (present * counts.clamp(min=1)), 0.0).tolist()


class ClsModule(StageModule):
    """Classifies a picture with the help of a guide, the mask that it is given.

    The segmentation network is carried along, frozen, so that one checkpoint turns a picture into
    mask and diagnosis.

    Args:
        network: Picture and guide (b, 1, h, w) in [0, 1] -> logits (b, 3).
        loss: Of logits, labels and class weights.
        optimizer: See `StageModule`.
        scheduler: See `StageModule`.
        monitor: See `StageModule`.
        segmenter: The network that predicts guides; None where the guide is not predicted.
        class_weights: Weight of each class in the loss.
        logit_correction: Added to the network's logits to give those of the data's own prior.
    """

    class_weights: Tensor
    logit_correction: Tensor

    def __init__(
        self,
        network: nn.Module,
        loss: nn.Module,
        optimizer: MakeOptimizer,
        scheduler: MakeScheduler,
        monitor: str,
        segmenter: nn.Module | None,
        class_weights: Sequence[float],
        logit_correction: Sequence[float],
    ) -> None:
        num_classes = len(CLASSES)
        metrics = MetricCollection(
            {
                "auroc": MulticlassAUROC(num_classes),
                "macro_f1": MulticlassF1Score(num_classes),
                "accuracy": MulticlassAccuracy(num_classes, average="micro"),
            },
            compute_groups=False,
        )
        super().__init__(network, loss, optimizer, scheduler, monitor, metrics)
        self.segmenter = None if segmenter is None else segmenter.requires_grad_(False).eval()
        self.register_buffer("class_weights", torch.tensor(list(class_weights), dtype=torch.float32))
        self.register_buffer("logit_correction", torch.tensor(list(logit_correction), dtype=torch.float32))

    def train(self, mode: bool = True) -> "ClsModule":
        """Set training mode, except in the frozen segmentation network: its batch norms stay as they are."""
        super().train(mode)
        if self.segmenter is not None:
            self.segmenter.eval()
        return self

    def forward(
        self, image: Float[Tensor, "b 1 h w"], guide: Float[Tensor, "b 1 h w"]
    ) -> Float[Tensor, "b 3"]:
        """Logits under the prior of the training set."""
        return self._raw_logits(image, guide) + self.logit_correction

    def step(self, batch: Batch, metrics: MetricCollection) -> Float[Tensor, ""]:
        """Loss of a batch, under the balanced prior; metrics under the data's own."""
        logits = self._raw_logits(batch["image"], batch["guide"])
        metrics.update((logits.detach().float() + self.logit_correction).softmax(dim=1), batch["label"])
        loss: Tensor = self.loss(logits, batch["label"], self.class_weights)
        return loss

    def predict_step(self, batch: Batch, *_: int) -> Float[Tensor, "b 3"]:
        """Logits under the prior of the training set, float32."""
        return self(batch["image"], batch["guide"]).float()  # type: ignore[no-any-return]

    def _raw_logits(self, image: Float[Tensor, "b 1 h w"], guide: Float[Tensor, "b 1 h w"]) -> Tensor:
        image, guide = (x.contiguous(memory_format=torch.channels_last) for x in (image, guide))
        return self.network(image, guide)  # type: ignore[no-any-return]
