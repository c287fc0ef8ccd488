from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig

from busi.core.files import conf_dir
from busi.core.types import InputError
from busi.data.augmentation import Augmentation
from busi.data.balance import balance_draws
from busi.data.cache import load_letterboxed
from busi.data.datamodule import BUSIDataModule
from busi.data.dataset import EpochSampler
from busi.data.files import read_gray
from busi.data.geometry import letterbox, letterbox_mask
from busi.data.masks import read_mask

Make = Callable[..., BUSIDataModule]
AUGMENTATIONS = sorted(
    path.stem
    for path in (conf_dir() / "augmentation").glob("*.yaml")
    if path.stem != "strong_gpu"  # of whole batches: test_batch_augmentation.py
)


@pytest.fixture
def make(compose: Callable[..., DictConfig], root: Path) -> Make:
    def made(*overrides: str) -> BUSIDataModule:
        options = (f"data.root={root}", "image_size=32", "data.batch_size=4")
        data: BUSIDataModule = instantiate(compose(*options, *overrides).data)
        return data

    return made


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("data.fold=5", "data.fold=5: give a fold from 0 to 4"),
        ("data.fold=-1", "data.fold=-1: give a fold from 0 to 4"),
        ("data.num_folds=2", "data.num_folds=2: at least 3"),
        ("image_size=100", "image_size=100: give a multiple of 32"),
        ("image_size=0", "image_size=0: give a multiple of 32"),
        ("data.batch_size=0", "data.batch_size=0: give at least 1"),
        ("data.cache_gb=-1.0", "data.cache_gb=-1.0: give at least 0"),
        ("data.conflicts=maybe", "data.conflicts=maybe: give one of drop, keep, error"),
        ("data.on_bad=cry", "data.on_bad=cry: give one of error, skip"),
        ("data.balance=even", "data.balance=even: give one of none, sampler, own_classes"),
    ],
)
def test_option_out_of_range_is_refused_before_anything_is_read(
    make: Make, override: str, words: str
) -> None:
    with pytest.raises(Exception, match=words) as caught:
        make(override)
    assert isinstance(caught.value.__cause__, InputError)


def test_batch_is_what_the_modules_expect(make: Make) -> None:
    data = make()
    for loader in (data.train_dataloader(), data.val_dataloader(), data.test_dataloader()):
        batch = next(iter(loader))
        for name in ("image", "mask", "guide"):
            assert batch[name].shape == (4, 1, 32, 32)
            assert batch[name].dtype == torch.float32
        assert 0 <= batch["image"].min() < batch["image"].max() <= 1
        assert set(batch["mask"].unique().tolist()) <= {0.0, 1.0}
        assert (batch["guide"] == 0).all()
        assert batch["label"].dtype == batch["group"].dtype == torch.int64
        assert len(batch["id"]) == 4


def test_loaders_give_their_split_and_nothing_else(make: Make) -> None:
    data = make("data.fold=2")
    for split, loader in (("val", data.val_dataloader()), ("test", data.test_dataloader())):
        ids = [name for batch in loader for name in batch["id"]]
        assert ids == [data.cohort.records[i].id for i in data.cohort.indices(split)]
    trained = {name for batch in data.train_dataloader() for name in batch["id"]}
    assert trained <= {data.cohort.records[i].id for i in data.cohort.indices("train")}


def test_squares_are_the_letterboxed_files(make: Make) -> None:
    data = make()
    for i in (0, 17, 30):
        record = data.cohort.records[i]
        image = read_gray(record.image)
        mask = read_mask(record, *image.shape)
        assert np.array_equal(data.letterboxed[i, 0], letterbox(image, 32))
        assert np.array_equal(data.letterboxed[i, 1], letterbox_mask(mask, 32))


