"""``python -m busi.ensemble RUN... --output DIR``: several runs of a fold as one model, their mean."""

import argparse
import logging
import time
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from busi.checkpoints import (
    Checkpoint,
    WholeCheckpointIO,
    build_network,
    load_classifier,
    load_network,
    make_card,
    read_checkpoint,
)
from busi.command import run_command
from busi.data.datamodule import BUSIDataModule
from busi.evidence import ARMS, find
from busi.fit import log_intervals
from busi.guides import guide_judged
from busi.maps import default_device
from busi.runs import Run, start_run
from busi.scoring import Metrics, judged_splits
from busi.types import InputError

log = logging.getLogger(__name__)

SHARED = ("image_size", "mask_rule", "module.threshold", "data.balance", "data.need_masks")
"""What the configs of members must share; nothing is averaged but what networks say."""
FINGERPRINTS = ("data", "split", "debug")


def main() -> None:
    """Parse the arguments and make ensembles."""
    parser = argparse.ArgumentParser(prog="python -m busi.ensemble", description=__doc__)
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="run folders, or folders of them")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="a new folder")
    arguments = parser.parse_args()
    if arguments.output.exists() and any(arguments.output.iterdir()):
        raise InputError(f"{arguments.output} is not empty: give a new folder with --output")
    try:
        make_ensembles([run for folder in arguments.runs for run in find(folder)], arguments.output)
    except OSError as error:
        raise InputError(f"cannot write to {arguments.output}: {error.strerror}. Give another") from error


def make_ensembles(runs: Sequence[Run], output: Path) -> list[Run]:
    """Make an ensemble of the runs of every fold, segmentation and each kind of guide.

    Args:
        runs: Finished, at least two of each fold; those with ``data.leave_out`` are left aside.
        output: Where they go, as ``segmentation/<fold>`` and ``<guide>/<fold>``.

    Returns:
        The ensembles, which are run folders like any other.

    Raises:
        InputError: If runs do not belong together.
    """
    judging = [run for run in runs if run.provenance.get("leave_out") is None]
    if not judging:
        raise InputError("only runs with data.leave_out were given: they guide others, and judge nothing")
    groups = [list(members) for _, members in groupby(sorted(judging, key=_place), _place)]
    for members in groups:
        check_members(members)
    made: list[Run] = []
    for members in groups:
        arm, fold = members[0].arm, members[0].provenance["fold"]
        log.info("%s, fold %d: ensemble of %d runs", arm, fold, len(members))
        made.append(make_ensemble(members, output / arm / str(fold), made))
    return made


def check_members(members: Sequence[Run]) -> None:
    """Raise `InputError` unless runs of one stage, guide and fold can be an ensemble."""
    first, place = members[0], f"{members[0].arm}, fold {members[0].provenance['fold']}"
    if len(members) < 2:
        raise InputError(f"{place}: there is only {first.folder}. Give at least two, e.g. of other seeds")
    for run in members:
        if not run.finished:
            raise InputError(f"{run.folder} is not finished: python -m busi.train resume={run.folder}")
        if run.members:
            raise InputError(f"{run.folder} is an ensemble already: give the runs that it was made of")
        ours, theirs = first.config, run.config
        different = [name for name in FINGERPRINTS if run.provenance[name] != first.provenance[name]]
        different += [
            name for name in SHARED if OmegaConf.select(ours, name) != OmegaConf.select(theirs, name)
        ]
        if different:
            raise InputError(
                f"{place}: {first.folder} and {run.folder} differ in {', '.join(different)}, and cannot be "
                "one ensemble"
            )


def make_ensemble(members: Sequence[Run], folder: Path, made: Sequence[Run] = ()) -> Run:
    """Make one run of several, and measure it as they were.

    Args:
        members: See `check_members`.
        folder: The new run folder.
        made: Ensembles of segmentation runs, which may guide those of classifiers.

    Raises:
        InputError: If the members are classifiers with several segmentation models, of which `made` has no
            ensemble.
    """
    began = time.monotonic()
    checkpoints = [read_checkpoint(run.best_checkpoint) for run in members]
    cfg = ensemble_config([one.config for one in checkpoints], folder)
    cfg.test = all(run.provenance["tested"] for run in members)
    data: BUSIDataModule = instantiate(cfg.data)
    parent = find_segmenter(members, made)
    card = make_card(cfg, data.cohort, parent.card if parent else None)
    for one in checkpoints:
        if any(set(one.card[split]) != set(card[split]) for split in ("train", "val")):
            raise InputError(f"{one.path} was trained on other pictures than {data.root} holds now")
    weights = ensemble_weights(cfg, checkpoints)
    parents: dict[str, Any] = {"members": [str(run.folder.resolve()) for run in members]}
    if parent:
        weights |= {f"segmenter.{name}": x for name, x in parent.part("network.").items()}
        parents["seg_ckpt"] = str(parent.path.resolve())
    run = start_run(folder, cfg, data.cohort, parents, "busi.ensemble")
    content = {"busi": card, "state_dict": weights, "epoch": 0, "global_step": 0}
    WholeCheckpointIO().save_checkpoint(content, run.best_checkpoint)
    metrics = measure(run, cfg, data)
    seconds = round(time.monotonic() - began, 1)
    facts = {"epoch": None, "monitor": cfg.monitor, "monitored": None, "tested": cfg.test}
    run = run.finish(metrics, **facts, seconds=seconds, device=str(default_device()))
    log_intervals(metrics)
    log.info("Finished in %.0f s: %s", seconds, run.folder)
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
    cfg.model = {
        "stage": cfg.stage,
        "network": {"_target_": "busi.models.ensemble.Ensemble", "members": networks},
        "mirror": False,
    }
    cfg.encoder = " and ".join(dict.fromkeys(one.encoder for one in members))
    # Nothing is trained.
    cfg.run_dir, cfg.callbacks, cfg.logger = str(folder), {}, {}
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


def find_segmenter(members: Sequence[Run], made: Sequence[Run]) -> Checkpoint | None:
    """The segmentation model that guides an ensemble of classifiers: the one they share, or an ensemble.

    Returns:
        Its checkpoint; None where nothing guides by prediction.
    """
    paths = {run.provenance["parents"].get("seg_ckpt") for run in members}
    if paths == {None}:
        return None
    if len(paths) == 1:
        return read_checkpoint(Path(paths.pop()))
    for run in made:
        if {str(Path(folder) / "checkpoints" / "best.ckpt") for folder in run.members} == paths:
            return read_checkpoint(run.best_checkpoint)
    folders = sorted(str(Path(path).parents[1]) for path in paths if path)
    raise InputError(
        f"these classifiers have {len(paths)} segmentation models: to make one of these too, give their runs "
        f"as well: {' '.join(folders)}"
    )


def measure(run: Run, cfg: DictConfig, data: BUSIDataModule) -> Metrics:
    """Predict and measure with what the checkpoint of a run holds."""
    checkpoint = read_checkpoint(run.best_checkpoint)
    if cfg.stage == "cls":
        guide_judged(data, checkpoint, judged_splits(cfg))
    network = load_network(checkpoint) if cfg.stage == "seg" else load_classifier(checkpoint)
    metrics: Metrics = instantiate(cfg.score)(cfg, network.to(default_device()), data, run.folder)
    return metrics


def _place(run: Run) -> tuple[int, int]:
    return ARMS.index(run.arm), int(run.provenance["fold"])


if __name__ == "__main__":
    run_command(main)
