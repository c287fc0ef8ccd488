"""One run, from a composed config to a finished run folder; knows nothing of Hydra's globals."""

import contextlib
import logging
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning
from omegaconf import DictConfig, OmegaConf
from torch.optim.lr_scheduler import ReduceLROnPlateau

from busi.core import (
    InputError,
    check_arguments,
    check_targets,
    construct,
    hold,
    read_table,
    to_plain,
    trust,
    write_table,
)
from busi.data import make_absolute, name_sources
from busi.guides import guide_rows
from busi.models import check_encoder, check_weights
from busi.runs import (
    LOG_FILE,
    Checkpoint,
    Run,
    check_unclaimed,
    continue_run,
    find_same,
    open_run,
    read_checkpoint,
    remove_parts,
    start_run,
)
from busi.sweeps import Pruned
from busi.training.build import build, prepare, train
from busi.training.checks import check_saved, check_settings
from busi.training.distributed import (
    count_processes,
    is_launched,
    launch,
    needs_launch,
    publish_job,
    wait_for_job,
)
from busi.training.keys import check_keys
from busi.training.loggers import draw_log, keep_log, log_result, open_loggers
from busi.training.progress import log_plan, log_summary
from busi.training.resuming import settings_to_go_on
from busi.training.starting import find_start, read_start, resolve_start
from busi.training.summary import Metrics

log = logging.getLogger(__name__)

# The segmentation network inside the classifier is frozen in evaluation mode on purpose.
warnings.filterwarnings("ignore", "Found .* in eval mode at the start of training")
# A run that goes on does so in its own folder.
warnings.filterwarnings("ignore", "Checkpoint directory .* exists and is not empty")
# Lightning 2.6 calls what torch 2.15 deprecates.
warnings.filterwarnings("ignore", "`isinstance\\(treespec, LeafSpec\\)` is deprecated")
# Schedules are stepped once an epoch, so that one setting means the same at any batch size.
warnings.filterwarnings("ignore", "A `OneCycleLR` scheduler is using 'interval': 'epoch'")
# On the CPU in small data sets the loader is no bottleneck; a GPU has trainer=gpu.
warnings.filterwarnings("ignore", "The '.*_dataloader' does not have many workers")


def fit(cfg: DictConfig, folder: Path, resume: bool = False) -> Run:
    """Train, choose the best epoch on the validation fold (or take the last), and score.

    Args:
        cfg: Composed from ``conf/``.
        folder: The run folder; must not hold a run unless that is resumed.
        resume: Go on from the last checkpoint of the folder, or from the start if there is none.

    Returns:
        The finished run; one that was there already if ``reuse`` is set and it has the same content.

    Raises:
        InputError: If something that the user gave is wrong.
    """
    began = time.monotonic()
    if not resume and not is_launched():
        check_keys(cfg)
    check_settings(cfg)
    cfg = resolve(cfg, folder)
    check_targets(to_plain(cfg))
    if not resume:  # it may have begun with other versions of libraries
        check_arguments(to_plain(cfg))
    check(cfg)
    if not resume:
        check_unclaimed(folder)
    if not resume and read_start(cfg) is None:  # what it began with may be gone since
        check_weights(cfg.encoder_weights)
    if needs_launch(cfg.trainer):
        return open_run(launch(cfg, folder, resume))
    log_plan(cfg, folder)
    # What can be wrong with the input is found before anything is written.
    data, guide = prepare(cfg)
    if cfg.data.download:  # whoever opens the run finds it there
        cfg.data.root, cfg.data.download = str(data.root), False
    last = find_last(folder) if resume else None
    start = None if last else find_start(cfg, data)
    upstream = {"segmentation": str(guide.upstream.path.resolve())} if guide.upstream else {}
    if start:
        upstream |= {"start": cfg.start_from, "start_weights": cfg.start.weights}
    if cfg.reuse and not resume and (same := find_same(cfg, data.cohort, upstream, guide.guided_by)):
        return go_on(same, test=cfg.test)
    module, trainer = build(cfg, data, guide, last, start)
    plain: dict[str, Any] = OmegaConf.to_container(cfg)  # type: ignore[assignment]
    with hold(folder), open_loggers(trainer.loggers, plain, module.val_metrics):
        if resume:
            run = continue_run(folder, cfg, data.cohort)
            remove_parts(run.last_checkpoint.parent)
            keep_log(trainer.loggers, last.step if last else 0)
        else:
            run = start_run(folder, cfg, data.cohort, upstream)
        if guide.guided_by:
            write_table(folder / "guides.csv", guide_rows(guide.guided_by, folder))
        publish_job(cfg, folder, resume)
        train(module, trainer, data, last)
        check_saved(run.best_checkpoint)
        best = read_checkpoint(run.best_checkpoint)
        module.load_state_dict(best.weights)
        device = trainer.strategy.root_device
        metrics: Metrics = construct(cfg.score, "score")(module.to(device), data, folder, test=cfg.test)
        draw_log(folder, cfg.monitor, best.epoch)
        facts = {
            "epoch": best.epoch,
            "monitor": cfg.monitor,
            "monitored": find_monitored(cfg, trainer, run),
            "tested": cfg.test,
            "seconds": round(time.monotonic() - began, 1),
            "device": str(device),
        }
        run = run.finish(metrics, **facts)
        log_result(trainer.loggers, run, metrics, trainer.global_step)
    log_summary(run, metrics)
    return run


