"""Guides: the mask that a classifier is given, made once for each clean picture before training."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int, UInt8
from omegaconf import DictConfig
from rich.progress import track

from busi.core import InputError, file_hash
from busi.data import SPLITS, BUSIDataModule, Cohort, fingerprint, letterbox, load_array, quantize, read_gray
from busi.guides.crossfit import find_guide_runs
from busi.guides.leaks import check_leaks, check_same_data
from busi.inference import default_device, predict_squares, resize_guide
from busi.modules import balanced_weights, prior_correction
from busi.runs import (
    SEED_SETTINGS,
    Checkpoint,
    Run,
    find_runs,
    load_network,
    load_segmenter,
    open_run,
    read_checkpoint,
    settings_fingerprint,
)

log = logging.getLogger(__name__)

VERSION = 2
"""Of how guides are made; a higher one makes those in the cache anew."""


def prepare_classification(cfg: DictConfig, data: BUSIDataModule) -> dict[str, Any]:
    """Give the data module its guides, and return what else `ClsModule` and the run need.

    Returns:
        ``segmenter`` (or None), ``class_weights`` and ``logit_correction`` for the module, and
        ``parent``, the segmentation checkpoint (or None), and ``guided_by``, the run that guides each
        picture (crossfit).

    Raises:
        InputError: If ``guide`` is unknown, or the checkpoint is missing, ambiguous, foreign or leaks.
    """
    parent, segmenter, cohort = None, None, data.cohort
    guided_by: dict[str, Path] = {}
    if cfg.guide in ("predicted", "crossfit"):
        parent = find_parent(cfg, cohort)
        check_same_data(parent, cohort, cfg.allow_other_data)
        check_leaks(parent, cohort, seg_command(cfg))
        check_fit(cfg, parent)
        segmenter = load_network(parent)
        if cfg.guide == "crossfit":
            guided_by = find_guide_runs(cfg, parent, cohort)
            fill_crossfit(data, guided_by)
        else:
            data.guides = load_guides(data, {parent.path: cohort.indices(*SPLITS)})
    elif cfg.guide == "annotated":
        if missing := [
            cohort.records[i].id for i in cohort.indices(*SPLITS) if not cohort.records[i].annotated
        ]:
            raise InputError(
                f"guide=annotated needs a mask for every lesion, {len(missing)} have none (e.g. "
                f"{', '.join(missing[:3])}): leave them out with data.need_masks=true"
            )
        log.warning("guide=annotated gives the label away: an upper bound, not a result")
        data.guides = data.squares[:, 1] * np.uint8(255)
    elif cfg.guide != "blank":
        raise InputError(f"guide={cfg.guide}: give predicted, crossfit, annotated or blank")
    counts, balance = data.class_counts().tolist(), cfg.data.balance
    if 0 in counts and balance != "none":
        raise InputError("a class has no training picture: add some, or use data.balance=none")
    return {
        "parent": parent,
        "guided_by": guided_by,
        "segmenter": segmenter,
        "class_weights": balanced_weights(counts) if balance == "weights" else [1.0] * len(counts),
        "logit_correction": [0.0] * len(counts) if balance == "none" else prior_correction(counts),
    }


def check_fit(cfg: DictConfig, parent: Checkpoint) -> None:
    """Raise `InputError` if the classifier cannot start from the encoder of its segmentation model.

    Warns if the sizes of both are such that nothing can be predicted with them.
    """
    theirs = parent.config
    if cfg.encoder_weights == "segmenter" and theirs.model.network._target_.endswith(".Ensemble"):
        raise InputError(
            f"encoder_weights=segmenter: {parent.path} is an ensemble, with several encoders. Give packaged, "
            "imagenet or none"
        )
    if cfg.encoder_weights == "segmenter" and theirs.encoder != cfg.encoder:
        raise InputError(
            f"encoder_weights=segmenter: {parent.path} has encoder={theirs.encoder}. Give the same here, or "
            "encoder_weights=packaged, imagenet or none"
        )
    if cfg.image_size % theirs.image_size:
        log.warning(
            "image_size=%d is no multiple of the %d px of the segmentation model: the run will be judged, "
            "but busi.predict, busi.export and busi.demo will refuse it",
            cfg.image_size,
            theirs.image_size,
        )


def find_parent(cfg: DictConfig, cohort: Cohort) -> Checkpoint:
    """Find the segmentation checkpoint that ``seg_ckpt`` means: a run folder, a file, or ``auto``.

    ``auto`` is the newest finished run on the same data, split and fold, of the classifier's seed if there is
    one; debug runs count for debug runs alone, and ensembles are never meant.
    """
    if cfg.seg_ckpt != "auto":
        path = Path(cfg.seg_ckpt).expanduser()
        if not path.exists():
            raise InputError(f"seg_ckpt={path} does not exist: give a run folder, a .ckpt file, or auto")
        return read_checkpoint(open_finished(path).best_checkpoint if path.is_dir() else path)
    wanted = {
        "data": cohort.data_fingerprint,
        "split": cohort.split_fingerprint,
        "fold": cfg.data.fold,
        "leave_out": None,
        "debug": cfg.debug,
    }
    runs = find_runs(Path(cfg.output_dir), "seg")
    fitting = [
        run
        for run in runs
        if not run.members and all(run.provenance.get(key) == value for key, value in wanted.items())
    ]
    if not fitting:
        others = f" ({len(runs)} finished runs there are of other data, splits or folds)" if runs else ""
        raise InputError(
            "seg_ckpt=auto found no finished segmentation run on this data, split and fold in "
            f"{cfg.output_dir}{others}. Make one with: {seg_command(cfg)}; or go without: guide=blank"
        )
    if len({settings_fingerprint(run.config, SEED_SETTINGS) for run in fitting}) > 1 and not cfg.debug:
        listed = ", ".join(f"{run.folder} ({run.provenance['settings']})" for run in fitting)
        raise InputError(
            f"seg_ckpt=auto found runs with different settings: {listed}. Choose with seg_ckpt=FOLDER"
        )
    chosen = next((run for run in fitting if run.config.seed == cfg.seed), fitting[0])
    log.info("seg_ckpt=auto: %s", chosen.folder)
    return read_checkpoint(chosen.best_checkpoint)


def open_finished(folder: Path) -> Run:
    """Open a run folder, or raise `InputError` if its run did not come to its end."""
    run = open_run(folder)
    if not run.finished:
        raise InputError(f"{folder} is not finished: let it end, or name one of its .ckpt files")
    return run


def seg_command(cfg: DictConfig) -> str:
    """The command that makes a segmentation checkpoint fit for this classifier."""
    parts = ["python -m busi.train stage=seg", f"data={cfg.data.name}", f"image_size={cfg.image_size}"]
    parts += [f"data.{key}={cfg.data[key]}" for key in ("fold", "num_folds", "split_seed")]
    return " ".join([*parts, "trainer=debug"] if cfg.debug else parts)


def fill_crossfit(data: BUSIDataModule, guided_by: Mapping[str, Path]) -> None:
    """Predict the guide of every picture by the run that guides it.

    Args:
        data: The classifier's data.
        guided_by: Id -> run folder.
    """
    folders = [guided_by.get(record.id) for record in data.cohort.records]
    data.guides = load_guides(
        data,
        {
            open_run(folder).best_checkpoint: np.flatnonzero([other == folder for other in folders])
            for folder in dict.fromkeys(folder for folder in folders if folder)
        },
    )


def load_guides(
    data: BUSIDataModule, guided: Mapping[Path, Int[np.ndarray, " _"]]
) -> UInt8[np.ndarray, "n s s"]:
    """Predict the guides of clean pictures once; keep them beside the pictures, mapped like these.

    Args:
        data: The classifier's data.
        guided: Checkpoint of a segmentation model -> positions of the pictures in the cohort that it guides.

    Returns:
        8-bit guides of the whole cohort; zero for pictures that nothing guides.
    """
    hashes = [content.pixel_hash for content in data.cohort.contents]
    key = fingerprint(
        [hashes, [VERSION], *[[file_hash(path), indices.tolist()] for path, indices in guided.items()]]
    )
    size = data.image_size

    def write(guides: UInt8[np.ndarray, "n s s"]) -> None:
        for path, indices in guided.items():
            checkpoint = read_checkpoint(path)
            fill_guides(guides, data, indices, load_network(checkpoint), checkpoint.config.image_size)

    return load_array(data.cache_dir / "guides" / f"{key}-{size}.npy", (len(hashes), size, size), write)


def guide_judged(data: BUSIDataModule, checkpoint: Checkpoint, splits: Sequence[str]) -> None:
    """Give pictures their guides as a trained classifier is given them: by the segmentation model inside it.

    Args:
        data: The pictures.
        checkpoint: Of the classifier.
        splits: That are judged; what trained a classifier may have had other guides.
    """
    if (inside := load_segmenter(checkpoint)) is not None:
        segmenter, trained = inside
        data.guides = np.zeros_like(data.squares[:, 0])
        network = segmenter.to(default_device())
        fill_guides(data.guides, data, data.cohort.indices(*splits), network, trained.image_size)
    elif checkpoint.config.guide == "annotated":
        data.guides = data.squares[:, 1] * np.uint8(255)


def fill_guides(
    guides: UInt8[np.ndarray, "n s s"],
    data: BUSIDataModule,
    indices: Int[np.ndarray, " m"],
    network: torch.nn.Module,
    image_size: int,
) -> None:
    """Predict the guides of some pictures.

    Args:
        guides: Of the whole cohort; where they go.
        data: The classifier's data.
        indices: Positions of the pictures in its cohort.
        network: Of the segmentation model, in evaluation mode.
        image_size: Side of the square that it was trained on.
    """
    squares = data.squares[:, 0]
    starts = range(0, len(indices), data.batch_size)
    for start in track(starts, "predicting guides", transient=True):
        chunk = indices[start : start + data.batch_size]
        if data.image_size % image_size:
            pictures = (read_gray(data.cohort.records[i].image) for i in chunk)
            batch = np.stack([letterbox(picture, image_size) for picture in pictures])
        else:
            batch = squares[chunk]
        probs = resize_guide(predict_squares(network, batch, image_size), data.image_size)
        guides[chunk] = quantize(probs.cpu().numpy())
