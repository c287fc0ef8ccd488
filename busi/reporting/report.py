"""The report on finished runs: one page for a reviewer, and its content as JSON."""

import logging
import time
from collections.abc import Sequence
from pathlib import Path

from busi.core import write_json, writing_to
from busi.figures import Section, write_page
from busi.reporting.cells import JsonObject
from busi.reporting.diagnosis import describe_diagnosis
from busi.reporting.origin import describe_origin
from busi.reporting.segmentation import describe_masks
from busi.runs import Variant, read_variants

log = logging.getLogger(__name__)

INTERVALS = (
    "Intervals are 95 % percentile intervals of 2,000 bootstrap resamples of whole groups of near-duplicates "
    "within folds. They do not contain what another training would change."
)


def report_runs(folders: Sequence[Path], output: Path, partial: bool = False) -> Path:
    """Report finished runs; see `busi.runs.read_variants` and `write_report`.

    Args:
        folders: Run folders, or folders of them.
        output: The folder of the report.
        partial: Report fewer folds than the split has.
    """
    variants = read_variants(folders, partial)
    return write_report(variants, output, title_of(variants), about_split(variants))


def write_report(variants: Sequence[Variant], output: Path, title: str, about: str) -> Path:
    """Write ``index.html``, ``report.json`` and ``figures/``.

    Args:
        variants: The runs that are reported.
        output: The folder.
        title: Of the page.
        about: How test images were kept apart from training images.

    Raises:
        InputError: If the folder cannot be written.
    """
    began = time.monotonic()
    sections: list[Section] = []
    content: JsonObject = {
        "title": title,
        "folds": {variant.name: list(variant.folds) for variant in variants},
    }
    for variant in variants:
        if variant.name == "segmentation":
            log.info("Measuring masks")
            section, content["segmentation"] = describe_masks(variant)
            sections.append(section)
    if diagnosis := [variant for variant in variants if variant.name != "segmentation"]:
        log.info("Measuring the diagnosis with guide %s", ", ".join(variant.name for variant in diagnosis))
        more, content["diagnosis"] = describe_diagnosis(diagnosis)
        sections += more
    section, origin = describe_origin(variants, about)
    with writing_to(output):
        write_json(output / "report.json", {**content, **origin})
        page = write_page(output, title, lead(variants), [*sections, section])
    log.info("Finished in %.0f s: %s", time.monotonic() - began, page)
    return page


def title_of(variants: Sequence[Variant]) -> str:
    """The title, which says which folds are missing."""
    config = variants[0].seeds[0][0].run.config
    number = config.data.num_folds
    some = [f"{variant.name} {_listed(variant.folds)}" for variant in variants if len(variant.folds) < number]
    folds = f" - partial, not all of {number} folds ({'; '.join(some)})" if some else f", {number} folds"
    return f"Report on {config.data.name}{folds}"


def about_split(variants: Sequence[Variant]) -> str:
    """How the folds were made."""
    run = variants[0].seeds[0][0].run
    return (
        f"Split fingerprint {run.provenance['split']}: {run.config.data.num_folds} folds of whole groups of "
        "near-duplicates, the same in both stages. A run of fold k is tested on fold k and validated on the "
        "next fold."
    )


def lead(variants: Sequence[Variant]) -> str:
    """What a reader must know before the results."""
    configs = [one.run.config for variant in variants for seed in variant.seeds for one in seed]
    warnings = []
    if any(config.data.name == "synthetic" for config in configs):
        warnings.append("Synthetic data: these numbers mean nothing medically.")
    if any(config.debug for config in configs):
        warnings.append("Debug runs: these numbers mean nothing.")
    images = sum(len(one.labels("test")) for one in variants[0].seeds[0])
    return " ".join([*warnings, f"{images} test images.", INTERVALS, "Research only: not a medical device."])


def _listed(folds: Sequence[int]) -> str:
    return f"fold{'s' if len(folds) > 1 else ''} {', '.join(map(str, folds))}"
