"""Several runs of a fold as one model, by their mean logits.

Source: Lakshminarayanan, Pritzel, Blundell, "Simple and Scalable Predictive Uncertainty Estimation using Deep
Ensembles", NeurIPS 2017; logits instead of probabilities, so that one scale and temperature calibrate them.
"""

import logging
import time
from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

import lightning
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

from busi.core import InputError, construct, hold, writing_to
from busi.data import BUSIDataModule
from busi.guides import StoredGuide
from busi.inference import default_device
from busi.models import build_network
from busi.runs import (
    Checkpoint,
    Metadata,
    Place,
    Run,
    WholeCheckpointIO,
    check_unclaimed,
    find_segmenter,
    group_runs,
    load_classifier,
    load_network,
    make_metadata,
    open_run,
    open_runs,
    read_best,
    read_checkpoint,
    start_run,
)
from busi.training.build import build_module
from busi.training.progress import log_intervals
from busi.training.scoring import scored_splits
from busi.training.summary import Metrics

log = logging.getLogger(__name__)

STARTS = ("start", "encoder_files")
"""What the metadata of a checkpoint says of that which its run started from."""
T = TypeVar("T")


def ensemble_folders(folders: Sequence[Path], output: Path, root: Path | None = None) -> list[Run]:
    """Make ensembles of the runs in run folders, or below folders of them; see `make_ensembles`."""
    found = [(folder, run) for folder in folders for run in open_runs(folder)]
    # Ensembles that lie among the runs of a folder may be what an earlier call made there.
    runs = [run for folder, run in found if run.folder == folder or not run.members]
    with writing_to(output):
        return make_ensembles(runs, output, root)


def make_ensembles(runs: Sequence[Run], output: Path, root: Path | None = None) -> list[Run]:
    """Make an ensemble of the runs of every fold, segmentation and each kind of guide.

    Args:
        runs: Finished, at least two of each fold; those with ``data.leave_out`` are left aside.
        output: Where they go, as ``segmentation/<fold>`` and ``<guide>/<fold>``; what an earlier call
            finished there is kept.
        root: Where the data lies, if it was moved.

    Returns:
        The ensembles, which are run folders like any other.

    Raises:
        InputError: If runs do not belong together (then nothing is written), or a place below `output` holds
            something else.
    """
    groups = group_runs(runs)
    guided_by = {place: find_segmenter(place, groups) for place in groups}
    made: dict[Place, Run] = {}
    for place, members in groups.items():
        variant, fold = place
        log.info("%s, fold %d: ensemble of %d runs", variant, fold, len(members))
        guide = guided_by[place]
        segmenter = made[guide] if guide else None
        made[place] = make_ensemble(members, output / variant / str(fold), segmenter, root)
    return list(made.values())


def make_ensemble(
    members: Sequence[Run], folder: Path, segmenter: Run | None = None, root: Path | None = None
) -> Run:
    """Make one run of several, and measure it as they were.

    Args:
        members: See `busi.runs.members.check_members`.
        folder: The new run folder.
        segmenter: The ensemble that guides classifiers; None where they keep the model that they share.
        root: Where the data lies, if it was moved.

    Raises:
        InputError: If the folder holds something else, or the data is not that of the members.
    """
    with hold(folder):
        return _make_ensemble(members, folder, segmenter, root)


