"""The log of a run as a table, and what W&B and TensorBoard get beyond its curves."""

import logging
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import lazy_loader
import matplotlib.image
from lightning.pytorch.loggers import Logger, TensorBoardLogger, WandbLogger
from lightning.pytorch.utilities import rank_zero_only
from torchmetrics import MetricCollection

from busi.core import InputError, write_table
from busi.figures import draw_curves, save_figure
from busi.runs import LOG_FILE, Run, read_log
from busi.sweeps import Pruned

log = logging.getLogger(__name__)
wandb = lazy_loader.load("wandb")  # takes most of a second, and few runs use it

PROGRESS = "val_progress"
"""Name of the image that is drawn during training."""


def wandb_logger(
    *,
    run_dir: str,
    project: str,
    entity: str | None,
    group: str | None,
    tags: Sequence[str],
    offline: bool,
    finish_timeout: float,
) -> WandbLogger:
    """Log a run to W&B; one that is resumed goes on with the same W&B run.

    Args:
        run_dir: The run folder; W&B's own files go into ``wandb/`` there.
        project: Name of the W&B project.
        entity: W&B user or team; None takes the default of the account.
        group: The sweep that the run belongs to.
        tags: To find it by.
        offline: Keep everything in the run folder, for ``wandb sync`` later.
        finish_timeout: Seconds that the end of a run waits for uploads; W&B alone would wait forever.
    """
    folder = Path(run_dir)
    # W&B ends the names of its folders with the id of the run.
    earlier = sorted(path.name for path in folder.glob("wandb/*run-*-*") if path.is_dir())
    return WandbLogger(
        name="/".join([*([group] if group else []), folder.name]),
        save_dir=run_dir,
        version=earlier[-1].rsplit("-", 1)[1] if earlier else None,
        project=project,
        entity=entity,
        group=group,
        tags=list(tags),
        # Lightning's own `offline` sets WANDB_MODE for all that the process does later.
        mode="offline" if offline else None,
        settings=wandb.Settings(finish_timeout=finish_timeout),
    )


WHOLE = ("epoch", "step")
"""Columns of whole numbers."""


class CSVLog(Logger):
    """Losses and metrics as a table, written whole each time: no kill or power cut costs an earlier row.

    It has one row an epoch. What is logged without an epoch, as the learning rate at its start, goes into the
    next row.

    Args:
        folder: Gets ``metrics.csv``.
    """

    def __init__(self, folder: str) -> None:
        super().__init__()
        self.path = Path(folder) / "metrics.csv"
        self.rows: list[dict[str, object]] = []
        self.waiting: dict[str, object] = {}

    @property
    def name(self) -> None:
        """It has none."""

    @property
    def version(self) -> None:
        """It has none."""

    def log_hyperparams(self, *_: Any, **__: Any) -> None:
        """Leave them to ``config.yaml``."""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float | int], step: int | None = None) -> None:
        """Add to the row of the epoch."""
        self.waiting |= {name: x if isinstance(x, int) else float(x) for name, x in metrics.items()}
        if "epoch" not in metrics:
            return
        if not self.rows or self.rows[-1]["epoch"] != metrics["epoch"]:
            self.rows.append({})
        self.rows[-1] |= {**self.waiting, "step": step}
        self.waiting = {}

    @rank_zero_only
    def save(self) -> None:
        """Write all rows."""
        columns = sorted({name for row in self.rows for name in row})
        if columns:
            write_table(self.path, [{name: row.get(name) for name in columns} for row in self.rows])

    def keep(self, step: int) -> None:
        """Go on with the rows of the file before a step."""
        if self.path.is_file():
            for row in read_log(self.path):
                if row.get("step", step) < step:
                    values = {name: x for name, x in row.items() if name not in WHOLE}
                    epoch = {"epoch": int(row["epoch"])} if "epoch" in row else {}
                    self.log_metrics({**values, **epoch}, int(row["step"]))


def draw_log(folder: Path, monitor: str, epoch: int) -> None:
    """Draw the training curves of a run; what cannot be drawn is a warning, for the run is trained.

    Args:
        folder: Of the run.
        monitor: The metric by which the epoch was chosen.
        epoch: That was saved.
    """
    if not (folder / LOG_FILE).is_file():
        return
    try:
        figure = draw_curves({"": read_log(folder / LOG_FILE)}, monitor, {"": epoch})
        save_figure(figure, folder / "figures" / "curves.png")
    except (InputError, ValueError) as error:  # of matplotlib, for values beyond all bounds
        log.warning("The training curves cannot be drawn: %s", error)


