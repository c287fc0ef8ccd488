"""What stands in for a run where a report shows a model that was trained elsewhere, or predictions alone."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from busi.data import Cohort, DataSet
from busi.runs import Run, describe_environment, now


@dataclass(frozen=True)
class StandInRun(Run):
    """A model on data that are not its own: its folder holds predictions, and is no run folder.

    Attributes:
        known_config: That of the run, or what is known of that of a bundle, with the data of the evaluation.
        place: Where the folder will be, if it is written elsewhere first.
    """

    known_config: DictConfig
    place: Path | None = None

    @property
    def shown(self) -> str:
        """The folder, as a report names it."""
        return str(self.place or self.folder)

    @property
    def config(self) -> DictConfig:
        """See `known_config`."""
        return self.known_config


def stand_in_config(data: DataSet, stage: str, guide: str, fold: int, num_folds: int = 1) -> DictConfig:
    """What a report reads of the config of a run, of a model that is none."""
    place = {"root": str(data.root), "read": data.read}
    known = {"name": data.name, **place, "sources": {data.name: place}}
    return OmegaConf.create(
        {
            **{"stage": stage, "seed": 0, "debug": False, "guide": {"name": guide}, "encoder_weights": None},
            "data": {**known, "fold": fold, "num_folds": num_folds, "train_only": [], "hold_out": None},
        }
    )


def stand_in_provenance(command: str, cohort: Cohort, stage: str, fold: int) -> dict[str, Any]:
    """What a report reads of the provenance of a run, of a model that is none; what is not known is empty."""
    return {
        **describe_environment(command),
        **{"stage": stage, "fold": fold, "files": {}, "tested": True, "finished": now(), "seconds": 0},
        **{"data": cohort.data_fingerprint, "split": cohort.split_fingerprint, "debug": False},
        **{"leave_out": None, "trained_on": [], "upstream": {}, "epoch": None, "guide": None},
        **{"settings": "", "recipe": "", "seeds": [], "device": "unknown"},
    }
