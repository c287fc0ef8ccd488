"""A model of any kind, opened to be evaluated: a run or an ensemble of either stage, or a bundle."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Float

from busi.core import InputError, expand
from busi.data import (
    Cohort,
    DataSet,
    as_options,
    build_external_cohort,
    find_data,
    list_data,
    read_contents,
    read_sources,
)
from busi.inference import Answers, ModelInfo, answer_as_bundle, is_bundle, load_bundle
from busi.metrics import Calibration
from busi.runs import Run, SeenImages, describe_missing

log = logging.getLogger(__name__)

UNKNOWN = (
    "This bundle does not say which images it has seen, so images that trained it may be among these. "
    "Where its data is at hand, python -m busi.export BUNDLE --output NEW finds out."
)
"""Said of a bundle of an older busi."""


@dataclass(frozen=True)
class OwnSource:
    """What a run has for one of the sources that trained it.

    Attributes:
        logit_shift: Turns logits under the prior of an unknown source into those under its own.
        fitted: Its calibration.
        trained: Pixel hashes of its images that trained.
    """

    logit_shift: Float[np.ndarray, " 3"]
    fitted: Calibration
    trained: frozenset[str]


@dataclass(frozen=True)
class OpenedModel:
    """A model of one stage or of both.

    Attributes:
        source: Its folder.
        info: What is known of it beside its networks.
        answer: What it says of images.
        variants: What it is reported as: ``segmentation`` if it gives masks, its guide if it gives classes.
        seen: What trained, chose or calibrated it.
        unknown: What cannot be known of that, as a sentence; empty if `seen` is whole.
        run: The run; None for a bundle.
        need_masks: Whether lesions without a mask tell nothing: of a model that gives masks alone, or that is
            guided by them.
        own_sources: Prior and calibration of each of the sources that trained a run, where these are several.
    """

    source: Path
    info: ModelInfo
    answer: Answers
    variants: tuple[str, ...]
    seen: SeenImages
    unknown: str = ""
    run: Run | None = None
    need_masks: bool = False
    own_sources: Mapping[str, OwnSource] = field(default_factory=dict)

    @property
    def has_masks(self) -> bool:
        """Whether it gives masks."""
        return "segmentation" in self.variants

    @property
    def has_classes(self) -> bool:
        """Whether it gives classes."""
        return self.variants != ("segmentation",)


def open_model(source: Path, cache_dir: Path) -> OpenedModel:
    """Open a run folder, an ensemble or a bundle; a bundle needs no PyTorch.

    Args:
        source: Its folder.
        cache_dir: Where decoded data is kept.

    Raises:
        InputError: If it is missing, damaged or not finished, or nobody knows how it was guided.
    """
    source = expand(source)
    if is_bundle(source):
        return _open_bundle(source, cache_dir)
    from busi.evaluation.opening_runs import open_run_model  # PyTorch

    return open_run_model(source, cache_dir)


def _open_bundle(source: Path, cache_dir: Path) -> OpenedModel:
    model = load_bundle(source)
    info = model.info
    names = [*info.origin.get("sources", [info.origin["data"]])]
    names += info.origin.get("started_from", [])
    if "recalibrated" in info.origin:
        names.append(info.origin["recalibrated"]["data"])
    known, records = list_data(), []
    for name in dict.fromkeys(names):
        if name in known and name != "synthetic" and info.seen:
            try:
                records += find_data(name).open()[0]
            except InputError:  # it is not at hand
                continue
    records, contents, _ = read_contents((records, []), cache_dir)
    seen = SeenImages(set(info.seen or ()), records, contents)
    unknown = UNKNOWN if info.seen is None else str(info.origin.get("unknown", ""))
    variants = ("segmentation", *([str(info.origin["guide"])] if info.has_classes else []))
    answer, masks_alone = answer_as_bundle(model), not info.has_classes
    return OpenedModel(source, info, answer, variants, seen, unknown, need_masks=masks_alone)


def open_cohort(
    model: OpenedModel, data: DataSet, exclude: Path | None, on_bad: str, cache_dir: Path
) -> tuple[Cohort, str]:
    """Open the data that ``--data`` names, without the images that the model has seen.

    Returns:
        The images, and what cannot be known of them, as a sentence; empty if all is known.

    Raises:
        InputError: If it is missing or empty, has unusable files, or the model has seen all of it.
    """
    reading = read_sources({data.name: {"root": str(data.root), "read": data.read}})
    try:
        cohort, number = build_external_cohort(
            reading,
            known=(model.seen.records, model.seen.contents),
            seen=model.seen.hashes,
            fold=model.info.origin["fold"],
            need_masks=model.need_masks,
            exclude=exclude,
            on_bad=on_bad,
            cache_dir=cache_dir,
        )
    except InputError as error:
        raise InputError(as_options(str(error))) from error
    unknown = f"{model.unknown} {describe_missing(number, len(model.seen.hashes))}".strip()
    if unknown:
        log.warning("%s: %s", model.source, unknown)
    return cohort, unknown
