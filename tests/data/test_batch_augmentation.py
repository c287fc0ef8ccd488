"""Augmentation of whole batches."""

import sys
from collections.abc import Callable
from pathlib import Path

import albumentations as A  # noqa: N812
import kornia.augmentation as K  # noqa: N812
import lightning
import pytest
import torch
from hydra.utils import instantiate
from jaxtyping import Float
from omegaconf import DictConfig
from torch import Tensor, nn

from busi.core.batch import Batch
from busi.core.targets import check_section
from busi.core.types import InputError
from busi.data.augmentation import Augmentation
from busi.data.batch_augmentation import BatchAugmentation
from busi.data.datamodule import BUSIDataModule


def make_batch(number: int = 4, seed: int = 7) -> Batch:
    """Images that are their own annotation and guide: a bright block in the upper left corner."""
    image = torch.zeros(number, 1, 32, 32)
    image[:, :, 4:14, 4:12] = 1
    zeros = torch.zeros(number, dtype=torch.long)
    return {
        "image": image,
        "mask": image.clone(),
        "guide": image.clone(),
        "label": zeros,
        "group": zeros,
        "source": zeros,
        "id": [str(k) for k in range(number)],
        "seed": [seed + k for k in range(number)],
    }


def compose_strong(compose: Callable[..., DictConfig], root: Path) -> BUSIDataModule:
    options = (f"data.root={root}", "image_size=32", "data.batch_size=4", "augmentation=strong_gpu")
    data: BUSIDataModule = instantiate(compose(*options).data)
    return data


def test_image_annotation_and_guide_are_flipped_alike() -> None:
    batch = make_batch()
    flipped = BatchAugmentation(flip=K.RandomHorizontalFlip(p=1.0))(batch)
    for name in ("image", "mask", "guide"):
        assert torch.equal(flipped[name], batch[name].flip(-1))
    assert flipped["id"] == batch["id"]
    assert torch.equal(batch["image"], make_batch()["image"])  # what it was given stays


def test_annotation_stays_binary_and_where_the_image_shows_it() -> None:
    turned = BatchAugmentation(affine=K.RandomAffine(15, (0.1, 0.1), (0.8, 1.2), p=1.0))(make_batch(64))
    assert set(turned["mask"].flatten().tolist()) == {0.0, 1.0}
    assert torch.equal(turned["mask"], turned["guide"])
    inside, outside = turned["image"][turned["mask"] == 1], turned["image"][turned["mask"] == 0]
    assert inside.mean() > 0.9
    assert outside.mean() < 0.02


def test_seed_of_the_batch_alone_decides_and_each_image_has_numbers_of_its_own() -> None:
    augmentation = BatchAugmentation(affine=K.RandomAffine(15, p=1.0))
    before = torch.get_rng_state()
    first, again, other = (augmentation(make_batch(seed=seed))["image"] for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert not torch.equal(first[0], first[1])


def test_transform_that_changes_the_size_is_named() -> None:
    with pytest.raises(InputError, match=r"makes of the image \(4, 1, 16, 16\), and must leave it"):
        BatchAugmentation(crop=K.RandomCrop((16, 16)))(make_batch())


def test_what_is_not_of_kornia_or_no_chance_is_named() -> None:
    with pytest.raises(InputError, match=r"augmentation\.blur: GaussianBlur is no transform of kornia"):
        BatchAugmentation(blur=A.GaussianBlur())
    with pytest.raises(InputError, match=r"augmentation\.flip\.p=2\.0: give a chance from 0 to 1"):
        BatchAugmentation(flip=K.RandomHorizontalFlip(p=2.0))


def test_kornia_among_transforms_of_single_images_is_named() -> None:
    with pytest.raises(
        InputError, match=r"augmentation\.flip: RandomHorizontalFlip of kornia augments whole"
    ):
        Augmentation(flip=K.RandomHorizontalFlip())


class Recorder(lightning.LightningModule):
    """Keeps the images that it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.seen: dict[str, list[Float[Tensor, "b 1 s s"]]] = {"train": [], "val": []}
        self.names: dict[str, list[list[str]]] = {"train": [], "val": []}

    def keep(self, split: str, batch: Batch) -> None:
        self.seen[split].append(batch["image"])
        self.names[split].append(batch["id"])

    def training_step(self, batch: Batch, _: int) -> Tensor:
        self.keep("train", batch)
        return self.weight.sum()

    def validation_step(self, batch: Batch, _: int) -> None:
        self.keep("val", batch)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def test_training_sees_augmented_batches_and_validation_clean_ones(
    compose: Callable[..., DictConfig], root: Path, tmp_path: Path
) -> None:
    data, recorder = compose_strong(compose, root), Recorder()
    trainer = lightning.Trainer(
        max_epochs=1,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        default_root_dir=tmp_path,
    )
    trainer.fit(recorder, data)
    clean = {record.id: data.letterboxed[k, 0] for k, record in enumerate(data.cohort.records)}
    for split, same in (("train", False), ("val", True)):
        assert recorder.seen[split]
        for images, names in zip(recorder.seen[split], recorder.names[split], strict=True):
            plain = torch.stack([torch.from_numpy(clean[name].copy()) for name in names])[:, None] / 255
            assert torch.equal(images, plain) == same
            assert images.min() >= 0
            assert images.max() <= 1


def test_config_may_build_augmentations_of_kornia_alone() -> None:
    check_section({"flip": {"_target_": "kornia.augmentation.RandomHorizontalFlip"}}, "data", "augmentation")
    for target in ("kornia.io.load_image", "kornia.augmentation.AugmentationSequential"):
        with pytest.raises(InputError, match="nothing that a config may build there"):
            check_section({"x": {"_target_": target}}, "data", "augmentation")


def test_without_kornia_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "kornia", None)
    with pytest.raises(InputError, match=r"needs the package kornia: pip install '\.\[gpu\]'"):
        BatchAugmentation()
    with pytest.raises(InputError, match=r"needs the package kornia"):
        check_section({"_target_": "kornia.augmentation.RandomHorizontalFlip"}, "data", "augmentation")


def test_strong_turns_no_image_upside_down(compose: Callable[..., DictConfig], root: Path) -> None:
    """The upper half of the mask stays the upper half, whatever is drawn."""
    augmentation = compose_strong(compose, root).augmentation
    assert isinstance(augmentation, BatchAugmentation)
    batch = make_batch(50)
    batch["mask"][:, :, :16] = 1
    for seed in range(4):
        mask = augmentation({**batch, "seed": [seed]})["mask"]
        assert (mask[:, :, :16].sum((1, 2, 3)) > mask[:, :, 16:].sum((1, 2, 3))).all()
