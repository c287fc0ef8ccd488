"""A training step that is tried before the run begins, and the shared memory that its batches need."""

import copy
import shutil
from pathlib import Path

import torch
from omegaconf import DictConfig
from torch import nn

from busi.core import Batch, InputError, one_line, trusted
from busi.data import BUSIDataModule, collate
from busi.models import fixed_size
from busi.modules import StageModule

SHARED_MEMORY = Path("/dev/shm")
"""Through it, loader processes hand over their batches."""
PREFETCHED = 2
"""Batches that each loader process prepares ahead."""


def try_step(cfg: DictConfig, module: StageModule, data: BUSIDataModule, world_size: int) -> None:
    """Take one training step with a copy of the module, on one or two real images, without learning.

    So a network, a loss or an augmentation that fails does so before the run begins. The random numbers of
    the run are as before.

    Args:
        cfg: Of the run.
        module: Not trained yet.
        data: Set up, and prepared.
        world_size: Processes that share a batch.

    Raises:
        InputError: If the step fails, or loader processes would lack shared memory.
    """
    indices = data.cohort.indices("train")
    share = max(1, min(data.batch_size, len(indices)) // world_size)
    samples = data.dataset(indices[:2], augment=True)
    try:
        batch = data.augment(collate([samples[k, k] for k in range(min(share, len(samples)))]))
        check_loss_value(_step(module, batch))
    except InputError:
        raise
    except Exception as error:
        raise InputError(_explain(cfg, module, samples[0], share, world_size, error)) from error
    size = sum(x.numel() * x.element_size() for x in batch.values() if isinstance(x, torch.Tensor))
    check_shared_memory(data.num_workers * world_size, size * share // len(batch["id"]))


def check_loss_value(loss: object) -> None:
    """Raise `InputError` if the loss of a batch is nothing that a network can learn from.

    Args:
        loss: What the step of a module has returned.
    """
    if not isinstance(loss, torch.Tensor) or loss.numel() != 1:
        what = f"of shape {tuple(loss.shape)}" if isinstance(loss, torch.Tensor) else type(loss).__name__
        raise InputError(
            f"loss: it gives a value {what}, and must give a tensor of one number for a batch, e.g. the mean"
        )
    if not loss.requires_grad:
        raise InputError(
            "the loss does not depend on the weights: something in the network or the loss cuts the gradient "
            "off (a threshold, detach, item, numpy, no_grad)"
        )
    if not torch.isfinite(loss):
        raise InputError(
            f"the first training step gives a loss of {loss.item()}: look for a division, a logarithm or a "
            "root of 0 in the loss or the network"
        )
    if trusted():  # code of the user's own: an operation in place shows in the backward pass
        loss.backward()  # type: ignore[no-untyped-call]


def check_shared_memory(num_workers: int, batch_bytes: int) -> None:
    """Raise `InputError` if loader processes lack shared memory: some would wait for it forever.

    Args:
        num_workers: Of all processes of the run.
        batch_bytes: Size of a batch of one of them.
    """
    if not num_workers or not SHARED_MEMORY.is_dir():
        return
    # Those of training stay while others validate.
    needed = 2 * num_workers * (PREFETCHED + 1) * batch_bytes / 1e6
    free = shutil.disk_usage(SHARED_MEMORY).free / 1e6
    if free < needed:
        raise InputError(
            f"data.num_workers={num_workers} needs {needed:.0f} MB of shared memory, {SHARED_MEMORY} has "
            f"{free:.0f} MB: give data.num_workers=0, or start the container with more (docker run "
            "--shm-size=2g, or --ipc=host)"
        )


def _step(module: StageModule, batch: Batch, train: bool = True) -> torch.Tensor:
    tried = copy.deepcopy(module)
    # Batch norm that is shared by GPUs does not run in training mode before they have met.
    train = train and not any(isinstance(part, nn.SyncBatchNorm) for part in tried.modules())
    with torch.random.fork_rng(devices=[]):
        return tried.train(train).step(batch, tried.train_metrics)


def _explain(
    cfg: DictConfig, module: StageModule, sample: Batch, share: int, world_size: int, error: Exception
) -> str:
    size, needed = cfg.image_size, fixed_size(cfg.encoder)
    if view := cfg.model.network.get("view_size"):
        size = view
    if needed is not None and needed != size:
        setting = "model.network.view_size" if view else "image_size"
        how = f"give {setting}={needed}, or another encoder" if needed % 32 == 0 else "give another encoder"
        return f"{setting}={size}: encoder={cfg.encoder} sees images of {needed} px and no others: {how}"
    if share == 1 and _works(module, sample):
        shared = f", shared by {world_size} processes," if world_size > 1 else ""
        return (
            f"data.batch_size={cfg.data.batch_size}{shared} means batches of one image, with which this "
            f"network cannot be trained at image_size={cfg.image_size}: give "
            f"data.batch_size={2 * world_size} or more"
        )
    text = one_line(error)
    return f"the first training step fails: {type(error).__name__}: {text} (HYDRA_FULL_ERROR=1 shows where)"


def _works(module: StageModule, sample: Batch) -> bool:
    try:
        _step(module, collate([sample]), train=False)
    except Exception:  # whatever it is: another reason than the size of the batch
        return False
    return True
