"""Several runs of a fold as one model, by their mean logits.

Source: Lakshminarayanan, Pritzel, Blundell, "Simple and Scalable Predictive Uncertainty Estimation using Deep
Ensembles", NeurIPS 2017; logits instead of probabilities, so that one temperature can calibrate the mean.
"""

import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig
from torch import Tensor

from busi.core import InputError, hold, writing_to
from busi.data import BUSIDataModule
from busi.guides import guide_judged
from busi.inference import default_device
from busi.runs import (
    ARMS,
    Checkpoint,
    Place,
    Run,
    WholeCheckpointIO,
    build_network,
    find,
    find_segmenters,
    group_runs,
    load_classifier,
    load_network,
    make_card,
    open_run,
    read_checkpoint,
    start_run,
)
from busi.training.fitting import log_intervals
from busi.training.scoring import Metrics, judged_splits, score_classification, score_segmentation

log = logging.getLogger(__name__)


def ensemble_folders(folders: Sequence[Path], output: Path, root: Path | None = None) -> list[Run]:
    """Make ensembles of the runs in run folders, or below folders of them; see `make_ensembles`."""
    found = [(folder, run) for folder in folders for run in find(folder)]
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
    guided_by = {place: find_segmenters(place, groups) for place in groups}
    made: dict[Place, Run] = {}
    for place, members in groups.items():
        arm, fold = ARMS[place[0]], place[1]
        log.info("%s, fold %d: ensemble of %d runs", arm, fold, len(members))
        guide = guided_by[place]
        segmenter = made[guide] if guide else None
        made[place] = make_ensemble(members, output / arm / str(fold), segmenter, root)
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
    parents: dict[str, Any] = {
        "members": [str(run.folder.resolve()) for run in members],
        # Another one says that a member was trained again, or has scored its test fold since.
        "members_finished": [run.provenance["finished"] for run in members],
    }
    if (folder / "provenance.json").exists():
        there = open_run(folder)
        if there.members != parents["members"]:
            raise InputError(f"{folder} holds another run: give a new folder with --output")
        if there.finished and there.provenance["parents"].items() >= parents.items():
            log.info("Finished already: %s", folder)
            return there
        (folder / "provenance.json").unlink()  # stopped, or of what its members were then
    checkpoints = [read_checkpoint(run.best_checkpoint) for run in members]
    cfg = ensemble_config([run.config for run in members], folder)
    if root:
        cfg.data.root, cfg.data.download = str(root), False
    cfg.test = all(run.provenance["tested"] for run in members)
    if not cfg.test:
        log.info("The test fold is left alone: not every member has scored it")
    data: BUSIDataModule = instantiate(cfg.data)
    first = members[0].provenance
    if (data.cohort.data_fingerprint, data.cohort.split_fingerprint) != (first["data"], first["split"]):
        raise InputError(f"{data.root} holds other data than {members[0].folder} was trained on")
    weights = ensemble_weights(cfg, checkpoints)
    parent = checkpoints[0].card["parent"]
    if segmenter:
        guide = read_checkpoint(segmenter.best_checkpoint)
        parent, state = guide.card, guide.part("network.")
        parents["seg_ckpt"] = str(guide.path.resolve())
    elif parent:
        state = checkpoints[0].part("segmenter.")
        parents["seg_ckpt"] = first["parents"]["seg_ckpt"]
    if parent:
        cfg.seg_ckpt = parents["seg_ckpt"]
        weights |= {f"segmenter.{name}": x for name, x in state.items()}
    card = make_card(cfg, data.cohort, parent)
    for one in checkpoints:
        if any(set(one.card[split]) != set(card[split]) for split in ("train", "val")):
            raise InputError(f"{one.path} was trained or chosen on other pictures than the first member")
    run = start_run(folder, cfg, data.cohort, parents, "busi.ensemble")
    content = {"busi": card, "state_dict": weights, "epoch": 0, "global_step": 0}
    WholeCheckpointIO().save_checkpoint(content, run.best_checkpoint)
    metrics = measure(run, cfg, data)
    facts = {"epoch": None, "monitor": cfg.monitor, "monitored": None, "tested": cfg.test}
    facts |= {"seeds": [one.config.seed for one in checkpoints], "device": str(default_device())}
    run = run.finish(metrics, **facts, seconds=round(time.monotonic() - began, 1))
    log_intervals(metrics)
    log.info("Finished in %.0f s: %s", run.provenance["seconds"], run.folder)
    return run


def ensemble_config(members: Sequence[DictConfig], folder: Path) -> DictConfig:
    """The config of an ensemble: that of its first member, with the networks of all."""
    networks = [
        {
            "_target_": "busi.models.encoders.Normalized",
            "network": one.model.network,
            "mirror": one.model.get("mirror", False),
        }
        for one in members
    ]
    cfg = members[0].copy()
    cfg.run_dir = cfg.trainer.default_root_dir = str(folder)
    cfg.model = {
        "stage": cfg.stage,
        "network": {"_target_": "busi.models.ensemble.Ensemble", "members": networks},
        "mirror": False,
    }
    cfg.encoder = " and ".join(dict.fromkeys(one.encoder for one in members))
    cfg.callbacks, cfg.logger = {}, {}  # nothing is trained
    return cfg


def ensemble_weights(cfg: DictConfig, checkpoints: Sequence[Checkpoint]) -> dict[str, Tensor]:
    """State of a module whose network is the ensemble of those of checkpoints."""
    network = build_network(cfg.model)
    # Each member scales its pictures by itself.
    state = {"mean": network.mean.fill_(0), "std": network.std.fill_(1)}
    for k, one in enumerate(checkpoints):
        state |= {f"network.members.{k}.{name}": x for name, x in one.part("network.").items()}
    network.load_state_dict(state)
    first = checkpoints[0].weights
    shared = {name: first[name] for name in ("class_weights", "logit_correction") if name in first}
    return {f"network.{name}": x for name, x in state.items()} | shared


def measure(run: Run, cfg: DictConfig, data: BUSIDataModule) -> Metrics:
    """Predict and measure with what the checkpoint of a run holds."""
    checkpoint = read_checkpoint(run.best_checkpoint)
    if cfg.stage == "seg":
        return score_segmentation(cfg, load_network(checkpoint).to(default_device()), data, run.folder)
    guide_judged(data, checkpoint, judged_splits(cfg))
    return score_classification(cfg, load_classifier(checkpoint).to(default_device()), data, run.folder)