def test_squares_are_made_once_and_mapped(make: Make, tmp_path: Path) -> None:
    data = make(f"cache_dir={tmp_path}/cache")
    first = data.letterboxed
    assert isinstance(first, np.memmap)
    (path,) = (tmp_path / "cache" / "letterboxed").iterdir()
    stamp = path.stat().st_mtime_ns
    contents = data.cohort.contents
    again = load_letterboxed(
        data.cohort.records,
        [content.pixel_hash for content in contents],
        [content.mask_hash for content in contents],
        32,
        tmp_path / "cache",
    )
    assert np.array_equal(first, again)
    assert path.stat().st_mtime_ns == stamp


def epochs(data: BUSIDataModule, num_epochs: int = 2) -> list[tuple[list[str], torch.Tensor]]:
    loader = data.train_dataloader()
    found = []
    for epoch in range(num_epochs):
        assert isinstance(loader.sampler, EpochSampler)
        loader.sampler.set_epoch(epoch)
        found += [(batch["id"], torch.cat([batch["image"], batch["mask"]])) for batch in loader]
    return found


@pytest.mark.parametrize("balance", ["none", "sampler"])
def test_samples_do_not_depend_on_the_number_of_workers(make: Make, balance: str) -> None:
    alone, helped = (epochs(make(f"data.num_workers={n}", f"data.balance={balance}")) for n in (0, 2))
    assert [ids for ids, _ in alone] == [ids for ids, _ in helped]
    assert all(torch.equal(a, b) for (_, a), (_, b) in zip(alone, helped, strict=True))


def test_epochs_differ_and_a_later_one_needs_no_earlier() -> None:
    first, second = EpochSampler(50, seed=0), EpochSampler(50, seed=0)
    draws = list(first)
    assert sorted(index for index, _ in draws) == list(range(50))
    first.set_epoch(3)
    second.set_epoch(3)
    assert list(first) == list(second) != draws
    assert list(EpochSampler(50, seed=1)) != draws


def test_balanced_sampler_draws_classes_equally() -> None:
    labels = np.repeat([0, 1, 2], [10, 100, 400])
    sampler = EpochSampler(len(labels), 0, balance_draws("sampler", labels, ["a"] * len(labels)))
    for epoch in range(20):
        sampler.set_epoch(epoch)
        counts = np.bincount(labels[[index for index, _ in sampler]], minlength=3)
        assert counts == pytest.approx([170] * 3, abs=1)


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_image_mask_and_guide_are_warped_alike(make: Make, name: str) -> None:
    data = make(f"augmentation={name}", "image_size=64")
    data.guides = data.letterboxed[:, 1] * np.uint8(255)
    dataset = data.dataset(data.cohort.indices("train"), augment=True)
    for position in range(len(dataset)):
        sample = dataset[(position, 7 * position)]
        assert torch.equal(sample["mask"], sample["guide"])
        again = dataset[(position, 7 * position)]
        assert torch.equal(sample["image"], again["image"])


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_no_option_turns_a_image_upside_down(make: Make, name: str) -> None:
    """The upper half of the mask stays the upper half, whatever is drawn."""
    data = make(f"augmentation={name}", "image_size=64")
    augmentation = data.augmentation
    assert isinstance(augmentation, Augmentation)
    sample = np.zeros((3, 64, 64), np.uint8)
    sample[0, :32], sample[1, :32] = 180, 1
    for seed in range(200):
        _, mask, _ = augmentation(sample, seed)
        assert mask[:32].sum() > mask[32:].sum()


def test_images_are_clean_without_a_seed(make: Make) -> None:
    data = make("augmentation=strong")
    dataset = data.dataset(np.array([5]), augment=True)
    assert torch.equal(dataset[0]["image"][0], torch.from_numpy(data.letterboxed[5, 0].copy()).float() / 255)


def test_incomplete_batch_is_left_out_of_training_alone(make: Make) -> None:
    data = make("data.batch_size=5")
    train = len(data.cohort.indices("train"))
    assert sum(len(batch["id"]) for batch in data.train_dataloader()) == train - train % 5
    assert sum(len(batch["id"]) for batch in data.val_dataloader()) == len(data.cohort.indices("val"))
