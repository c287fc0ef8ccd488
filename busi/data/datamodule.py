"""The data of one run: a cohort, its arrays and its loaders."""

import logging
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
from jaxtyping import Int, UInt8
from torch.utils.data import DataLoader

from busi.core import CLASSES, Batch, InputError
from busi.data.augmentation import Augmentation
from busi.data.cache import load_squares, trim
from busi.data.cohort import Cohort, build_cohort
from busi.data.dataset import BUSIDataset, EpochSampler, collate
from busi.data.download import check_published, download_busi
from busi.data.records import Reading
from busi.data.splits import train_folds

log = logging.getLogger(__name__)


class BUSIDataModule(lightning.LightningDataModule):
    """Breast-ultrasound pictures, split without leaks.

    Args:
        name: What the data is called in messages and commands.
        root: Where the data is; `read` says what that means.
        read: Lists the records found at `root`.
        download: Get BUSI from Kaggle instead of looking at `root`.
        augmentation: Applied to training samples.
        image_size: Side of the square that the network sees, in pixels; a multiple of 32.
        batch_size: Pictures of an optimiser step, on all devices together.
        num_workers: Loader processes; 0 loads in the main one.
        fold: The test fold; the next one (mod `num_folds`) validates, the rest train.
        leave_out: A training fold that is held out too, so that the model can guide its pictures.
        num_folds: Number of folds.
        split_seed: Seed of the assignment to folds.
        seed: Seed of the order of samples and of their augmentation.
        conflicts: What happens to copies of one picture under different labels: ``drop``, ``keep``
            or ``error``.
        exclude: CSV file with the column ``id``: more pictures to leave out.
        on_bad: ``error`` stops at unusable files, ``skip`` goes on without them.
        need_masks: Leave out pictures that nobody annotated.
        balance: ``sampler`` draws each class equally often in training; ``none`` and ``weights`` (which
            the loss applies) draw every picture once.
        subset: Keep this many pictures of each class in each split; None keeps all.
        cache_dir: Where decoded data is kept.
        cache_gb: Size from which arrays that were not used for longest are deleted there, 10^9 bytes.

    Raises:
        InputError: If an argument is out of range.
    """

    def __init__(
        self,
        *,
        name: str,
        root: str,
        read: Callable[[Path], Reading],
        download: bool,
        augmentation: Augmentation,
        image_size: int,
        batch_size: int,
        num_workers: int,
        fold: int,
        leave_out: int | None,
        num_folds: int,
        split_seed: int,
        seed: int,
        conflicts: str,
        exclude: str | None,
        on_bad: str,
        need_masks: bool,
        balance: str,
        subset: int | None,
        cache_dir: str,
        cache_gb: float,
    ) -> None:
        super().__init__()
        if num_folds < 3:
            raise InputError(f"data.num_folds={num_folds}: at least 3 are needed, to train, choose and test")
        if not 0 <= fold < num_folds:
            raise InputError(
                f"data.fold={fold}: give a fold from 0 to {num_folds - 1} (data.num_folds={num_folds})"
            )
        can_train = train_folds(fold, num_folds)
        if leave_out is not None and (leave_out not in can_train or len(can_train) < 2):
            raise InputError(
                f"data.leave_out={leave_out}: give one of several training folds; those of data.fold={fold} "
                f"are {', '.join(map(str, can_train))}"
            )
        if image_size < 32 or image_size % 32:
            raise InputError(f"image_size={image_size}: give a multiple of 32, at least 32")
        if batch_size < 1:
            raise InputError(f"data.batch_size={batch_size}: give at least 1")
        if cache_gb < 0:
            raise InputError(f"data.cache_gb={cache_gb}: give at least 0")
        for key, value, options in (
            ("data.conflicts", conflicts, ("drop", "keep", "error")),
            ("data.on_bad", on_bad, ("error", "skip")),
            ("data.balance", balance, ("none", "sampler", "weights")),
        ):
            if value not in options:
                raise InputError(f"{key}={value}: give one of {', '.join(options)}")
        if download and name != "busi":
            raise InputError(f"data.download=true gets BUSI, not data={name}: add data=busi")
        self.name, self.download = name, download
        self.root, self.read, self.augmentation = Path(root).expanduser(), read, augmentation
        self.image_size, self.batch_size, self.num_workers = image_size, batch_size, num_workers
        self.seed, self.balance = seed, balance
        self.cache_dir, self.cache_gb = Path(cache_dir).expanduser(), cache_gb
        self.cohort_options: dict[str, Any] = {
            "fold": fold,
            "leave_out": leave_out,
            "num_folds": num_folds,
            "split_seed": split_seed,
            "conflicts": conflicts,
            "exclude": Path(exclude).expanduser() if exclude else None,
            "on_bad": on_bad,
            "need_masks": need_masks,
            "subset": subset,
        }
        self.guides: UInt8[np.ndarray, "n s s"] | None = None
        # Loader processes draw the first samples before Lightning says which epoch a resumed run is in.
        self.first_epoch = 0
        self.rank, self.world_size = 0, 1

    def prepare_data(self) -> None:
        """Decode, check and scale everything once, into the cache."""
        _ = self.squares
        trim(self.cache_dir, self.cache_gb)

    @cached_property
    def cohort(self) -> Cohort:
        """The pictures and their parts; read on first use, unless another cohort was set."""
        if self.download:
            self.root = download_busi()
        cohort = build_cohort(self.read(self.root), cache_dir=self.cache_dir, **self.cohort_options)
        if self.download:
            check_published(cohort.data_fingerprint, self.root)
        log.info("%s", describe_cohort(cohort))
        return cohort

    @property
    def squares(self) -> UInt8[np.ndarray, "n 2 s s"]:
        """Letterboxed pictures and annotations of the whole cohort."""
        contents = self.cohort.contents
        pixels, masks = [c.pixel_hash for c in contents], [c.mask_hash for c in contents]
        return load_squares(self.cohort.records, pixels, masks, self.image_size, self.cache_dir)

    def class_counts(self) -> Int[np.ndarray, " 3"]:
        """Training pictures of each class."""
        labels = self.cohort.labels()[self.cohort.indices("train")]
        return np.bincount(labels, minlength=len(CLASSES))

    def dataset(self, indices: Int[np.ndarray, " m"], augment: bool = False) -> BUSIDataset:
        """Samples of these positions of the cohort, augmented when drawn with a seed if asked for."""
        return BUSIDataset(
            squares=self.squares,
            guides=self.guides,
            indices=indices,
            ids=[record.id for record in self.cohort.records],
            labels=self.cohort.labels(),
            groups=self.cohort.groups,
            augmentation=self.augmentation if augment else None,
        )

    def train_dataloader(self) -> DataLoader[Batch]:
        """Augmented training samples of this rank; the last incomplete batch is left out."""
        indices = self.cohort.indices("train")
        dataset = self.dataset(indices, augment=True)
        # Networks with a pooled branch cannot train on a batch of one.
        share = min(self.batch_size, len(indices)) // self.world_size
        weights = None
        if self.balance == "sampler":
            weights = 1 / self.class_counts()[self.cohort.labels()[indices]]
        sampler = EpochSampler(len(indices), self.seed, weights, self.first_epoch, self.rank, self.world_size)
        return self._loader(dataset, batch_size=share, sampler=sampler, drop_last=True)

    def val_dataloader(self) -> DataLoader[Batch]:
        """Clean validation samples of this rank; each picture is on one rank, once."""
        indices = self.cohort.indices("val")
        batches = share_batches(len(indices), self.batch_size, self.rank, self.world_size)
        return self._loader(self.dataset(indices), batch_sampler=batches)

    def test_dataloader(self) -> DataLoader[Batch]:
        """Clean test samples."""
        return self.clean_dataloader(self.cohort.indices("test"))

    def clean_dataloader(self, indices: Int[np.ndarray, " m"]) -> DataLoader[Batch]:
        """Clean samples of these positions of the cohort, in their order."""
        return self._loader(self.dataset(indices), batch_size=self.batch_size)

    def _loader(self, dataset: BUSIDataset, **options: Any) -> DataLoader[Batch]:
        # With a generator of its own, starting the workers takes nothing from that of dropout: it happens
        # in the first epoch of a process, which is another one in a resumed run.
        return DataLoader(
            dataset,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
            collate_fn=collate,
            pin_memory=torch.cuda.is_available(),
            generator=torch.Generator(),
            **options,
        )


