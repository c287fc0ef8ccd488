"""What a classifier of several sources has for each of them: a prior and a calibration of its own."""

from collections.abc import Collection, Sequence
from dataclasses import replace

from busi.core import InputError
from busi.data import Cohort, logit_shift
from busi.evaluation.opening import OpenedModel, OwnSource
from busi.metrics import Calibration
from busi.reporting import fit_validation
from busi.runs import Predictions, Run, read_run_columns, read_trained


def read_own_sources(run: Run, trained: Sequence[str]) -> dict[str, OwnSource]:
    """Prior and calibration of each source that trained a classifier, as a report on the run has them.

    Args:
        run: Of a classifier.
        trained: Pixel hashes of its training images, in the order of ``split.csv``.

    Returns:
        By name; empty where one source trained, because it is the one that the model is made for.

    Raises:
        InputError: If the run has lost ``split.csv`` or ``predictions.csv``, or one is not its own.
    """
    labels, sources = read_trained(run)
    if len(sources) != len(trained):
        raise InputError(f"{run.folder}/split.csv is missing or damaged: train this run again")
    images = list(zip(sources, trained, strict=True))
    names = list(dict.fromkeys(sources))
    if len(names) < 2:
        return {}
    one = Predictions(run, read_run_columns(run))
    shifts = logit_shift(run.config.data.balance, labels, sources, names)
    return {
        name: OwnSource(shift, name_fit(one, name), frozenset(x for source, x in images if source == name))
        for name, shift in zip(names, shifts, strict=True)
    }


def name_fit(one: Predictions, source: str) -> Calibration:
    """The calibration of a source, with words for the images that it was fitted on."""
    fitted = fit_validation(one, source)
    names = " and ".join(fitted.fitted_on)
    return replace(fitted, fitted_on=(f"the validation images of {names} in the run",))


def keep_recognized(model: OpenedModel, cohort: Cohort) -> OpenedModel:
    """The model with the sources alone that the images are of.

    A name proves nothing, and many manifests have the same. So a source counts where images of it among these
    trained the model as images of this source.

    Args:
        model: With all of its sources.
        cohort: The images that it is evaluated on.
    """
    hashes: dict[str, set[str]] = {}
    for record, content in zip(cohort.records, cohort.contents, strict=True):
        hashes.setdefault(record.source, set()).add(content.pixel_hash)
    own = {name: x for name, x in model.own_sources.items() if hashes.get(name, set()) & x.trained}
    return replace(model, own_sources=own)


def explain_sources(model: OpenedModel, kept: Collection[str], scored: Collection[str], local: bool) -> str:
    """Which prior and which calibration images have, and why; empty for a model of one source.

    Args:
        model: With all of its sources.
        kept: Those that are used.
        scored: Sources of the images that are scored.
        local: Whether local images calibrate the model anew.
    """
    names = list(model.own_sources if model.run else model.info.origin.get("sources", ()))
    if len(names) < 2 or not model.has_classes:
        return ""
    listed = ", ".join(names)
    every = "the prior of a source that did not train, and one calibration on all of its validation images"
    if not model.own_sources:
        return (
            f"The data of its run has several sources ({listed}), and all images have {every}: a bundle "
            "holds no other. The run has a prior and a calibration for each source that trained it."
        )
    if local:
        return (
            f"It was trained on several sources ({listed}). What is calibrated anew has {every}, as in the "
            "bundle, which is not asked for a source."
        )
    parts = [
        f"Images of {name} have the prior of this source, and a calibration on "
        f"{' and '.join(model.own_sources[name].fitted.fitted_on)}."
        for name in scored
        if name in kept
    ]
    if others := [name for name in scored if name not in kept]:
        parts.append(
            f"Images of {' and '.join(others)} have {every}: none trained it as a source of this name."
        )
    return " ".join([f"It was trained on several sources ({listed}).", *parts])
