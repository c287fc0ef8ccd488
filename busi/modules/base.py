"""What both stages share: the loop over a batch, logging, the optimizer, and what a checkpoint remembers."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import lightning
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torchmetrics import MetricCollection

from busi.core import Batch, InputError, build, built_from

MakeOptimizer = Callable[[Iterable[tuple[str, nn.Parameter]]], Optimizer]
MakeScheduler = Callable[[Optimizer], LRScheduler]

ADAMW: MakeOptimizer = partial(torch.optim.AdamW, lr=1e-3, weight_decay=1e-2)
"""The optimizer of a module that is given none."""
UNKNOWN = {"_target_": "unknown"}
"""What a checkpoint holds in place of an object that was not built from a config."""


class StageModule(lightning.LightningModule, ABC):
    """A network that is trained on batches and measured on them at network size.

    A checkpoint holds the arguments of its module: plain values, configs, and the configs of objects that
    were built from one. So ``load_from_checkpoint(path)`` needs nothing else. Objects that do not know their
    config are given again: ``load_from_checkpoint(path, network=network)``.

    Args:
        metrics: Cloned for training, validation and test, logged as ``train/...`` and so on.
        arguments: Of the module, by name, as `build_arguments` gives them. Those of every stage are
            ``network``, ``loss``, ``optimizer``, ``scheduler`` and ``monitor``.

    Attributes:
        default_loss: Of a module that is given none.
        loss_inputs: Names of what the loss is called with, in order; empty where a module does not say.
    """

    default_loss: type[nn.Module]
    loss_inputs: tuple[str, ...] = ()

    def __init__(self, metrics: MetricCollection, arguments: Mapping[str, Any]) -> None:
        super().__init__()
        self.arguments: dict[str, Any] = {name: _stored(x) for name, x in arguments.items() if x is not None}
        # Convolutions on the CPU and tensor cores are faster with the channels last in memory.
        self.network: nn.Module = arguments["network"].to(memory_format=torch.channels_last)
        self.loss: nn.Module = arguments["loss"] or self.default_loss()
        self.make_optimizer: MakeOptimizer = arguments["optimizer"] or ADAMW
        self.make_scheduler: MakeScheduler | None = arguments["scheduler"]
        self.monitor: str = arguments["monitor"]
        self.train_metrics = metrics.clone(prefix="train/")
        self.val_metrics = metrics.clone(prefix="val/")
        self.test_metrics = metrics.clone(prefix="test/")

    @abstractmethod
    def step(self, batch: Batch, metrics: MetricCollection) -> Float[Tensor, ""]:
        """Update `metrics` with a batch and return its loss."""

    def check_data(self, data: object) -> None:
        """Raise `InputError` if a data module has images that this module cannot learn from."""

    def setup(self, stage: str) -> None:
        """Check the data of the trainer."""
        del stage
        self.check_data(getattr(self.trainer, "datamodule", None))

    def training_step(self, batch: Batch, _: int) -> Float[Tensor, ""]:
        """Loss of a training batch."""
        return self._logged_step(batch, "train", self.train_metrics)

    def validation_step(self, batch: Batch, _: int) -> None:
        """Measure a validation batch."""
        self._logged_step(batch, "val", self.val_metrics)

    def test_step(self, batch: Batch, _: int) -> None:  # noqa: PT019
        """Measure a test batch."""
        self._logged_step(batch, "test", self.test_metrics)

    def configure_optimizers(self) -> Any:
        """Optimizer and schedule of the parameters that are trained; schedules are stepped once an epoch.

        Raises:
            InputError: If one of them does not accept its settings.
        """
        named = [(name, p) for name, p in self.named_parameters() if p.requires_grad]
        try:
            optimizer = self.make_optimizer(named)
            if self.make_scheduler is None:
                return optimizer
            scheduler = {"scheduler": self.make_scheduler(optimizer), "monitor": self.monitor}
        except (TypeError, ValueError) as error:
            raise InputError(f"optimizer or scheduler: {error}") from error
        return {"optimizer": optimizer, "lr_scheduler": scheduler}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Store the arguments where Lightning looks for them."""
        checkpoint[self.CHECKPOINT_HYPER_PARAMS_KEY] = self.arguments

    def _logged_step(self, batch: Batch, split: str, metrics: MetricCollection) -> Float[Tensor, ""]:
        loss = self.step(batch, metrics)
        size = len(batch["label"])
        # Several devices: the metrics know by themselves how they are joined.
        self.log(f"{split}/loss", loss, True, on_step=False, on_epoch=True, batch_size=size, sync_dist=True)
        self.log_dict(metrics, on_step=False, on_epoch=True, batch_size=size, prog_bar=split == "val")
        return loss


def build_arguments(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Build the configs among the arguments of a module.

    Raises:
        InputError: If there is no network, a config names something that cannot be built, or a checkpoint
            lacks the config of an argument.
    """
    if unknown := [name for name, x in arguments.items() if x == UNKNOWN]:
        again = ", ".join(f"{name}=..." for name in unknown)
        raise InputError(
            f"the checkpoint does not say how its {' and '.join(unknown)} was built: give it again with "
            f"load_from_checkpoint(path, {again})"
        )
    if arguments["network"] is None:
        raise InputError("network: give one, e.g. busi.models.unet() or busi.models.guided_classifier()")
    sections = {"network": "model", "segmenter": "model"}
    return {
        name: build(x, sections.get(name, name)) if isinstance(x, Mapping) else x
        for name, x in arguments.items()
    }


def _stored(value: object) -> object:
    """An argument as a checkpoint can hold it."""
    if isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (list, tuple)):
        return [_stored(x) for x in value]
    return built_from(value) or UNKNOWN