@contextmanager
def open_loggers(
    loggers: Sequence[Logger], config: dict[str, Any], metrics: MetricCollection
) -> Iterator[None]:
    """Start the W&B runs among the loggers, give them the config, and end them whatever happens.

    Several W&B runs in one process become one unless each is ended.

    Args:
        loggers: Of the trainer.
        config: Plain values.
        metrics: Validation metrics. W&B summarizes their best values, or the last ones where the
            last epoch is saved.

    Raises:
        InputError: If W&B needs a login or cannot be reached.
    """
    experiments = [_start_wandb(logger) for logger in loggers if isinstance(logger, WandbLogger)]
    exit_code = 1
    try:
        for experiment in experiments:
            experiment.config.update(config, allow_val_change=True)
            best = {"train/loss": "min", "val/loss": "min"}
            best |= {name: "max" if metric.higher_is_better else "min" for name, metric in metrics.items()}
            takes_best = config["callbacks"]["checkpoint"]["monitor"] is not None
            for name, summary in best.items():
                kept = {"summary": summary} if takes_best else {}
                experiment.define_metric(name, step_metric="trainer/global_step", **kept)
        yield
        exit_code = 0
    except Pruned:
        exit_code = 0
        raise
    finally:
        for experiment in experiments:
            experiment.finish(exit_code=exit_code)


def _start_wandb(logger: WandbLogger) -> Any:
    """The W&B run, which leaves no folder of its own where it does not begin."""
    folder = Path(str(logger.save_dir), "wandb")
    with ExitStack() as undo:
        if not folder.exists():
            undo.callback(shutil.rmtree, folder, ignore_errors=True)
        experiment = _open_wandb(logger)
        undo.pop_all()
    return experiment


def _open_wandb(logger: WandbLogger) -> Any:
    try:
        return logger.experiment
    except (wandb.errors.UsageError, wandb.errors.CommError, wandb.errors.AuthenticationError) as error:
        raise InputError(
            f"W&B does not start ({' '.join(str(error).split())}): log in with `wandb login`, or add "
            "logger.wandb.offline=true"
        ) from error


def keep_log(loggers: Sequence[Logger], step: int) -> None:
    """Let CSV logs go on where a checkpoint was written.

    Args:
        loggers: Of the trainer, not used yet.
        step: Optimizer steps that the checkpoint has seen; later rows will be logged again.
    """
    for logger in loggers:
        if isinstance(logger, CSVLog):
            logger.keep(step)


def log_figures(loggers: Sequence[Logger], paths: Sequence[Path], step: int) -> None:
    """Show image files in W&B and TensorBoard, named ``figures/<file>``."""
    for path in paths:
        name = f"figures/{path.stem}"
        for logger in loggers:
            if isinstance(logger, WandbLogger):
                logger.log_image(name, [str(path)])
            elif isinstance(logger, TensorBoardLogger):
                logger.experiment.add_image(name, matplotlib.image.imread(path), step, dataformats="HWC")


def log_result(loggers: Sequence[Logger], run: Run, metrics: dict[str, float | None], step: int) -> None:
    """Give W&B and TensorBoard what a finished run says of itself: metrics, images, provenance.

    W&B's ``monitored`` is the validation value of the epoch that was saved, under a name that does not depend
    on the stage.
    """
    numbers = {name: x for name, x in metrics.items() if x is not None}
    drawn = (run.folder / "figures").glob("*.png")
    log_figures(loggers, sorted(path for path in drawn if path.stem != PROGRESS), step)
    for logger in loggers:
        if isinstance(logger, WandbLogger):
            # The curves are summarized already, under some of the same names.
            curves = dict(logger.experiment.summary)
            more = {name: x for name, x in numbers.items() if name not in curves}
            logger.experiment.summary.update({"monitored": run.monitored[1], **more})
            logger.experiment.config.update({"provenance": run.provenance}, allow_val_change=True)
        elif isinstance(logger, TensorBoardLogger):
            logger.log_metrics(numbers, step)
            text = "\n".join(f"    {key}: {value}" for key, value in run.provenance.items())
            logger.experiment.add_text("provenance", text, step)