def share_batches(num_samples: int, batch_size: int, rank: int, world_size: int) -> list[list[int]]:
    """The part of one rank in each batch: together they are every sample once, and all have as many batches.

    Args:
        num_samples: At least `world_size`.
        batch_size: Of all ranks together.
        rank: Whose part it is.
        world_size: Number of ranks.

    Raises:
        InputError: If there are fewer samples than ranks.
    """
    if num_samples < world_size:
        raise InputError(f"{num_samples} validation pictures cannot be shared by {world_size} processes")
    # A rest that not every rank would have a part of joins the batch before it.
    starts = range(0, num_samples - world_size + 1, batch_size)
    ends = [*starts[1:], num_samples]
    return [list(range(start + rank, end, world_size)) for start, end in zip(starts, ends, strict=True)]


def describe_cohort(cohort: Cohort) -> str:
    """One line that says how many pictures there are and where they went."""
    parts = [f"{len(cohort.indices(split))} {split}" for split in ("train", "val", "test")]
    reasons = [problem.kind for problem in cohort.unusable] + [reason for reason in cohort.reasons if reason]
    parts += [f"{reasons.count(reason)} dropped ({reason})" for reason in sorted(set(reasons))]
    return f"{len(cohort.records)} pictures in {cohort.groups.max() + 1} groups: {', '.join(parts)}"
