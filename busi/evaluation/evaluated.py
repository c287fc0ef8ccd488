"""What an evaluation leaves in its folder, as the predictions that a report reads."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig, OmegaConf

from busi.data import Cohort, DataSet
from busi.evaluation.opening import OpenedModel
from busi.models import Postprocess
from busi.runs import Predictions, Run, Variant, describe_environment, now, read_columns, take


@dataclass(frozen=True)
class EvaluatedRun(Run):
    """A model on data that are not its own: its folder holds predictions, and is no run folder.

    Attributes:
        known_config: That of the run, or what is known of that of a bundle, with the data of the evaluation.
        own_postprocess: Of the model.
        place: Where the folder will be, if it is written elsewhere first.
    """

    known_config: DictConfig
    own_postprocess: Postprocess
    place: Path | None = None

    @property
    def shown(self) -> str:
        """The folder, as a report names it."""
        return str(self.place or self.folder)

    @property
    def config(self) -> DictConfig:
        """See `known_config`."""
        return self.known_config

    @property
    def postprocess(self) -> Postprocess:
        """What makes masks of the maps."""
        return self.own_postprocess


def make_variants(
    model: OpenedModel, data: DataSet, cohort: Cohort, output: Path, seconds: float
) -> list[Variant]:
    """The variants of the report on an evaluation, from the tables that it wrote.

    Of the masks, lesions without an annotation are left out.
    """
    variants = []
    for name in model.variants:
        stage = "seg" if name == "segmentation" else "cls"
        provenance = describe_provenance(model, cohort, stage, seconds)
        run = EvaluatedRun(output, provenance, make_config(model, data, stage), model.info.postprocess)
        columns = read_columns(output / "predictions.csv", stage)
        if stage == "seg":
            columns = take(columns, np.isfinite(columns["dice"]))
        if (columns["split"] == "test").any():
            variants.append(Variant(name, ((Predictions(run, columns),),)))
    return variants


def make_config(model: OpenedModel, data: DataSet, stage: str) -> DictConfig:
    """What a report must know of the config of a model."""
    origin = model.info.origin
    config = stand_in_config(data, stage, origin["guide"], origin["fold"])
    config.seed = (origin.get("seeds") or [0])[0]
    if model.run is None:
        return config
    own = model.run.config.copy()
    own.stage, own.data.hold_out, own.data.train_only = stage, None, []
    for name in ("name", "root", "read", "sources"):
        own.data[name] = config.data[name]
    return own


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


def describe_provenance(model: OpenedModel, cohort: Cohort, stage: str, seconds: float) -> dict[str, Any]:
    """Where the numbers come from: that of the run, or what is known of a bundle, with the data."""
    origin = model.info.origin
    found = stand_in_provenance("busi.evaluate", cohort, stage, origin["fold"])
    if model.run is not None:
        of_data = ("stage", "fold", "data", "split", "files", "tested")
        found = {**model.run.provenance, **{name: found[name] for name in of_data}}
    else:
        found |= {"guide": origin["guide"], "device": "cpu", "seconds": seconds}
        found |= {name: origin.get(name, "") for name in ("settings", "recipe")}
        found["seeds"] = origin.get("seeds", [])  # a bundle knows those of an ensemble alone
        found["model"] = {**origin, **model.info.fingerprints}
    return {**found, "evaluated": str(model.source)}


def stand_in_provenance(command: str, cohort: Cohort, stage: str, fold: int) -> dict[str, Any]:
    """What a report reads of the provenance of a run, of a model that is none; what is not known is empty."""
    return {
        **describe_environment(command),
        **{"stage": stage, "fold": fold, "files": {}, "tested": True, "finished": now(), "seconds": 0},
        **{"data": cohort.data_fingerprint, "split": cohort.split_fingerprint, "debug": False},
        **{"leave_out": None, "trained_on": [], "upstream": {}, "epoch": None, "guide": None},
        **{"settings": "", "recipe": "", "seeds": [], "device": "unknown"},
    }
