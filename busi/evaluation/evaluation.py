"""Any finished model on any data: what it reaches as it is, and what a local calibration changes."""

import logging
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from busi.core import CLASSES, InputError, expand, write_json, write_table, writing_to
from busi.data import PATIENT_SEEN, SEEN, Cohort, DataSet, describe_cohort, find_data
from busi.evaluation.comparison import (
    FitAs,
    bundle_numbers,
    compare_diagnosis,
    compare_masks,
    describe_comparison,
)
from busi.evaluation.evaluated import make_variants
from busi.evaluation.learning_curve import can_draw, describe_curve, draw_curve
from busi.evaluation.local_part import NEEDED, parse_number, set_aside
from busi.evaluation.opening import OpenedModel, open_cohort, open_model
from busi.evaluation.own_sources import explain_sources, keep_recognized
from busi.evaluation.predicting import predict_rows
from busi.evaluation.recalibration import refit, refit_postprocess, remeasure, rule_of
from busi.evaluation.saving import check_free, check_no_bundle, check_own, claim, clear, save_bundle
from busi.figures import Section
from busi.inference import PRETRAINED
from busi.reporting import name_data, name_models, write_report
from busi.runs import Predictions, Row, Variant, read_columns, take
from busi.training import summarize_rows

log = logging.getLogger(__name__)


def evaluate(
    model: Path | None,
    data: str,
    output: Path,
    *,
    cache_dir: Path,
    exclude: Path | None = None,
    on_bad: str = "error",
    calibrate_on: str | None = None,
    seed: int = 0,
    labels: Mapping[str, str] = MappingProxyType({}),
) -> Path:
    """Predict all images of a data set that a model has not seen, and report what it reaches.

    Writes ``predictions.csv`` (logits before the temperature), ``maps/``, ``split.csv``, ``metrics.json``,
    ``index.html``, ``report.json`` and ``figures/``. With `calibrate_on`, images of the split ``val``
    calibrate the model anew, both calibrations are judged on the images of ``test``, and the model with the
    new one goes to ``bundle/``.

    Args:
        model: A run folder, an ensemble or a bundle; None for the model that comes with busi.
        data: A name, a folder or a manifest, see `busi.data.catalog.find_data`.
        output: The folder.
        cache_dir: Where decoded data is kept.
        exclude: CSV file with the column ``id``: more images to leave out.
        on_bad: ``error``, or ``skip`` to go on without unusable files.
        calibrate_on: See `busi.evaluation.local_part.set_aside`.
        seed: Of the draws.
        labels: Other words for the classes: in the data (a manifest, or names of folders), or in the manifest
            of those that calibrate.

    Returns:
        The page.

    Raises:
        InputError: If the model or the data is missing, unusable, or does not fit; all images have been seen;
            `seed` is negative; or `output` holds something else or cannot be written.
    """
    began, cache_dir = time.monotonic(), expand(cache_dir)
    if model is None:
        log.info("The model that comes with busi, for research only: %s", PRETRAINED / "README.md")
    if seed < 0:
        raise InputError(f"--seed {seed}: give 0 or more")
    check_own(output)
    if calibrate_on is None:
        check_no_bundle(output / "bundle", model)
    opened = open_model(model or PRETRAINED, cache_dir)
    is_list = calibrate_on is not None and parse_number(calibrate_on) is None  # labels may be for it alone
    found = find_data(data, labels, optional=is_list)
    cohort, unknown = open_cohort(opened, found, exclude, on_bad, cache_dir)
    own = keep_recognized(opened, cohort).own_sources
    if calibrate_on is not None:
        cohort, own = set_aside(cohort, calibrate_on, seed, cache_dir, labels), {}
        check_free(output / "bundle")
        check_fits(opened, cohort, calibrate_on)
    log.info("%s", describe_cohort(cohort))
    scored = dict.fromkeys(cohort.sources_of(cohort.indices("test")))
    if told := explain_sources(opened, own, scored, local=calibrate_on is not None):
        log.info("%s", told)
    opened = replace(opened, own_sources=own)
    with writing_to(output):
        claim(output, opened.source)
        clear(output)
        rows = write_predictions(opened, cohort, output)
        variants = make_variants(opened, found, cohort, output, round(time.monotonic() - began, 1))
        if not variants:
            raise InputError("no lesion of the test images is annotated: masks cannot be measured here")
        sections: list[Section] = []
        content: dict[str, Any] = {}
        if calibrate_on is not None:
            by_name = {one.name: one.seeds[0][0] for one in variants}
            sections, content = recalibrate(opened, by_name, rows, cohort, found, output, seed, calibrate_on)
    about = f"{describe_evaluation(opened, cohort, unknown)} {told}".rstrip()
    title = f"Evaluation of {name_model(opened, variants, model is None)} on {name_data(scored)}"
    fits = {name: one.fitted for name, one in own.items()}
    fit = FitAs(rule_of(opened.info), "the validation images of the model", fits)
    return write_report(variants, output, title, about, fit=fit, first=sections, extra=content)


def name_model(model: OpenedModel, variants: Sequence[Variant], comes_along: bool) -> str:
    """A model in words: its networks, or of a bundle its encoder, what trained it, and its folder."""
    if model.run is not None:
        return f"{name_models(variants)}, run {model.source.name}"
    origin = model.info.origin
    trained = name_data(origin.get("sources", [origin["data"]]))
    kind = "the model that comes with busi" if comes_along else f"the bundle {model.source.name}"
    return f"{kind} ({origin['encoder']}, trained on {trained})"


