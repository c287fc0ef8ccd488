"""Stage two: a network that tells normal, benign and malignant from an image and its guide."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional
from torchmetrics import MetricCollection

from busi.core import Batch, Config
from busi.modules.base import MakeOptimizer, MakeScheduler, StageModule, build_arguments
from busi.modules.losses import CrossEntropyLoss
from busi.modules.source_mean import ClassMetric, accuracy, macro_f1, mean_auroc


class ClsModule(StageModule):
    """Classifies an image with the help of a guide, the mask that is its second input channel.

    The segmentation network is carried along, frozen, so that one checkpoint turns an image into
    mask and diagnosis. Each part is an object, a config of one (`busi.core.Config`), or left to its default.

    Args:
        network: Image and guide (b, 1, h, w) in [0, 1] -> logits (b, 3), e.g.
            `busi.models.guided_classifier`. In training it may give those of several classifiers,
            (k, b, 3): each learns by itself.
        loss: Of logits, labels and class weights; cross-entropy by default.
        optimizer: See `SegModule`.
        scheduler: See `SegModule`.
        monitor: See `SegModule`.
        segmenter: The network that predicts guides; None where the guide is not predicted.
        class_weights: Weight of each class in the loss; see `BUSIDataModule.class_balance`.
        logit_correction: Added to the network's logits to give those of the data's own prior.
        source_classes: For each source of the data, which classes it has: the loss compares an image with
            these alone, so that a source without normals does not teach what a normal image is. None compares
            with all classes.

    Attributes:
        logit_scale: By which the network's logits are multiplied before the correction is added; 1 until
            a command has fitted it on the validation fold, see `busi.metrics.fit_logit_scale`.

    Raises:
        InputError: See `build_arguments`.
    """

    default_loss = CrossEntropyLoss
    loss_inputs = ("logits", "label", "class_weights")
    class_weights: Tensor
    logit_correction: Tensor
    logit_scale: Tensor
    source_classes: Tensor | None

    def __init__(
        self,
        network: nn.Module | Config | None = None,
        loss: nn.Module | Config | None = None,
        optimizer: MakeOptimizer | Config | None = None,
        scheduler: MakeScheduler | Config | None = None,
        monitor: str = "val/auroc",
        segmenter: nn.Module | Config | None = None,
        class_weights: Sequence[float] = (1.0, 1.0, 1.0),
        logit_correction: Sequence[float] = (0.0, 0.0, 0.0),
        source_classes: Sequence[Sequence[bool]] | None = None,
    ) -> None:
        metrics = MetricCollection(
            {
                "auroc": ClassMetric(mean_auroc),
                "macro_f1": ClassMetric(macro_f1),
                "accuracy": ClassMetric(accuracy),
            },
            compute_groups=False,
        )
        arguments = build_arguments(
            {
                "network": network,
                "loss": loss,
                "optimizer": optimizer,
                "scheduler": scheduler,
                "monitor": monitor,
                "segmenter": segmenter,
                "class_weights": class_weights,
                "logit_correction": logit_correction,
                "source_classes": source_classes,
            }
        )
        super().__init__(metrics, arguments)
        frozen: nn.Module | None = arguments["segmenter"]
        self.segmenter = None if frozen is None else frozen.requires_grad_(False).eval()
        self.register_buffer("class_weights", torch.tensor(list(class_weights), dtype=torch.float32))
        self.register_buffer("logit_correction", torch.tensor(list(logit_correction), dtype=torch.float32))
        self.register_buffer("logit_scale", torch.ones(()))
        self.register_load_state_dict_pre_hook(_add_scale)  # type: ignore[no-untyped-call]
        known = None if source_classes is None else torch.tensor([list(has) for has in source_classes])
        self.register_buffer("source_classes", known, persistent=False)

    def train(self, mode: bool = True) -> "ClsModule":
        """Set training mode, except in the frozen segmentation network: its batch norms stay as they are."""
        super().train(mode)
        if self.segmenter is not None:
            self.segmenter.eval()
        return self

    def on_fit_start(self) -> None:
        """Forget the scale of other weights."""
        self.logit_scale.fill_(1)

    def forward(
        self, image: Float[Tensor, "b 1 h w"], guide: Float[Tensor, "b 1 h w"]
    ) -> Float[Tensor, "b 3"]:
        """Logits under the prior of the training set."""
        return self._under_prior(self._ask_each(image, guide))

    def step(self, batch: Batch, metrics: MetricCollection) -> Float[Tensor, ""]:
        """Loss of a batch, under the balanced prior; metrics under the data's own."""
        each = self._ask_each(batch["image"], batch["guide"])
        probs = self._under_prior(each.detach().float()).softmax(dim=1)
        metrics.update(probs, batch["label"], batch.get("source"))
        return torch.stack([self._compare(one, batch) for one in each]).mean()

    def _compare(self, logits: Float[Tensor, "b 3"], batch: Batch) -> Float[Tensor, ""]:
        """Loss of a batch; of each image among the classes that its source has."""
        label: Tensor = batch["label"]
        if self.source_classes is None:
            return self.loss(logits, label, self.class_weights)  # type: ignore[no-any-return]
        # An image that is only measured may be of a class that no training image of its source has.
        has = self.source_classes[batch["source"]] | functional.one_hot(label, len(self.class_weights)).bool()
        total = logits.new_zeros(())
        for classes in torch.unique(has, dim=0):
            rows, numbers = (has == classes).all(dim=1), classes.cumsum(0) - 1
            loss = self.loss(logits[rows][:, classes], numbers[label[rows]], self.class_weights[classes])
            total = total + rows.float().mean() * loss
        return total

    def predict_step(self, batch: Batch, *_: int) -> Float[Tensor, "b 3"]:
        """Logits under the prior of the training set, float32."""
        return self(batch["image"], batch["guide"]).float()  # type: ignore[no-any-return]

    def _under_prior(self, each: Float[Tensor, "k b 3"]) -> Float[Tensor, "b 3"]:
        return each.mean(dim=0) * self.logit_scale + self.logit_correction

    def _ask_each(
        self, image: Float[Tensor, "b 1 h w"], guide: Float[Tensor, "b 1 h w"]
    ) -> Float[Tensor, "k b 3"]:
        """Logits under the balanced prior, of each classifier that the network is made of."""
        image, guide = (x.contiguous(memory_format=torch.channels_last) for x in (image, guide))
        logits: Tensor = self.network(image, guide)
        return logits.reshape(-1, *logits.shape[-2:])


def _add_scale(module: nn.Module, state: dict[str, Tensor], prefix: str, *_: object) -> None:
    """Give checkpoints of earlier versions the scale that they lack, those of averaged weights too."""
    del module
    state.setdefault(f"{prefix}logit_scale", torch.ones(()))
