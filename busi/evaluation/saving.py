"""A model calibrated on local images, saved as a bundle with its own card."""

import logging
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from busi.core import InputError, check_overwritten, holds_something, is_there, real, write_json
from busi.data import Cohort, DataSet
from busi.evaluation.opening import OpenedModel
from busi.evaluation.recalibration import DecisionRule
from busi.inference import ModelInfo, copy_bundle, is_bundle, read_model_info
from busi.reporting import EVALUATED, holds_report
from busi.runs import now

log = logging.getLogger(__name__)


WRITTEN = (
    *("predictions.csv", "split.csv", "postprocess.json", "metrics.json", "recalibrated_masks.csv"),
    *("maps", "report.json", "index.html"),
)
"""What an evaluation writes, beside its bundle."""


def claim(folder: Path, model: Path) -> None:
    """Let ``report.json`` say that a folder is of an evaluation, which may be stopped before it has a report.

    Args:
        folder: See `check_own`.
        model: What is evaluated.
    """
    if not holds_report(folder, EVALUATED):
        write_json(folder / "report.json", {"runs": [{EVALUATED: str(model)}]})


def check_own(folder: Path) -> None:
    """Raise `InputError` if a folder holds anything that an evaluation would overwrite, and did not write."""
    if is_there(folder / "provenance.json") or is_bundle(folder):
        raise InputError(f"{folder} holds a run or a bundle: give another --output")
    if not holds_report(folder, EVALUATED):
        check_overwritten(folder, WRITTEN, "evaluation")


def clear(folder: Path) -> None:
    """Remove what an earlier evaluation left in a folder that is claimed, and this one may not write."""
    (folder / "recalibrated_masks.csv").unlink(missing_ok=True)
    shutil.rmtree(folder / "maps", ignore_errors=True)


def check_no_bundle(folder: Path, model: Path | None) -> None:
    """Raise `InputError` if a bundle of an earlier calibration would lie beside an evaluation without one."""
    if is_bundle(folder) and not (model and real(model) == real(folder)):
        raise InputError(f"{folder} is of an earlier calibration: give another --output, or move it away")


def check_free(folder: Path) -> None:
    """Raise `InputError` if a folder holds anything but a bundle that an earlier evaluation left there."""
    ours = is_bundle(folder) and "recalibrated" in read_model_info(folder).origin
    if is_there(folder) and holds_something(folder) and not ours:
        raise InputError(f"{folder} holds something else: give another --output")


def save_bundle(
    model: OpenedModel,
    local: DecisionRule,
    cohort: Cohort,
    data: DataSet,
    numbers: dict[str, dict[str, list[float | None]]],
    folder: Path,
) -> str:
    """Write the model with its new calibration; a run is exported first.

    Args:
        model: A bundle, or a run that gives masks.
        local: What was fitted.
        cohort: The images; those of its split ``val`` calibrated.
        data: Where they are from.
        numbers: ``before`` and ``after``, for the card.
        folder: Of the bundle; what an earlier evaluation left there, the model itself maybe, stays until the
            new one is whole.

    Returns:
        Why it could not be written, else nothing.
    """
    try:
        with tempfile.TemporaryDirectory() as scratch:
            source = model.source
            if model.run is not None:
                from busi.inference import write_bundle  # PyTorch

                source = Path(scratch) / "exported"
                write_bundle(model.source, source)
            info = recalibrated_info(read_model_info(source), local, cohort, data, numbers)
            copy_bundle(source, folder, info, replace=True)
    except InputError as error:
        log.warning("The recalibrated model is not saved as a bundle: %s", error)
        return f"{error}"
    log.info("The recalibrated model: python -m busi.predict IMAGES --run %s --output DIR", folder)
    return ""


def recalibrated_info(
    info: ModelInfo,
    local: DecisionRule,
    cohort: Cohort,
    data: DataSet,
    numbers: Mapping[str, dict[str, list[float | None]]],
) -> ModelInfo:
    """What ``model.json`` says of the recalibrated model.

    The images that calibrated it count as seen, like the validation images of a run.
    """
    val = cohort.indices("val")
    hashes = {cohort.contents[i].pixel_hash for i in val}
    made = {
        "data": data.name,
        "fingerprint": cohort.data_fingerprint,
        "num_images": len(val),
        "date": now(),
        "kept": list(local.kept),
    }
    return replace(
        info,
        postprocess=local.postprocess,
        temperature=local.calibration.temperature,
        biases=local.calibration.biases if info.has_classes else None,
        quantiles=local.calibration.quantiles if info.has_classes else None,
        malignant_thresholds=local.calibration.thresholds if info.has_classes else {},
        seen=None if info.seen is None else tuple(sorted({*info.seen, *hashes})),
        local_metrics=dict(numbers),
        origin=info.origin | {"recalibrated": made},
    )
