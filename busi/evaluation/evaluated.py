"""What an evaluation leaves in its folder, as the predictions that a report reads."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig, OmegaConf

from busi.data import Cohort, DataSet
from busi.evaluation.opening import OpenedModel
from busi.models import Postprocess
from busi.runs import Predictions, Run, Variant, describe_environment, now, read_columns


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
            kept = np.isfinite(columns["dice"])
            columns = {key: column[kept] for key, column in columns.items()}
        if (columns["split"] == "test").any():
            variants.append(Variant(name, ((Predictions(run, columns),),)))
    return variants


def make_config(model: OpenedModel, data: DataSet, stage: str) -> DictConfig:
    """What a report must know of the config of a model."""
    origin = model.info.origin
    config: dict[str, Any] = {
        "stage": stage,
        "seed": (origin.get("seeds") or [0])[0],
        "debug": False,
        "guide": {"name": origin["guide"]},
        "data": {"fold": origin["fold"], "num_folds": 1, "train_only": [], "hold_out": None},
    }
    own = OmegaConf.create(config)
    if model.run is not None:
        own = OmegaConf.create(OmegaConf.to_container(model.run.config))  # type: ignore[assignment]
        own.stage, own.data.hold_out, own.data.train_only = stage, None, []
    own.data.name, own.data.root = data.name, str(data.root)
    own.data.read = data.read
    own.data.sources = {data.name: {"root": str(data.root), "read": data.read}}
    return own


def describe_provenance(model: OpenedModel, cohort: Cohort, stage: str, seconds: float) -> dict[str, Any]:
    """Where the numbers come from: that of the run, or what is known of a bundle, with the data."""
    origin = model.info.origin
    of_model: dict[str, Any] = {
        **describe_environment("busi.evaluate"),
        **{"debug": False, "leave_out": None, "trained_on": [], "upstream": {}, "epoch": None},
        **{"guide": origin["guide"], "device": "cpu", "finished": now(), "seconds": seconds},
        **{name: origin.get(name, "") for name in ("settings", "recipe")},
        "seeds": origin.get("seeds", []),  # a bundle knows those of an ensemble alone
        "model": {**origin, **model.info.fingerprints},
    }
    if model.run is not None:
        of_model = model.run.provenance
    return {
        **of_model,
        "stage": stage,
        "fold": origin["fold"],
        "data": cohort.data_fingerprint,
        "split": cohort.split_fingerprint,
        "files": {},
        "tested": True,
        "evaluated": str(model.source),
    }
