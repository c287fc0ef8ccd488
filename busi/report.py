"""``python -m busi.report RUN... --output DIR``: what finished runs show, as a page for a reviewer."""

import argparse
import logging
import time
from collections.abc import Sequence
from pathlib import Path

from busi.command import run_command
from busi.evidence import Arm, read_evidence
from busi.pages import Section, write_page
from busi.paths import write_json
from busi.sections.cells import Facts
from busi.sections.diagnosis import describe_diagnosis
from busi.sections.origin import describe_origin
from busi.sections.segmentation import describe_masks
from busi.types import InputError

log = logging.getLogger(__name__)

INTERVALS = (
    "Intervals are 95 % percentile intervals of 2,000 bootstrap draws of whole groups of near-duplicates "
    "within folds. They leave out what another training would change."
)


def main() -> None:
    """Parse the arguments and write the report."""
    parser = argparse.ArgumentParser(prog="python -m busi.report", description=__doc__)
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="run folders, or folders of them")
    parser.add_argument("--output", type=Path, required=True, help="folder for index.html and the rest")
    parser.add_argument("--partial", action="store_true", help="report fewer folds than the split has")
    arguments = parser.parse_args()
    began = time.monotonic()
    arms = read_evidence(arguments.runs, arguments.partial)
    page = write_report(arms, arguments.output, title_of(arms), about_split(arms))
    log.info("Finished in %.0f s: %s", time.monotonic() - began, page)


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
    try:
        write_json(output / "report.json", {**facts, **origin})
        return write_page(output, title, lead(arms), [*sections, section])
    except OSError as error:
        raise InputError(f"cannot write to {output}: {error.strerror}. Give another --output") from error


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


if __name__ == "__main__":
    run_command(main)
