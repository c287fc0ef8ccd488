"""The report on finished runs: one page for a reviewer, and the same numbers as JSON."""

import logging
import time
from collections.abc import Sequence
from pathlib import Path

from busi.core import write_json, writing_to
from busi.figures import Section, write_page
from busi.reporting.cells import Facts
from busi.reporting.diagnosis import describe_diagnosis
from busi.reporting.origin import describe_origin
from busi.reporting.segmentation import describe_masks
from busi.runs import Arm, read_evidence

log = logging.getLogger(__name__)

INTERVALS = (
    "Intervals are 95 % percentile intervals of 2,000 bootstrap draws of whole groups of near-duplicates "
    "within folds. They leave out what another training would change."
)


def report_runs(folders: Sequence[Path], output: Path, partial: bool = False) -> Path:
    """Report finished runs; see `busi.runs.read_evidence` and `write_report`.

    Args:
        folders: Run folders, or folders of them.
        output: The folder of the report.
        partial: Report fewer folds than the split has.
    """
    arms = read_evidence(folders, partial)
    return write_report(arms, output, title_of(arms), about_split(arms))


def write_report(arms: Sequence[Arm], output: Path, title: str, about: str) -> Path:
    """Write ``index.html``, ``report.json`` and ``figures/``.

    Args:
        arms: What is reported.
        output: The folder.
        title: Of the page.
        about: How test pictures were kept apart from what was trained.

    Raises:
        InputError: If the folder cannot be written.
    """
    began = time.monotonic()
    sections: list[Section] = []
    facts: Facts = {"title": title, "folds": {arm.name: list(arm.folds) for arm in arms}}
    for arm in arms:
        if arm.name == "segmentation":
            log.info("Measuring masks")
            section, facts["segmentation"] = describe_masks(arm)
            sections.append(section)
    if diagnosis := [arm for arm in arms if arm.name != "segmentation"]:
        log.info("Measuring diagnosis with guide %s", ", ".join(arm.name for arm in diagnosis))
        more, facts["diagnosis"] = describe_diagnosis(diagnosis)
        sections += more
    section, origin = describe_origin(arms, about)
    with writing_to(output):
        write_json(output / "report.json", {**facts, **origin})
        page = write_page(output, title, lead(arms), [*sections, section])
    log.info("Finished in %.0f s: %s", time.monotonic() - began, page)
    return page


def title_of(arms: Sequence[Arm]) -> str:
    """The title, which says if folds are missing."""
    config = arms[0].seeds[0][0].run.config
    number = config.data.num_folds
    missing = [f"{arm.name} {_listed(arm.folds)}" for arm in arms if len(arm.folds) < number]
    partial = (
        f" - partial, not all of {number} folds ({'; '.join(missing)})" if missing else f", {number} folds"
    )
    return f"Report on {config.data.name}{partial}"


def about_split(arms: Sequence[Arm]) -> str:
    """How the folds were made."""
    run = arms[0].seeds[0][0].run
    return (
        f"Split fingerprint {run.provenance['split']}: {run.config.data.num_folds} folds of whole groups of "
        "near-duplicates, the same in both stages. A run of fold k is tested on it, and decides on k + 1."
    )


def lead(arms: Sequence[Arm]) -> str:
    """What a reader must know before any number."""
    configs = [one.run.config for arm in arms for seed in arm.seeds for one in seed]
    warnings = []
    if any(config.data.name == "phantom" for config in configs):
        warnings.append("Made data: these numbers mean nothing medically.")
    if any(config.debug for config in configs):
        warnings.append("Debug runs: these numbers mean nothing.")
    pictures = sum(len(one.labels("test")) for one in arms[0].seeds[0])
    return " ".join(
        [*warnings, f"{pictures} test pictures.", INTERVALS, "Research only: not a medical device."]
    )


def _listed(folds: Sequence[int]) -> str:
    return f"fold{'s' if len(folds) > 1 else ''} {', '.join(map(str, folds))}"
