"""Trials that are no better than others were at the same epoch end early."""

import json
import logging
from pathlib import Path
from typing import Any

import lightning
import optuna

from busi.sweeps.jobs import Pruned, record_pruned
from busi.sweeps.study import TRIAL, open_storage

log = logging.getLogger(__name__)


class Prune(lightning.Callback):
    """Reports the monitored value of every epoch to the study, and stops the trial if the pruner says so.

    In a run that is no trial, or whose trial has ended, it does nothing.

    Args:
        folder: The run folder.
        monitor: A metric of the validation fold.
        pruner: Of Optuna.
    """

    def __init__(self, folder: str, monitor: str, pruner: "optuna.pruners.BasePruner") -> None:
        self.folder, self.monitor, self.pruner = Path(folder), monitor, pruner
        self.trial: optuna.Trial | None = None

    def on_fit_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Open the study of the trial."""
        del pl_module
        path = self.folder / TRIAL
        if not trainer.is_global_zero or not path.is_file():
            return
        place: dict[str, Any] = json.loads(path.read_text())
        study = optuna.load_study(
            study_name=place["study"], storage=open_storage(place["storage"]), pruner=self.pruner
        )
        trial = study.get_trials(deepcopy=False)[place["trial"]]
        if not trial.state.is_finished():
            self.trial = optuna.Trial(study, trial._trial_id)

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Report, and stop if that is not good enough.

        Raises:
            Pruned: In every process of the run.
        """
        del pl_module
        value = float(trainer.callback_metrics[self.monitor])
        bad = self.trial is not None and self.report(self.trial, value, trainer.current_epoch)
        is_last = trainer.current_epoch + 1 == trainer.max_epochs
        if trainer.strategy.broadcast(bad) and not is_last:
            if trainer.is_global_zero:
                record_pruned(self.folder, trainer.current_epoch, self.monitor, value)
            raise Pruned(f"pruned after epoch {trainer.current_epoch + 1}: {self.monitor} {value:.3f}")

    def report(self, trial: optuna.Trial, value: float, epoch: int) -> bool:
        """Report a value; whether the trial should end. A storage that cannot be reached stops nothing."""
        try:
            # A resumed run repeats the epoch that it was stopped in.
            if epoch not in trial.study.get_trials(deepcopy=False)[trial.number].intermediate_values:
                trial.report(value, epoch)
            return bool(trial.should_prune())
        except optuna.exceptions.StorageInternalError as error:
            log.warning("The study cannot be reached, the trial goes on: %s", error)
            return False
