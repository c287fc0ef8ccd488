"""``python -m busi.train NAME=VALUE...``: train a model from a composed config, and score it."""

import contextlib
import logging
import os
import shlex
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from busi.core import (
    LOCK,
    InputError,
    collect_rarely,
    conf_dir,
    hold,
    missing_package,
    need_room,
    one_line,
    print_anything,
    trust,
    trusted,
)

try:
    import hydra
except ModuleNotFoundError as missing:
    raise SystemExit(f"error: {missing_package(missing)}") from None
from hydra.core.hydra_config import HydraConfig
from hydra.errors import CompactHydraException, InstantiationException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from busi.sweeps import Pruned, forget_failure, record_failure, record_reuse, register_sweeper

if TYPE_CHECKING:
    from busi.runs import Run

log = logging.getLogger(__name__)

LOG_NAME = "train.log"
"""What Hydra calls the log of this module."""


@hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name="train")
def main(cfg: DictConfig) -> float | None:
    """Run one composed config in Hydra's output folder; return the monitored value to a sweeper."""
    # The heavy imports wait until a run starts: --help and --cfg answer at once.
    from busi.training import is_worker, release_ranks, rendezvous

    if is_worker():  # a task of a submitit job that has several
        run_as_worker()
        return None
    rendezvous()
    hydra_config = HydraConfig.get()
    folder = Path(hydra_config.runtime.output_dir)
    in_sweep = hydra_config.mode == RunMode.MULTIRUN
    if (option := hydra_config.runtime.choices["search"]) and not in_sweep and not cfg.resume:
        raise SystemExit(f"error: search={option} is a search of many runs: add -m")
    if in_sweep:
        forget_failure(folder)
        cfg.sweep_name, cfg.test = folder.parent.name, bool(cfg.test)
    try:
        with one_line_errors(folder, in_sweep), say_how_to_go_on(folder, in_sweep):
            with need_room(folder):
                run = start_or_continue(cfg, folder, in_sweep)
            if in_sweep and run.folder != folder:
                record_reuse(folder, run.folder)
            return run.monitored[1]
    except Pruned as pruned:
        log.info("%s: %s", str(pruned).capitalize(), folder)
        return None
    finally:
        release_ranks()


@contextlib.contextmanager
def one_line_errors(folder: Path, in_sweep: bool) -> Iterator[None]:
    """End with one line if something that the user gave is wrong; a job of a sweep records every error.

    Raises:
        SystemExit: In a single run.
        CompactHydraException: In a sweep, whose launcher goes on: SystemExit would end the other jobs too.
    """
    try:
        yield
    except Pruned:
        raise
    except (InputError, InstantiationException, OmegaConfBaseException) as error:
        ours = isinstance(error, InputError) or isinstance(error.__cause__, InputError)
        message = one_line(error) + ("" if ours else " (HYDRA_FULL_ERROR=1 shows the traceback)")
        if in_sweep:
            record_failure(folder, message)
        else:
            forget_start(folder)
        if os.environ.get("HYDRA_FULL_ERROR") == "1":  # as Hydra reads it
            raise
        raise (CompactHydraException if in_sweep else SystemExit)(f"error: {message}") from None
    except Exception as error:
        if not in_sweep:
            raise
        message = f"{type(error).__name__}: {error}"
        record_failure(folder, message)
        log.exception("%s failed", folder)
        # Not every error survives the way back from the process of a job.
        raise CompactHydraException(f"error: {message}") from None


def forget_start(folder: Path) -> None:
    """Remove what is written of a run before it begins, and its folder if nothing else is there."""
    if not folder.is_dir() or not {path.name for path in folder.iterdir()} <= {".hydra", LOG_NAME, LOCK}:
        return
    with contextlib.suppress(InputError), hold(folder):  # else it is the folder of another process
        shutil.rmtree(folder / ".hydra", ignore_errors=True)
        for name in (LOG_NAME, LOCK):
            (folder / name).unlink(missing_ok=True)
        if folder.resolve() != Path.cwd():
            with contextlib.suppress(OSError):  # the error of the run is what matters
                folder.rmdir()


