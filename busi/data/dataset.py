"""One sample of a split, and the order in which an epoch draws samples."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int, UInt8
from torch.utils.data import Dataset, Sampler, get_worker_info

from busi.core import Batch, InputError
from busi.data.augmentation import Augmentation
from busi.data.balance import Draws

Guides = UInt8[np.ndarray, "n s s"]
"""8-bit guides of letterboxed images, row by row."""
Draw = tuple[int, int]
"""Which sample, and the seed of its augmentation."""


class NoSharedMemory(InputError):
    """A loader process lacks shared memory, e.g. in a container that was started with little of it."""

    def __init__(self, *_: object) -> None:  # the main process gives it the traceback of the loader process
        super().__init__(
            "loader processes ran out of shared memory (/dev/shm): give data.num_workers=0, or start the "
            "container with more (docker run --shm-size=2g, or --ipc=host). resume= goes on"
        )


class BUSIDataset(Dataset[Batch]):
    """Samples of letterboxed images, annotations and guides.

    Args:
        letterboxed: Images and annotations, as `busi.data.cache.load_letterboxed` gives them.
        guides: Of the same images; None for empty ones.
        indices: The rows that make up this data set.
        ids: Name of each row of `letterboxed`.
        labels: Label of each row of `letterboxed`.
        groups: Group of each row of `letterboxed`.
        sources: Number of the source of each row of `letterboxed`.
        augmentation: Applied when a sample is drawn with a seed; None for clean images.
    """

    def __init__(
        self,
        letterboxed: UInt8[np.ndarray, "n 2 s s"],
        guides: Guides | None,
        indices: Int[np.ndarray, " m"],
        ids: list[str],
        labels: Int[np.ndarray, " n"],
        groups: Int[np.ndarray, " n"],
        sources: Int[np.ndarray, " n"],
        augmentation: Augmentation | None = None,
    ) -> None:
        self.letterboxed, self.guides, self.indices = letterboxed, guides, indices
        self.ids, self.labels, self.groups, self.sources = ids, labels, groups, sources
        self.augmentation = augmentation

    def __getstate__(self) -> dict[str, object]:
        """What goes to a loader process: of a mapped array the path of its file, not all that is in it."""
        return {
            name: Path(str(x.filename)) if isinstance(x, np.memmap) else x
            for name, x in self.__dict__.items()
        }

    def __setstate__(self, state: dict[str, object]) -> None:
        for name, x in state.items():
            setattr(self, name, np.load(x, mmap_mode="r") if isinstance(x, Path) else x)

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, draw: Draw | int) -> Batch:
        """Return one sample, without the batch dimension; a bare index gives it unaugmented."""
        position, seed = draw if isinstance(draw, tuple) else (draw, None)
        row = self.indices[position]
        image, mask = self.letterboxed[row]
        guide = np.zeros_like(image) if self.guides is None else self.guides[row]
        sample = np.stack([image, mask, guide])
        if self.augmentation is not None and seed is not None:
            sample = self.augmentation(sample, seed)
        # In numpy: the threads of torch wait for each other on a busy machine, longer than the work takes.
        scaled = sample.astype(np.float32)[:, None]
        scaled[[0, 2]] /= 255
        image, mask, guide = torch.from_numpy(scaled)
        return {
            "image": image,
            "mask": mask,
            "guide": guide,
            "label": torch.tensor(self.labels[row]),
            "group": torch.tensor(self.groups[row]),
            "source": torch.tensor(self.sources[row]),
            "id": self.ids[row],
            "seed": -1 if seed is None else seed,  # type: ignore[typeddict-item]  # of one sample
        }


def collate(samples: Sequence[Batch]) -> Batch:
    """Stack samples to a batch, in numpy for the same reason."""
    batch: dict[str, object] = {
        name: column if name in ("id", "seed") else torch.from_numpy(np.stack([x.numpy() for x in column]))
        for name in samples[0]
        for column in [[sample[name] for sample in samples]]  # type: ignore[literal-required]
    }
    if get_worker_info() is not None:
        share(batch)
    return batch  # type: ignore[return-value]


def share(batch: Mapping[str, object]) -> None:
    """Move a batch of a loader process to shared memory, from where the main process takes it.

    Torch would do so in a thread whose errors nobody hears: the main process would wait for ever.

    Raises:
        NoSharedMemory: If there is no room.
    """
    for x in batch.values():
        if isinstance(x, torch.Tensor):
            try:
                x.share_memory_()  # type: ignore[no-untyped-call]
            except (RuntimeError, OSError):
                raise NoSharedMemory from None


class EpochSampler(Sampler[Draw]):
    """Draws an epoch's samples from (seed, epoch) alone, so that a resumed run draws the same.

    Lightning calls `set_epoch` at the start of every epoch.

    Args:
        num_samples: Size of the data set.
        seed: Of the run.
        draws: How often each sample is drawn; None draws all equally often.
        epoch: The first that is drawn.
        rank: The process whose share is drawn.
        world_size: Number of processes; every batch of all together is what a single one would draw.
        epoch_size: Draws of an epoch; None for as many as there are samples.
    """

    def __init__(
        self,
        num_samples: int,
        seed: int,
        draws: Draws | None = None,
        epoch: int = 0,
        rank: int = 0,
        world_size: int = 1,
        epoch_size: int | None = None,
    ) -> None:
        self.num_samples, self.seed, self.epoch = num_samples, seed, epoch
        self.rank, self.world_size, self.draws = rank, world_size, draws
        self.epoch_size = num_samples if epoch_size is None else epoch_size

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next iteration draws."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.epoch_size // self.world_size

    def __iter__(self) -> Iterator[Draw]:
        generator = np.random.default_rng([self.seed, self.epoch])
        order = draw_epoch(generator, self.num_samples, self.epoch_size, self.draws)
        seeds = generator.integers(2**31, size=self.epoch_size)
        # Ranks with different numbers of batches would wait for each other for ever.
        mine = slice(self.rank, len(self) * self.world_size, self.world_size)
        yield from zip(order[mine].tolist(), seeds[mine].tolist(), strict=True)


def draw_epoch(
    generator: np.random.Generator, num_samples: int, size: int, draws: Draws | None
) -> Int[np.ndarray, " {size}"]:
    """Draw the samples of an epoch, in random order.

    Each sample is drawn as often as is expected of it, rounded up or down, and so are all of one class and
    source together: these have their share in each epoch, and not on average alone.

    Args:
        generator: What is drawn with.
        num_samples: Size of the data set.
        size: Number of draws.
        draws: How often each sample is drawn; None for all equally often.

    Source: systematic sampling, Madow, Annals of Mathematical Statistics 20 (1949).
    """
    if draws is None:
        rounds = range(0, size, num_samples)
        return np.concatenate([generator.permutation(num_samples) for _ in rounds])[:size]
    shuffled = generator.permutation(num_samples)
    ordered = shuffled[np.argsort(draws.strata[shuffled], kind="stable")]
    ends = np.cumsum(draws.chances[ordered])
    places = (np.arange(size) + generator.random()) * (ends[-1] / size)
    drawn = np.searchsorted(ends, places, side="right").clip(max=num_samples - 1)
    return generator.permutation(ordered[drawn])


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
        raise InputError(f"{num_samples} images cannot be shared by {world_size} processes")
    # A rest that not every rank would have a part of joins the batch before it.
    starts = range(0, num_samples - world_size + 1, batch_size)
    ends = [*starts[1:], num_samples]
    return [list(range(start + rank, end, world_size)) for start, end in zip(starts, ends, strict=True)]
