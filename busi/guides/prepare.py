"""The guide: the mask that is the classifier's second input channel, made once for each clean image."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int
from rich.progress import track

from busi.core import InputError, file_hash
from busi.data import SPLITS, BUSIDataModule, Guides, fingerprint, letterbox, load_array, quantize, read_gray
from busi.guides.leaks import check_leaks, check_same_data
from busi.guides.upstream import find_upstream, seg_command
from busi.inference import default_device, segment
from busi.models import Segmenter, resize
from busi.runs import Checkpoint, Metadata, load_segmenter, read_checkpoint

log = logging.getLogger(__name__)

VERSION = 2
"""Of how guides are made; a higher one makes those in the cache anew."""


class Guide:
    """Makes the guides of a data module, which calls it when it is set up: here, empty ones.

    Args:
        name: The option of the command line, ``empty``.

    Attributes:
        upstream: The segmentation checkpoint that guides validation and test images; None without one.
        device: Where segmentation models make guides; `default_device` where nothing is said.
        guided_by: Id -> run folder behind the guide of an image, where these differ.
        behind: Metadata of the runs that models of guides started from, where `upstream` does not say it.
    """

    def __init__(self, name: str = "empty") -> None:
        self.name = name
        self.upstream: Checkpoint | None = None
        self.device: torch.device | None = None
        self.guided_by: dict[str, Path] = {}
        self.behind: list[Metadata] = []

    def find(self, data: BUSIDataModule) -> None:
        """Find `upstream`, if there is any, and check that it may guide these images."""

    def __call__(self, data: BUSIDataModule) -> Guides | None:
        """8-bit guides of the whole cohort; None where all are empty."""
        del data
        return None


class GroundTruthGuide(Guide):
    """The annotation itself: an upper bound, since an empty mask gives a normal image away.

    Args:
        name: The option of the command line.
    """

    def __init__(self, name: str = "ground_truth") -> None:
        super().__init__(name)

    def __call__(self, data: BUSIDataModule) -> Guides:
        """The annotations.

        Raises:
            InputError: If a lesion has none.
        """
        if missing := data.cohort.unannotated:
            raise InputError(
                f"guide=ground_truth needs a mask for every lesion, {len(missing)} have none (e.g. "
                f"{', '.join(missing[:3])}): leave them out with data.need_masks=true"
            )
        log.warning("guide=ground_truth gives the label away: an upper bound, not a result")
        return annotations_of(data)


class PredictedGuide(Guide):
    """Masks that one segmentation model predicts, of its own training images too.

    Args:
        seg_ckpt: A run folder, a checkpoint file, or ``auto``: see `find_upstream`.
        name: The option of the command line.
        output_dir: Where ``auto`` looks.
        allow_other_data: Accept a model of another data set.
        debug: Whether ``auto`` looks for debug runs.
    """

    def __init__(
        self,
        seg_ckpt: str | Path = "auto",
        *,
        name: str = "predicted",
        output_dir: str | Path = "outputs",
        allow_other_data: bool = False,
        debug: bool = False,
    ) -> None:
        super().__init__(name)
        self.seg_ckpt, self.output_dir = str(seg_ckpt), Path(output_dir)
        self.allow_other_data, self.debug = allow_other_data, debug

    def find(self, data: BUSIDataModule) -> None:
        """Find the checkpoint, and check that it may guide these images.

        Raises:
            InputError: If it is missing, ambiguous, of other data, or has seen too much.
        """
        self.upstream = find_upstream(self.seg_ckpt, data, self.output_dir, self.debug)
        check_same_data(self.upstream, data.cohort, self.allow_other_data)
        check_leaks(self.upstream, data.cohort, seg_command(data, self.debug), data.cache_dir)

    def __call__(self, data: BUSIDataModule) -> Guides:
        """Predicted guides, from the cache if they are there; raises what `find` does."""
        if self.upstream is None:
            self.find(data)
        assert self.upstream is not None
        return load_guides(data, self.assign(data, self.upstream), self.device)

    def assign(self, data: BUSIDataModule, upstream: Checkpoint) -> dict[Path, Int[np.ndarray, " _"]]:
        """Checkpoint of a segmentation model -> positions of the images in the cohort that it guides."""
        return {upstream.path: data.cohort.indices(*SPLITS)}


class StoredGuide(Guide):
    """What a trained classifier is given: the masks of the segmentation model inside it.

    Args:
        checkpoint: Of the classifier.
        splits: The images that get a guide; what trained a classifier may have had others.
    """

    def __init__(self, checkpoint: Checkpoint, splits: Sequence[str]) -> None:
        super().__init__(checkpoint.config.guide.name)
        self.checkpoint, self.splits = checkpoint, splits

    def __call__(self, data: BUSIDataModule) -> Guides | None:
        """Guides of these splits; None for a classifier that was trained with empty ones."""
        if (segmenter := load_segmenter(self.checkpoint)) is not None:
            guides = np.zeros((len(data.cohort.records), data.image_size, data.image_size), np.uint8)
            fill_guides(guides, data, data.cohort.indices(*self.splits), segmenter, self.device)
            return guides
        return annotations_of(data) if self.name == "ground_truth" else None


def annotations_of(data: BUSIDataModule) -> Guides:
    """The annotations of a cohort as 8-bit guides."""
    return np.asarray(data.letterboxed[:, 1] * np.uint8(255))


def load_guides(
    data: BUSIDataModule, guided: Mapping[Path, Int[np.ndarray, " _"]], device: torch.device | None = None
) -> Guides:
    """Predict the guides of clean images once; keep them beside the images, mapped like these.

    Args:
        data: The classifier's data.
        guided: Checkpoint of a segmentation model -> positions of the images in the cohort that it guides.
        device: Of the models; `default_device` without it.

    Returns:
        8-bit guides of the whole cohort; zero for images that nothing guides.
    """
    hashes = [content.pixel_hash for content in data.cohort.contents]
    key = fingerprint(
        [hashes, [VERSION], *[[file_hash(path), indices.tolist()] for path, indices in guided.items()]]
    )
    size = data.image_size

    def write(guides: Guides) -> None:
        for path, indices in guided.items():
            segmenter = load_segmenter(read_checkpoint(path))
            assert segmenter is not None
            fill_guides(guides, data, indices, segmenter, device)

    return load_array(data.cache_dir / "guides" / f"{key}-{size}.npy", (len(hashes), size, size), write)


def fill_guides(
    guides: Guides,
    data: BUSIDataModule,
    indices: Int[np.ndarray, " m"],
    segmenter: Segmenter,
    device: torch.device | None = None,
) -> None:
    """Predict the guides of some images.

    Args:
        guides: Of the whole cohort; where they go.
        data: The classifier's data.
        indices: Positions of the images in its cohort.
        segmenter: In evaluation mode.
        device: Where it goes; `default_device` without one.
    """
    segmenter = segmenter.to(device or default_device())
    images = data.letterboxed[:, 0]
    starts = range(0, len(indices), data.batch_size)
    for start in track(starts, "predicting guides", transient=True):
        chunk = indices[start : start + data.batch_size]
        if data.image_size % segmenter.image_size:
            originals = (read_gray(data.cohort.records[i].image) for i in chunk)
            batch = np.stack([letterbox(image, segmenter.image_size) for image in originals])
        else:
            batch = images[chunk]
        probs = resize(segment(segmenter, batch), data.image_size)
        guides[chunk] = quantize(probs[:, 0].cpu().numpy())