def run_as_worker() -> None:
    """Train along with rank 0, which decides, writes and scores."""
    if (job := wait_for_job()) is None:
        return
    cfg: DictConfig = OmegaConf.create(job["config"])  # type: ignore[assignment]
    trust(*cfg.trust)
    last = find_last(Path(job["folder"])) if job["resume"] else None
    data, guide = prepare(cfg)
    start = None if last else find_start(cfg, data)
    with contextlib.suppress(Pruned):  # rank 0 says so
        train(*build(cfg, data, guide, last, start), data, last)


def go_on(run: Run, test: bool, changes: Mapping[str, Any] | None = None) -> Run:
    """Finish a run that was stopped, score the test fold of one that was not tested, or take it as it is.

    Args:
        run: Started by whatever config, maybe of somebody else.
        test: Whether its test fold is to be scored.
        changes: See `busi.training.resuming.read_changes`.
    """
    if run.finished and (run.provenance["tested"] or not test):
        log.info("Finished already: %s", run.folder)
        return run
    if run.members:
        raise InputError(f"{run.folder} is an ensemble and cannot go on: make it again with busi.ensemble")
    cfg = settings_to_go_on(run, changes or {})
    cfg.test = test
    return fit(cfg, run.folder, resume=True)


def find_last(folder: Path) -> Checkpoint | None:
    """Read the last checkpoint of a run folder; None if the run was stopped before there was one.

    Raises:
        InputError: If it is damaged.
    """
    path = Run(folder, {}).last_checkpoint
    if not path.exists():
        return None
    try:
        last = read_checkpoint(path)
    except InputError as error:
        raise InputError(f"{error}, or delete it: then the run begins again") from None
    log.info("Going on after epoch %d", last.epoch + 1)
    return last


def find_monitored(cfg: DictConfig, trainer: lightning.Trainer, run: Run) -> float | None:
    """The monitored value of the epoch that was saved: the best, or the last where that was asked for.

    None for a run that guides others: nothing may be scored by the images that it guides.
    """
    if cfg.data.leave_out is not None:
        return None
    score = trainer.checkpoint_callback.best_model_score  # type: ignore[union-attr]
    if score is None:
        # Not from the trainer: a run that goes on after its last epoch trains none.
        logged = [row.get(cfg.monitor) for row in read_table(run.folder / LOG_FILE)]
        score = next((value for value in reversed(logged) if value), None)
    return None if score is None else float(score)


def resolve(cfg: DictConfig, folder: Path) -> DictConfig:
    """Fill in the run folder, the number of devices and whether to test; replace interpolations by values.

    Paths of data become absolute: whoever opens the run may work in another folder.

    With ``data.leave_out`` the last epoch is saved instead of the best: the images that the model will
    guide must not have chosen it, and for another fold those are the ones that validate here.
    """
    merged = OmegaConf.merge(cfg, {"run_dir": str(folder), "test": wants_test(cfg)})
    merged.data = name_sources(merged.data)
    resolve_start(merged)  # type: ignore[arg-type]
    if cfg.trainer.devices in ("auto", -1):
        merged.trainer.devices = count_processes(cfg.trainer) // cfg.trainer.get("num_nodes", 1)
    if cfg.data.leave_out is not None and "checkpoint" in cfg.callbacks:
        merged.callbacks.checkpoint.monitor = None
    plain: dict[str, Any] = OmegaConf.to_container(merged, resolve=True)  # type: ignore[assignment]
    resolved: DictConfig = OmegaConf.create(plain)
    make_absolute(resolved.data)
    return resolved


def wants_test(cfg: DictConfig) -> bool:
    """Whether a run scores its test fold: if asked to, and where nobody says, unless it makes guides."""
    return cfg.data.leave_out is None if cfg.test is None else bool(cfg.test)


def check(cfg: DictConfig) -> None:
    """Raise `InputError` for combinations that cannot work, before anything is built."""
    check_encoder(cfg.encoder)
    if "checkpoint" not in cfg.callbacks:
        raise InputError("nothing saves a checkpoint: give the default too, e.g. callbacks=[default,ema]")
    if "csv" not in cfg.logger:
        raise InputError("logger.csv keeps the curves that a run is read by: leave it in")
    if cfg.data.leave_out is not None:
        choosing = [f"callbacks.{name}" for name, node in cfg.callbacks.items() if node.get("monitor")]
        if construct(cfg.scheduler, "scheduler").func is ReduceLROnPlateau:
            choosing.append("scheduler=plateau")
        if cfg.stage != "seg":
            raise InputError("data.leave_out makes guides: it is for stage=seg")
        if choosing:
            raise InputError(
                f"data.leave_out trains a fixed number of epochs: leave out {' and '.join(choosing)}, which "
                "follow the validation fold"
            )
        if cfg.test:
            raise InputError("data.leave_out makes guides, and is not scored: leave out test=true")
    if cfg.data.batch_size % (world_size := count_processes(cfg.trainer)):
        raise InputError(
            f"data.batch_size={cfg.data.batch_size} cannot be shared evenly by the {world_size} processes of "
            f"trainer.devices={cfg.trainer.devices}: give a multiple of {world_size}"
        )
