"""Augmentation of whole batches by kornia, on the device of the network."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from busi.core import Batch, InputError, import_extra


class BatchAugmentation:
    """A sequence of named transforms, applied to the images, annotations and guides of a batch.

    It runs where the batch is, so that a fast GPU need not wait for loader processes. Each image gets random
    numbers of its own. They depend on the seed of the batch's first sample, and are drawn on the CPU: a
    resumed run draws the same, and so does another device. Annotations and guides are sampled with the
    nearest neighbor.

    Args:
        transforms: Name -> transform of ``kornia.augmentation``, in order of application.

    Raises:
        InputError: If kornia is not installed, a transform is not of kornia, or its chance is out of range.
    """

    def __init__(self, **transforms: Any) -> None:
        kornia = import_extra("kornia.augmentation", "kornia", "gpu")
        for name, one in transforms.items():
            if not isinstance(one, kornia.AugmentationBase2D):
                raise InputError(
                    f"augmentation.{name}: {type(one).__name__} is no transform of kornia, and whole batches "
                    "are augmented by these alone: take it with augmentation=light or augmentation=strong"
                )
            if not 0 <= one.p <= 1:
                raise InputError(f"augmentation.{name}.p={one.p}: give a chance from 0 to 1")
        keys = ["input", "mask", "mask"]
        self.sequence = kornia.AugmentationSequential(*transforms.values(), data_keys=keys)

    @torch.no_grad()
    def __call__(self, batch: Batch) -> Batch:
        """Augment a batch of training samples; its labels, names and seeds stay.

        Raises:
            InputError: If a transform changes the size of the images.
        """
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(int(batch["seed"][0]))  # that of the GPU is left to dropout
            # 16-bit images of mixed precision would lose gray levels.
            with torch.autocast(batch["image"].device.type, enabled=False):
                image, mask, guide = self.sequence(batch["image"], batch["mask"], batch["guide"])
        _check_size("image", image, batch["image"])
        _check_size("mask", mask, batch["mask"])
        return {**batch, "image": image.clamp(0, 1), "mask": mask, "guide": guide}


def _check_size(name: str, after: Float[Tensor, "b 1 _ _"], before: Float[Tensor, "b 1 h w"]) -> None:
    if after.shape != before.shape:
        raise InputError(
            f"augmentation: it makes of the {name} {tuple(after.shape)}, and must leave it "
            f"{tuple(before.shape)}"
        )
