"""What both stages share: the loop over a batch, logging, the optimiser."""

from abc import abstractmethod
from collections.abc import Callable, Iterable
from typing import Any

import lightning
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.optim import Optimizer
from torchmetrics import MetricCollection

from busi.core import Batch, InputError

MakeOptimizer = Callable[[Iterable[tuple[str, nn.Parameter]]], Optimizer]
MakeScheduler = Callable[[Optimizer], torch.optim.lr_scheduler.LRScheduler]


class StageModule(lightning.LightningModule):
    """A network that is trained on batches and measured on them at network size.

    Args:
        network: The trained network.
        loss: Called with what `step` computes.
        optimizer: Makes the optimiser of the named parameters that need a gradient.
        scheduler: Makes the learning-rate schedule, stepped once an epoch.
        monitor: The validation metric that a schedule may follow.
        metrics: Cloned for training and validation, logged as ``train/...`` and ``val/...``.
    """

    def __init__(
        self,
        network: nn.Module,
        loss: nn.Module,
        optimizer: MakeOptimizer,
        scheduler: MakeScheduler,
        monitor: str,
        metrics: MetricCollection,
    ) -> None:
        super().__init__()
        # Convolutions on the CPU and tensor cores are faster with the channels last in memory.
        self.network = network.to(memory_format=torch.channels_last)
        self.loss = loss
        self.make_optimizer, self.make_scheduler, self.monitor = optimizer, scheduler, monitor
        self.train_metrics = metrics.clone(prefix="train/")
        self.val_metrics = metrics.clone(prefix="val/")

    @abstractmethod
    def step(self, batch: Batch, metrics: MetricCollection) -> Float[Tensor, ""]:
        """Update `metrics` with a batch and return its loss."""

    def training_step(self, batch: Batch, _: int) -> Float[Tensor, ""]:
        """Loss of a training batch."""
        return self._logged_step(batch, "train", self.train_metrics)

    def validation_step(self, batch: Batch, _: int) -> None:
        """Measure a validation batch."""
        self._logged_step(batch, "val", self.val_metrics)

    def configure_optimizers(self) -> Any:
        """Optimiser and schedule of the parameters that are trained.

        Raises:
            InputError: If one of them does not accept its settings.
        """
        named = [(name, p) for name, p in self.named_parameters() if p.requires_grad]
        try:
            optimizer = self.make_optimizer(named)
            scheduler = {"scheduler": self.make_scheduler(optimizer), "monitor": self.monitor}
        except (TypeError, ValueError) as error:
            raise InputError(f"optimizer or scheduler: {error}") from error
        return {"optimizer": optimizer, "lr_scheduler": scheduler}

    def _logged_step(self, batch: Batch, split: str, metrics: MetricCollection) -> Float[Tensor, ""]:
        loss = self.step(batch, metrics)
        size = len(batch["label"])
        # Several devices: the metrics know by themselves how they are joined.
        self.log(f"{split}/loss", loss, True, on_step=False, on_epoch=True, batch_size=size, sync_dist=True)
        self.log_dict(metrics, on_step=False, on_epoch=True, batch_size=size, prog_bar=split == "val")
        return loss