def write_predictions(model: OpenedModel, cohort: Cohort, output: Path) -> list[Row]:
    """Predict the images that calibrate and those that test, measure the latter, and write the tables.

    Returns:
        The rows of ``predictions.csv``.
    """
    rows = predict_rows(model, cohort, cohort.indices("val", "test").tolist(), output)
    write_table(output / "predictions.csv", rows)
    write_table(output / "split.csv", cohort.rows())
    write_json(output / "postprocess.json", asdict(model.info.postprocess))
    write_json(output / "metrics.json", summarize_rows([row for row in rows if row["split"] == "test"]))
    return rows


def check_fits(model: OpenedModel, cohort: Cohort, part: str) -> None:
    """Raise `InputError` if nothing of a model can be fitted on the images that calibrate."""
    records = [cohort.records[i] for i in cohort.indices("val")]
    if model.has_classes:
        if len({record.label for record in records}) < 2:
            raise InputError(
                f"--calibrate-on {part} has images of one class alone: nothing can be fitted. Give others"
            )
        return
    empty = sum(not record.masks for record in records)
    if min(empty, len(records) - empty) < NEEDED:
        raise InputError(
            f"--calibrate-on {part} has {len(records) - empty} lesions and {empty} images without a lesion; "
            f"the postprocessing of masks needs {NEEDED} of each: without them a false mask, or a missed "
            "lesion, would cost nothing. Give others, or leave --calibrate-on out"
        )


def recalibrate(
    model: OpenedModel,
    found: dict[str, Predictions],
    rows: list[Row],
    cohort: Cohort,
    data: DataSet,
    output: Path,
    seed: int,
    part: str,
) -> tuple[list[Section], dict[str, Any]]:
    """Fit on the images that calibrate, judge on the rest, and save the model.

    Returns:
        The sections of the report, and their content as JSON.
    """
    frozen = local = rule_of(model.info)
    val = cohort.indices("val")
    compared, sections, content = {}, [], {}
    if model.has_classes:
        one = found[model.variants[-1]]
        local = refit(frozen, one.logits("val"), one.labels("val"))
        compared["diagnosis"] = compare_diagnosis(one, frozen, local)
    if model.has_masks:
        local = refit_postprocess(local, cohort, val.tolist(), output)
        if local.postprocess != frozen.postprocess and "segmentation" in found:
            test = [row for row in rows if row["split"] == "test"]
            path = write_table(
                output / "recalibrated_masks.csv", remeasure(test, cohort, local.postprocess, output)
            )
            after = read_columns(path, "seg")
            kept = np.isfinite(after["dice"])
            after = take(after, kept)
            compared["segmentation"] = compare_masks(found["segmentation"].part("test"), after)
    saved = "A bundle needs masks, so none is written."
    if model.has_masks:
        numbers = bundle_numbers(compared)
        why = save_bundle(model, local, cohort, data, numbers, output / "bundle")
        path = output / "bundle"
        saved = f"It is not saved as a bundle: {why}." if why else f"The recalibrated model is {path}."
    anew, shares = [], ""
    if model.has_classes:
        anew = ["temperature, biases of the classes, thresholds of the operating points, conformal sets"]
        shares = f" They are {count_classes(cohort, val.tolist())}: these shares count as those in use."
    anew += ["post-processing"] * (local.postprocess != frozen.postprocess)
    how = f" (its {', '.join(anew)})" if anew else ", which changed nothing"
    about = (
        f"{len(val)} images of {data.name} (--calibrate-on {part}) calibrated the model anew{how}.{shares} "
        f"Both columns are of the same {len(cohort.indices('test'))} other images, none of which "
        f"is a near-duplicate or of a known patient of these. No weight of the networks changed. {saved}"
    )
    section, content["recalibration"] = describe_comparison(about, frozen, local, compared)
    sections.append(section)
    if model.has_classes and can_draw(len(val)):
        val_part = one.part("val")
        curve = draw_curve(
            frozen,
            (one.logits("val"), one.labels("val"), val_part["group"]),
            (one.logits("test"), one.labels("test")),
            seed,
        )
        section, content["learning_curve"] = describe_curve(curve)
        sections.append(section)
    return sections, content


def count_classes(cohort: Cohort, places: Sequence[int]) -> str:
    """How many images of each class there are, in words."""
    counts = Counter(cohort.records[i].label for i in places)
    return ", ".join(f"{counts[k]} {name}" for k, name in enumerate(CLASSES))


def describe_evaluation(model: OpenedModel, cohort: Cohort, unknown: str) -> str:
    """How the images were kept apart from those that the model has seen, and which count where."""
    seen, beside = (cohort.reasons.count(why) for why in (SEEN, PATIENT_SEEN))
    kind = "bundle" if model.run is None else "run"
    own = "temperature, thresholds and conformal sets" if model.has_classes else "post-processing"
    left_out = (
        f"{seen} images were left out: the {kind} was trained or validated on them, or on near-duplicates or "
        "altered versions of them (e.g. flipped, inverted, turned)."
        if seen
        else f"No image was left out as seen: none is known to be one that the {kind} was trained or "
        "validated on, or a near-duplicate or an altered version of one."
    )
    text = f"The {kind} {model.source} as it was trained, with its own {own}. {left_out} {unknown}".rstrip()
    if beside:
        text += f" {beside} more are left out, because they are of patients of these."
    if excluded := cohort.reasons.count("excluded"):
        text += f" {excluded} more images are left out, which --exclude names."
    missing = [i for i in cohort.indices("test") if not cohort.records[i].annotated]
    if missing and model.has_masks:
        text += f" {len(missing)} lesions without a mask count in the diagnosis, and not among the masks."
    if not model.has_masks:
        text += f" It was guided by {model.variants[-1]} and gives no masks, so none are measured."
    return text