def _make_ensemble(members: Sequence[Run], folder: Path, segmenter: Run | None, root: Path | None) -> Run:
    began = time.monotonic()
    made_of: dict[str, Any] = {
        "members": [str(run.folder.resolve()) for run in members],
        # Another one says that a member was trained again, or has scored its test fold since.
        "members_finished": [run.provenance["finished"] for run in members],
    }
    if (folder / "provenance.json").exists():
        there = open_run(folder)
        if there.members != made_of["members"]:
            raise InputError(f"{folder} holds another run: give a new folder with --output")
        if there.finished and there.provenance["upstream"].items() >= made_of.items():
            log.info("Finished already: %s", folder)
            return there
    check_unclaimed(folder)
    checkpoints = [read_best(run) for run in members]
    cfg = ensemble_config([run.config for run in members], folder)
    if root and cfg.data.sources:
        named = ", ".join(cfg.data.sources)
        raise InputError(f"{root}: these runs have several data sets ({named}), leave --data out")
    if root:
        cfg.data.root, cfg.data.download = str(root), False
    cfg.test = all(run.provenance["tested"] for run in members)
    if not cfg.test:
        log.info("The test fold is left alone: not every member has scored it")
    data: BUSIDataModule = construct(cfg.data, "data")
    first = members[0].provenance
    if (data.cohort.data_fingerprint, data.cohort.split_fingerprint) != (first["data"], first["split"]):
        where = data.root or ", ".join(str(one.root) for one in cfg.data.sources.values())
        raise InputError(f"{where} holds other data than {members[0].folder} was trained on")
    starts = [run.provenance["upstream"].get("start") for run in members]
    if any(starts):
        made_of["start"] = " and ".join(dict.fromkeys(filter(None, starts)))
    weights = ensemble_weights(cfg, checkpoints)
    upstream = checkpoints[0].metadata["upstream"]
    if segmenter:
        guide = read_best(segmenter)
        upstream, state = guide.metadata, guide.part("network.")
        made_of["segmentation"] = str(guide.path.resolve())
    elif upstream:
        state = checkpoints[0].part("segmenter.")
        made_of["segmentation"] = first["upstream"]["segmentation"]
    if upstream:
        cfg.seg_ckpt = cfg.guide.seg_ckpt = made_of["segmentation"]
        weights |= {f"segmenter.{name}": x for name, x in state.items()}
    postprocess = construct(cfg.postprocess, "postprocess")([]) if "postprocess" in cfg else None
    behind = {name: join_unique(one.metadata.get(name, []) for one in checkpoints) for name in STARTS}
    metadata = make_metadata(cfg, data.cohort, upstream, postprocess, **behind)
    for one in checkpoints:
        if any(set(one.metadata[split]) != set(metadata[split]) for split in ("train", "val")):
            raise InputError(f"{one.path} was trained or chosen on other images than the first member")
    (folder / "provenance.json").unlink(missing_ok=True)  # stopped, or of what its members were then
    run = start_run(folder, cfg, data.cohort, made_of, "busi.ensemble")
    content = {"busi": metadata, "state_dict": weights, "epoch": 0, "global_step": 0}
    content |= {"pytorch-lightning_version": lightning.__version__}
    content |= {"hyper_parameters": arguments_of(cfg, weights, upstream)}
    WholeCheckpointIO().save_checkpoint(content, run.best_checkpoint)
    metrics = measure(run, cfg, data)
    facts = {"epoch": None, "monitor": cfg.monitor, "monitored": None, "tested": cfg.test}
    facts |= {"seeds": [one.config.seed for one in checkpoints], "device": str(default_device())}
    run = run.finish(metrics, **facts, seconds=round(time.monotonic() - began, 1))
    log_intervals(metrics)
    log.info("Finished in %.0f s: %s", run.provenance["seconds"], run.folder)
    return run


def join_unique(lists: Iterable[list[T]]) -> list[T]:
    """The items of several lists, each once."""
    found: list[T] = []
    for item in chain.from_iterable(lists):
        if item not in found:
            found.append(item)
    return found


def ensemble_config(members: Sequence[DictConfig], folder: Path) -> DictConfig:
    """The config of an ensemble: that of its first member, with the networks of all."""
    networks = [
        {"_target_": "busi.models.Normalized", "network": one.model.network, "tta": one.model.tta}
        for one in members
    ]
    cfg = members[0].copy()
    cfg.run_dir = cfg.trainer.default_root_dir = str(folder)
    cfg.model = {
        "stage": cfg.stage,
        "network": {"_target_": "busi.models.Ensemble", "members": networks},
        "tta": "none",
    }
    cfg.encoder = " and ".join(dict.fromkeys(one.encoder for one in members))
    cfg.callbacks, cfg.logger = {}, {}  # nothing is trained
    return cfg


def ensemble_weights(cfg: DictConfig, checkpoints: Sequence[Checkpoint]) -> dict[str, Tensor]:
    """State of a module whose network is the ensemble of those of checkpoints."""
    network = build_network(cfg.model)
    # Each member scales its images by itself.
    state = {"mean": network.mean.fill_(0), "std": network.std.fill_(1)}
    for k, one in enumerate(checkpoints):
        state |= {f"network.members.{k}.{name}": x for name, x in one.part("network.").items()}
    network.load_state_dict(state)
    first = checkpoints[0].weights
    shared = {name: first[name] for name in ("class_weights", "logit_correction") if name in first}
    return {f"network.{name}": x for name, x in state.items()} | shared


def arguments_of(cfg: DictConfig, weights: dict[str, Tensor], upstream: Metadata | None) -> dict[str, Any]:
    """What Lightning's ``load_from_checkpoint`` must know of an ensemble: the arguments of its module."""
    shared = ("class_weights", "logit_correction")
    balance: dict[str, Any] = {name: weights[name].tolist() for name in shared if name in weights}
    segmenter = build_network(OmegaConf.create(upstream["config"]).model) if upstream else None
    return build_module(cfg, segmenter, balance).arguments


def measure(run: Run, cfg: DictConfig, data: BUSIDataModule) -> Metrics:
    """Predict and measure with what the checkpoint of a run holds."""
    checkpoint, device = read_checkpoint(run.best_checkpoint), default_device()
    score = construct(cfg.score, "score")
    if cfg.stage == "seg":
        network: nn.Module = load_network(checkpoint)
    else:
        network = load_classifier(checkpoint)
        guide = StoredGuide(checkpoint, scored_splits(cfg.test))
        data = construct(cfg.data, "data", guide=guide, cohort=data.cohort)
        data.setup()
    metrics: Metrics = score(network.to(device), data, run.folder, test=cfg.test)
    return metrics