@contextlib.contextmanager
def say_how_to_go_on(folder: Path, in_sweep: bool) -> Iterator[None]:
    """Say how to go on with a run that was stopped.

    Raises:
        SystemExit: With status 130.
    """
    try:
        yield
    except (KeyboardInterrupt, SystemExit) as stopped:
        # Lightning ends an interrupted training with status 1; any other is submitit's, to run the job again.
        if getattr(stopped, "code", 1) != 1:
            raise
        again = [text for text in sys.argv[1:] if text.startswith(("logger=", "trust="))]
        arguments = [f"resume={folder}", *again]
        if in_sweep:
            arguments = [*sys.argv[1:], f"hydra.sweep.dir={folder.parent}"]
        if in_sweep or (folder / "provenance.json").exists():
            log.info("Stopped. Go on with: python -m busi.train %s", shlex.join(dict.fromkeys(arguments)))
        else:
            forget_start(folder)
        raise SystemExit(130) from None


def start_or_continue(cfg: DictConfig, folder: Path, in_sweep: bool) -> "Run":
    """Run a config in a folder; go on with the run that lies there if that is asked for.

    Raises:
        InputError: If another run lies there, or none where one is to be resumed.
    """
    from busi.runs import find_differences, open_run
    from busi.training import (
        NOT_COMPARED,
        check_asked,
        fit,
        go_on,
        read_changes,
        refuse_differences,
        refuse_two_starts,
        resolve,
        started_with,
    )

    trust(*([cfg.trust] if isinstance(cfg.trust, str) else map(str, cfg.trust or ())))
    cfg.trust = trusted()
    said = list(HydraConfig.get().overrides.task)
    if not cfg.resume and not (in_sweep and (folder / "provenance.json").exists()):
        refuse_two_starts(cfg, said)
        return fit(cfg, folder)
    run, asked = open_run(folder), resolve(cfg, folder)
    if in_sweep:
        refuse_differences(folder, find_differences(started_with(run), asked, NOT_COMPARED))
    else:
        check_asked(run, asked, resolve(hydra.compose("train", [f"stage={cfg.stage}"]), folder), said)
    test = run.config.test if cfg.test is None else cfg.test
    return go_on(run, bool(test), read_changes(asked, said))


def run_as_worker() -> None:
    """Train along with the process that decides; see `busi.training.distributed`."""
    from busi.training import run_as_worker as train_along

    logging.getLogger().setLevel(logging.WARNING)
    train_along()


def read_arguments(arguments: list[str]) -> list[str]:
    """The arguments for Hydra: paths quoted, ``resume=FOLDER`` turned into its own folder.

    Raises:
        SystemExit: If there is no run to resume, an override is wrong, or the data is not there.
    """
    from busi.training import check_overrides, expand_resume, look_at_data, options_first, quote_paths

    try:
        read = expand_resume(quote_paths(options_first(arguments)))
        if (cfg := check_overrides(read)) is not None:
            look_at_data(cfg)
        return read
    except InputError as error:
        raise SystemExit(f"error: {error}") from None


def stop(*_: object) -> None:
    """Treat SIGTERM and SIGUSR1 as Ctrl-C."""
    raise KeyboardInterrupt


def is_rank_of_many() -> bool:
    """Whether torchrun or srun started this process among others, and another one decides."""
    if not {"RANK", "SLURM_STEP_NUM_TASKS"} & os.environ.keys():
        return False
    from busi.training import is_worker

    return is_worker()


if __name__ == "__main__":
    collect_rarely()
    print_anything()
    if "_ARGCOMPLETE" in os.environ:
        from busi.training import complete_training

        complete_training()
    for number in (signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, stop)
    if is_rank_of_many():
        run_as_worker()
    else:
        register_sweeper()
        try:
            sys.argv = ["busi.train", *read_arguments(sys.argv[1:])]
            main()
        except KeyboardInterrupt:
            # It came while a launcher waited for its jobs.
            raise SystemExit(130) from None
