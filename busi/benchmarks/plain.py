"""The peer: a Lightning script as a tutorial would have it, which uses nothing of busi but its network.

It decodes PNG files in every epoch, stretches them with albumentations, and trains in the default memory
layout with AdamW and a fixed learning rate. ``python -m busi.benchmarks.plain FILE SIZE SEED DICE`` trains it
on the images of a JSON file until it reaches a Dice.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import albumentations as A  # noqa: N812
import cv2
import lightning
import numpy as np
import torch
from jaxtyping import UInt8
from lightning.pytorch.callbacks import EarlyStopping
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from busi.benchmarks.configs import compose
from busi.core import Record
from busi.models import build_network, load_encoder_weights


class PlainDataset(Dataset[tuple[Tensor, Tensor]]):
    """Images and masks, read from their files whenever they are asked for."""

    def __init__(self, records: Sequence[Record], image_size: int, augment: bool) -> None:
        self.records = records
        drawn = [
            A.HorizontalFlip(p=0.5),
            A.Affine(
                scale=(0.7, 1.3), translate_percent=(-0.15, 0.15), rotate=(-15, 15), shear=(-8, 8), p=0.9
            ),
            A.RandomBrightnessContrast(0.15, 0.2, p=0.5),
            A.RandomGamma((60, 160), p=0.5),
            A.GaussianBlur((3, 5), p=0.2),
            A.MultiplicativeNoise((0.8, 1.2), elementwise=True, p=0.3),
        ]
        self.transform = A.Compose([A.Resize(image_size, image_size), *(drawn if augment else [])])

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """Image and mask (1, s, s)."""
        record = self.records[index]
        image = _read(record.image)
        mask = np.zeros_like(image)
        for path in record.masks:
            mask |= _read(path) > 0
        done = self.transform(image=image, mask=mask)
        return (
            torch.from_numpy(done["image"])[None].float() / 255,
            torch.from_numpy(done["mask"])[None].float(),
        )


class PlainModule(lightning.LightningModule):
    """A network with BCE + Dice loss; logs the mean Dice of lesions as ``val_dice``."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def training_step(self, batch: tuple[Tensor, Tensor], _: int) -> Tensor:
        """Loss of a batch."""
        image, mask = batch
        logits = self.network(image)
        probs = logits.sigmoid()
        overlap, total = (probs * mask).sum((1, 2, 3)), (probs + mask).sum((1, 2, 3))
        dice_loss = 1 - ((2 * overlap + 100) / (total + 100)).mean()
        loss: Tensor = nn.functional.binary_cross_entropy_with_logits(logits, mask) + dice_loss
        self.log("train_loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], _: int) -> None:
        """Dice of each lesion in a batch."""
        image, mask = batch
        pred = self.network(image) >= 0
        lesion = mask.flatten(1).any(dim=1)
        overlap, total = (pred * mask).sum((1, 2, 3)), pred.sum((1, 2, 3)) + mask.sum((1, 2, 3))
        dice = (2 * overlap / total.clamp(min=1))[lesion]
        if len(dice):
            self.log("val_dice", dice.mean(), prog_bar=True, on_epoch=True, batch_size=len(dice))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW."""
        return torch.optim.AdamW(self.parameters(), lr=1e-3)


def plain_loader(
    records: Sequence[Record], image_size: int, batch_size: int, augment: bool, num_workers: int
) -> DataLoader[tuple[Tensor, Tensor]]:
    """Load training images, shuffled and augmented, or validation images."""
    return DataLoader(
        PlainDataset(records, image_size, augment),
        batch_size=batch_size,
        shuffle=augment,
        drop_last=augment,
        num_workers=num_workers,
        persistent_workers=num_workers > 0,
    )


def train_until(split: dict[str, list[Record]], network: nn.Module, image_size: int, dice: float) -> None:
    """Train until the mean Dice of the lesions that validate reaches `dice`.

    Args:
        split: Images that ``train`` and ``val``.
        network: Image -> logits.
        image_size: Side of the square.
        dice: Of the validation images at network size.
    """
    stop = EarlyStopping("val_dice", mode="max", patience=100, stopping_threshold=dice)
    trainer = lightning.Trainer(max_epochs=40, callbacks=[stop], logger=False, enable_checkpointing=False)
    train, val = (plain_loader(split[name], image_size, 8, name == "train", 0) for name in ("train", "val"))
    trainer.fit(PlainModule(network), train, val)
    if trainer.callback_metrics["val_dice"] < dice:
        sys.exit(f"no Dice of {dice} in {trainer.max_epochs} epochs")


def main(path: str, image_size: str, seed: str, dice: str) -> None:
    """Train the network of a default run on the split in a JSON file."""
    lightning.seed_everything(int(seed), verbose=False)
    split = {
        name: [Record(i, Path(image), tuple(map(Path, masks)), label) for i, image, masks, label in rows]
        for name, rows in json.loads(Path(path).read_text()).items()
    }
    cfg = compose(["stage=seg"])
    network = build_network(cfg.model)
    load_encoder_weights(network, cfg.encoder, cfg.encoder_weights)
    train_until(split, network, int(image_size), float(dice))


def _read(path: Path) -> UInt8[np.ndarray, "_ _"]:
    gray = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    assert gray is not None, path
    return gray.astype(np.uint8, copy=False)


if __name__ == "__main__":
    main(*sys.argv[1:])
