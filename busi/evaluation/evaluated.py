"""What an evaluation leaves in its folder, as the predictions that a report reads."""

from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig

from busi.data import Cohort, DataSet
from busi.evaluation.opening import OpenedModel
from busi.reporting import EVALUATED, StandInRun, stand_in_config, stand_in_provenance
from busi.runs import Predictions, Variant, read_columns, take


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
        run = StandInRun(output, provenance, make_config(model, data, stage))
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
    return {**found, EVALUATED: str(model.source)}
