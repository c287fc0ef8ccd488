"""The data of one run: a cohort, its arrays and its loaders."""

import logging
from collections.abc import Callable, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch.utils.data import DataLoader

from busi.core import Batch, InputError, default_cache_dir, expand
from busi.data.augmentation import Augmentation
from busi.data.balance import balance_draws, class_balance, logit_shift
from busi.data.batch_augmentation import BatchAugmentation
from busi.data.cache import load_letterboxed, trim
from busi.data.class_folders import read_busi
from busi.data.cohort import Cohort, build_cohort, describe_cohort
from busi.data.dataset import BUSIDataset, EpochSampler, Guides, collate, share_batches
from busi.data.download import check_published, download_busi
from busi.data.options import check_folds, check_options, check_sizes
from busi.data.pool import Sources, read_records
from busi.data.records import Reading

log = logging.getLogger(__name__)


class BUSIDataModule(lightning.LightningDataModule):
    """Breast-ultrasound images, split without leaks.

    Args:
        root: Where the data is; `read` says what that means. None for a pool.
        name: What the data is called in messages and commands.
        read: Lists the records found at `root`.
        sources: The data sets of a pool, read in place of `root`: name -> ``root`` and ``read``.
        train_only: Sources whose images all train.
        hold_out: A source that tests alone: the others train and choose, and their test fold is left out.
        download: Get BUSI from Kaggle instead of looking at `root`.
        augmentation: Applied to training samples when they are loaded, or to their batches on the device of
            the network; None leaves them as they are.
        image_size: Side of the square that the network sees, in pixels; a multiple of 32.
        batch_size: Images of an optimizer step, on all devices together.
        num_workers: Loader processes; 0 loads in the main one.
        fold: The test fold; the next one (mod `num_folds`) validates, the rest train.
        leave_out: A training fold that is held out too, so that the model can guide its images.
        num_folds: Number of folds.
        split_seed: Seed of the assignment to folds.
        folds: ``grouped`` folds of our own, or those that the data sets have ``published``.
        seed: Seed of the order of samples and of their augmentation.
        conflicts: What happens to near-duplicates under different labels: ``drop``, ``keep`` or ``error``.
        exclude: CSV file with the column ``id``: more images to leave out.
        on_bad: ``error`` stops at unusable files, ``skip`` goes on without them.
        need_masks: Leave out images that nobody annotated.
        balance: How often an image is drawn in training: see `busi.data.balance.balance_draws`. ``none`` and
            ``weights`` (which the loss applies) draw every image once.
        epoch_size: Draws of an epoch; None for as many as there are training images.
        subset: Keep this many images of each class of each source in each split; None keeps all.
        cache_dir: Where decoded data is kept; None is `busi.core.default_cache_dir`.
        cache_gb: Size from which arrays that were not used for longest are deleted there, 10^9 bytes.
        guide: Makes the guides of all images when training or testing is set up, e.g. a class of
            `busi.guides`; None gives every image an empty one.
        cohort: The images and their splits; None reads and splits what is at `root`.

    Raises:
        InputError: If an argument is out of range.
    """

    def __init__(
        self,
        root: str | Path | None,
        *,
        name: str = "busi",
        read: Callable[[Path], Reading] = read_busi,
        sources: Sources | None = None,
        train_only: Sequence[str] = (),
        hold_out: str | None = None,
        download: bool = False,
        augmentation: Augmentation | BatchAugmentation | None = None,
        image_size: int = 256,
        batch_size: int = 8,
        num_workers: int = 0,
        fold: int = 0,
        leave_out: int | None = None,
        num_folds: int = 5,
        split_seed: int = 0,
        folds: str = "grouped",
        seed: int = 0,
        conflicts: str = "drop",
        exclude: str | Path | None = None,
        on_bad: str = "error",
        need_masks: bool = False,
        balance: str = "none",
        epoch_size: int | None = None,
        subset: int | None = None,
        cache_dir: str | Path | None = None,
        cache_gb: float = 20.0,
        guide: "Callable[[BUSIDataModule], Guides | None] | None" = None,
        cohort: Cohort | None = None,
    ) -> None:
        super().__init__()
        check_folds(fold, leave_out, num_folds)
        check_sizes(image_size, batch_size, epoch_size, cache_gb)
        check_options(conflicts=conflicts, on_bad=on_bad, balance=balance, folds=folds)
        if download and name != "busi":
            raise InputError(f"data.download=true gets BUSI, not data={name}: add data=busi")
        self.root = None if root is None else expand(root)
        self.name, self.read, self.sources, self.download = name, read, sources, download
        self.train_only, self.hold_out, self.cache_gb = list(train_only), hold_out, cache_gb
        self.augmentation, self.guide = augmentation, guide
        self.guides: Guides | None = None
        self.image_size, self.batch_size, self.num_workers = image_size, batch_size, num_workers
        self.fold, self.num_folds, self.leave_out, self.split_seed = fold, num_folds, leave_out, split_seed
        self.seed, self.balance, self.epoch_size, self.folds = seed, balance, epoch_size, folds
        self.cache_dir = expand(cache_dir) if cache_dir else default_cache_dir()
        self.build_cohort = partial(
            build_cohort,
            cache_dir=self.cache_dir,
            fold=fold,
            leave_out=leave_out,
            num_folds=num_folds,
            split_seed=split_seed,
            conflicts=conflicts,
            exclude=expand(exclude) if exclude else None,
            on_bad=on_bad,
            need_masks=need_masks,
            subset=subset,
            published=folds == "published",
            train_only=self.train_only,
            hold_out=hold_out,
        )
        if cohort is not None:
            self.cohort = cohort
        self._next_epoch = 0

    def prepare_data(self) -> None:
        """Decode, check and scale everything once, into the cache."""
        _ = self.letterboxed
        trim(self.cache_dir, self.cache_gb)

    def setup(self, stage: str | None = None) -> None:
        """Make the guides, once, for whatever stage asks first."""
        del stage
        if self.guide is not None:
            self.guides, self.guide = self.guide(self), None

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint of the trainer says of the data: the epoch that a resumed run begins with."""
        return {"next_epoch": self.trainer.current_epoch + 1 if self.trainer else 0}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Loader processes draw the first samples before Lightning says which epoch a resumed run is in."""
        self._next_epoch = state_dict["next_epoch"]

    @cached_property
    def cohort(self) -> Cohort:
        """The images and their splits; read on first use."""
        if self.download:
            self.root = download_busi()
        cohort = self.build_cohort(self.list_images())
        if self.download and self.root is not None:
            check_published(cohort.data_fingerprint, self.root)
        log.info("%s", describe_cohort(cohort))
        return cohort

    def list_images(self) -> Reading:
        """Read the data set, or those of a pool; see `busi.data.class_folders.read_busi`."""
        return read_records(self.root, self.read, self.sources)

    @property
    def letterboxed(self) -> UInt8[np.ndarray, "n 2 s s"]:
        """Letterboxed images and annotations of the whole cohort."""
        contents = self.cohort.contents
        pixels, masks = [c.pixel_hash for c in contents], [c.mask_hash for c in contents]
        return load_letterboxed(self.cohort.records, pixels, masks, self.image_size, self.cache_dir)

    def class_balance(self) -> dict[str, Any]:
        """What a classifier must know of `balance`; see `busi.data.balance.class_balance`."""
        return class_balance(self.balance, *self._train_labels(), self.cohort.sources)

    def logit_shift(self, indices: Int[np.ndarray, " m"]) -> Float[np.ndarray, "m 3"]:
        """What turns the logits of these images into those under the prior of the source of each."""
        return logit_shift(self.balance, *self._train_labels(), self.cohort.sources_of(indices))

    def _train_labels(self) -> tuple[Int[np.ndarray, " n"], list[str]]:
        train = self.cohort.indices("train")
        return self.cohort.labels()[train], self.cohort.sources_of(train)

    def dataset(self, indices: Int[np.ndarray, " m"], augment: bool = False) -> BUSIDataset:
        """Samples of these positions of the cohort, augmented when drawn with a seed if asked for."""
        by_sample = self.augmentation if isinstance(self.augmentation, Augmentation) else None
        return BUSIDataset(
            letterboxed=self.letterboxed,
            guides=self.guides,
            indices=indices,
            ids=[record.id for record in self.cohort.records],
            labels=self.cohort.labels(),
            groups=self.cohort.groups,
            sources=np.array([self.cohort.sources.index(record.source) for record in self.cohort.records]),
            augmentation=by_sample if augment else None,
        )

    def augment(self, batch: Batch) -> Batch:
        """Augment a batch of training samples, unless that was done when they were loaded."""
        return self.augmentation(batch) if isinstance(self.augmentation, BatchAugmentation) else batch

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Augment a batch of training, where the network is."""
        del dataloader_idx
        return self.augment(batch) if self.trainer and self.trainer.training else batch

    def train_dataloader(self) -> DataLoader[Batch]:
        """Augmented training samples of this rank; the last incomplete batch is left out."""
        indices, (rank, world_size) = self.cohort.indices("train"), self._rank()
        # Networks with a pooled branch cannot train on a batch of one.
        share = min(self.batch_size, len(indices)) // world_size
        sampler = EpochSampler(
            len(indices),
            self.seed,
            balance_draws(self.balance, *self._train_labels()),
            *(self._next_epoch, rank, world_size, self.epoch_size),
        )
        dataset = self.dataset(indices, augment=True)
        return self._loader(dataset, batch_size=share, sampler=sampler, drop_last=True)

    def val_dataloader(self) -> DataLoader[Batch]:
        """Clean validation samples of this rank; each image is on one rank, once."""
        return self._shared_loader("val")

    def test_dataloader(self) -> DataLoader[Batch]:
        """Clean test samples of this rank; each image is on one rank, once."""
        return self._shared_loader("test")

    def clean_dataloader(self, indices: Int[np.ndarray, " m"]) -> DataLoader[Batch]:
        """Clean samples of these positions of the cohort, in their order."""
        return self._loader(self.dataset(indices), batch_size=self.batch_size)

    def _shared_loader(self, split: str) -> DataLoader[Batch]:
        indices = self.cohort.indices(split)
        batches = share_batches(len(indices), self.batch_size, *self._rank())
        return self._loader(self.dataset(indices), batch_sampler=batches)

    def _rank(self) -> tuple[int, int]:
        """Number of this process, and of all that share the batches."""
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)

    def _loader(self, dataset: BUSIDataset, **options: Any) -> DataLoader[Batch]:
        on_cpu = self.trainer is not None and self.trainer.strategy.root_device.type == "cpu"
        # A generator of its own: the workers start in the first epoch of a process, also of a resumed run.
        return DataLoader(
            dataset,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
            collate_fn=collate,
            pin_memory=torch.cuda.is_available() and not on_cpu,
            generator=torch.Generator(),
            **options,
        )
