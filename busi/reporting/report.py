"""The report on finished runs: one page for a reviewer, and its content as JSON."""

import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from omegaconf import OmegaConf

from busi.core import check_overwritten, write_json, writing_to
from busi.figures import Section, write_page
from busi.reporting.cells import JsonObject
from busi.reporting.curves import describe_curves
from busi.reporting.diagnosis import describe_diagnosis
from busi.reporting.key import find_key_of_left_out, find_key_results
from busi.reporting.left_out import describe_left_out, trained_on
from busi.reporting.origin import describe_origin
from busi.reporting.own_folder import REPORT, holds_report
from busi.reporting.pooling import Fit, join, rows_by_source
from busi.reporting.segmentation import describe_masks
from busi.reporting.settings import describe_settings, share_settings
from busi.reporting.settings_left_out import describe_settings_left_out
from busi.reporting.titles import about_missing, name_data, name_models, name_tested, title_of
from busi.reporting.words import DUPLICATES, PATIENTS, count_groups, name_groups, warn_of_few
from busi.runs import Variant, read_variants

log = logging.getLogger(__name__)

INTERVALS = (
    "Intervals are at 95 %: of 2,000 bootstrap resamples of whole {groups}{within}, and near 0 and 1 from "
    "their number (Wilson; Newcombe for AUROC). They do not contain what another training would change."
)

RESEARCH = "Research only: not a medical device."


def report_runs(folders: Sequence[Path], output: Path, partial: bool = False) -> Path:
    """Report finished runs; see `busi.runs.read_variants` and `write_report`.

    Args:
        folders: Run folders, or folders of them.
        output: The folder of the report.
        partial: Report fewer folds than the split has.

    Raises:
        InputError: See `busi.runs.read_variants`; or settings cannot be compared, or the folder holds the
            report of another command.
    """
    if not holds_report(output):
        check_overwritten(output, REPORT, "report on runs")
    variants = read_variants(folders, partial)
    settings = any(variant.setting for variant in variants)
    if settings:
        variants = share_settings(variants)
    if len({variant.held_out for variant in variants}) > 1:
        return report_left_out(variants, output, settings)
    if settings:
        return report_settings(variants, output)
    return write_report(variants, output, title_of(variants), about_split(variants))


def report_settings(variants: Sequence[Variant], output: Path) -> Path:
    """Compare runs of different settings with the first of them; see `write_comparison`."""
    held = variants[0].held_out
    data = f"{name_data([held])}, which was held out" if held else name_tested(variants[0])
    number = len({variant.setting for variant in variants})
    title = f"Comparison of {number} settings on {data}{about_missing(variants)}"
    hint = "A report on the runs of one setting alone has its other tables and figures."
    return write_comparison(variants, output, title, about_split(variants), hint)


def write_comparison(
    variants: Sequence[Variant],
    output: Path,
    title: str,
    about: str,
    hint: str,
    *,
    fit: Fit | None = None,
    first: Sequence[Section] = (),
    extra: Mapping[str, object] = MappingProxyType({}),
    place: Path | None = None,
) -> Path:
    """Write a page that compares settings, each on the same images, and its content as JSON.

    Args:
        variants: See `share_settings`.
        output: The folder of the report.
        title: Of the page.
        about: How test images were kept apart from training images.
        hint: Where other tables and figures are.
        fit: Gives the calibration; None where the validation images of the runs do.
        first: Sections that come before the others.
        extra: What else ``report.json`` says.
        place: Where the folder will be, if it is written elsewhere first.

    Raises:
        InputError: If the settings cannot be compared, or the folder cannot be written.
    """
    began = time.monotonic()
    sections, content = describe_settings(variants, fit)
    origin, more = describe_origin(variants, about)
    with writing_to(output):
        write_json(output / "report.json", {**extra, "title": title, "comparison": content, **more})
        page = write_page(output, title, f"{lead(variants)} {hint}", [*first, *sections, origin])
    log.info("Finished in %.0f s: %s", time.monotonic() - began, (place or output) / page.name)
    return page


def report_left_out(variants: Sequence[Variant], output: Path, settings: bool) -> Path:
    """Report runs that leave out different hospitals, beside those that leave out none.

    Args:
        variants: See `busi.runs.read_variants` and `share_settings`.
        output: The folder of the report.
        settings: Whether there are several, which are compared.

    Raises:
        InputError: If the settings cannot be compared, or the folder cannot be written.
    """
    began = time.monotonic()
    apart = {variant.held_out: variant for variant in variants}
    on = f"on hospitals left out, {name_data(name for name in apart if name is not None)}"
    if settings:
        sections, content = describe_settings_left_out(variants)
        number = len({variant.setting for variant in variants})
        title, name, key = f"Comparison of {number} settings {on}", "comparison", None
    else:
        log.info("Measuring each hospital that was left out")
        section, content = describe_left_out(variants)
        sections = [section, *describe_curves(variants)]
        title, name = f"Report: {name_models(variants)} {on}", "left_out"
        key = find_key_of_left_out(content, warn(variants))
    origin, more = describe_origin(variants, " ".join(about_split([one]) for one in apart.values()))
    groups = name_groups(variants[0].seeds[0][0]).partition(":")[0]
    intervals = INTERVALS.format(groups=groups, within=" within sources and folds")
    with writing_to(output):
        write_json(output / "report.json", {"title": title, name: content, **more})
        about = [warn(variants) * (key is None), intervals, warn_of_few(variants), RESEARCH]
        page = write_page(output, title, " ".join(filter(None, about)), [*sections, origin], key)
    log.info("Finished in %.0f s: %s", time.monotonic() - began, page)
    return page


def write_report(
    variants: Sequence[Variant],
    output: Path,
    title: str,
    about: str,
    *,
    fit: Fit | None = None,
    first: Sequence[Section] = (),
    extra: Mapping[str, object] = MappingProxyType({}),
    place: Path | None = None,
) -> Path:
    """Write ``index.html``, ``report.json``, ``figures/`` and ``tables/``.

    Args:
        variants: The runs that are reported.
        output: The folder.
        title: Of the page.
        about: How test images were kept apart from training images.
        fit: Gives the calibration; None where the validation images of the runs do.
        first: Sections that come before the others.
        extra: What else ``report.json`` says.
        place: Where the folder will be, if it is written elsewhere first.

    Raises:
        InputError: If the folder cannot be written.
    """
    began = time.monotonic()
    sections: list[Section] = [*first]
    content: JsonObject = {
        **extra,
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
        more, content["diagnosis"] = describe_diagnosis(diagnosis, fit)
        sections += more
    sections += describe_curves(variants)
    section, origin = describe_origin(variants, about)
    with writing_to(output):
        write_json(output / "report.json", {**content, **origin})
        counts = {variant.name: count_images(variant) for variant in variants}
        numbers = {name: sum(found.values()) for name, found in counts.items()}
        several = any(len(found) > 1 for found in counts.values())
        groups = name_groups(variants[0].seeds[0][0]).partition(":")[0]
        key = find_key_results(content, warn(variants), numbers, groups, several)
        page = write_page(output, title, lead(variants), [*sections, section], key)
    log.info("Finished in %.0f s: %s", time.monotonic() - began, (place or output) / page.name)
    return page


def about_split(variants: Sequence[Variant]) -> str:
    """How the folds were made, and which sources were kept apart."""
    first, held_out = variants[0].seeds[0][0], variants[0].held_out
    split, number = first.run.provenance["split"], first.config.data.num_folds
    if held_out:
        trained = " and ".join(trained_on(variants[0]))
        return (
            f"Trained on {trained}, tested on {held_out}, which took part in no training, choice or "
            f"calibration. Split fingerprint {split}: {number} folds of "
            f"whole groups of near-duplicates. A run of fold k validates on the next fold of {trained}, "
            f"leaves their fold k out, and tests all images of {held_out}."
        )
    only = list(first.config.data.train_only)
    patients = {
        PATIENTS: "All images of a patient lie in the same fold.",
        DUPLICATES: "The data names no patients, so other frames of a lesion or patient may lie in another "
        "fold.",
    }.get(name_groups(first), "Where the data names no patient, other frames of one may lie in another fold.")
    alone = f"No image of {' or '.join(only)} validated or tested: they only trained." if only else ""
    return (
        f"Split fingerprint {split}: {number} folds of whole groups of "
        "near-duplicates, the same in both stages. A run of fold k is tested on fold k and validated on the "
        f"next fold. {patients} {alone}".rstrip()
    )


def count_images(variant: Variant) -> dict[str, int]:
    """Number of test images of each source."""
    columns = join(variant.seeds[0])
    return {source: int(here.sum()) for source, here in rows_by_source(columns).items()}


def lead(variants: Sequence[Variant]) -> str:
    """What a reader must know before the results."""
    whole = max(variants, key=lambda variant: sum(count_images(variant).values()))
    counts = count_images(whole)  # lesions without a mask count in the diagnosis alone
    parts = f" ({', '.join(f'{number} of {name}' for name, number in counts.items())})" * (len(counts) > 1)
    groups = name_groups(whole.seeds[0][0])
    images = f"{sum(counts.values())} test images{parts} in {count_groups(whole)} {groups}."
    strata = ["sources"] * bool(parts) + ["folds"] * (len(variants[0].folds) > 1 and not variants[0].held_out)
    within = f" within {' and '.join(strata)}" if strata else ""
    intervals = INTERVALS.format(groups=groups.partition(":")[0], within=within)
    return " ".join(filter(None, (warn(variants), images, intervals, warn_of_few(variants), RESEARCH)))


def warn(variants: Sequence[Variant]) -> str:
    """Why the numbers of runs mean nothing, if they do."""
    configs = [one.config for variant in variants for seed in variant.seeds for one in seed]
    warnings = []
    if any(config.data.name == "synthetic" for config in configs):
        warnings.append("Synthetic data: these numbers mean nothing medically.")
    if any(config.debug for config in configs):
        warnings.append("Debug runs: these numbers mean nothing.")
    if any(OmegaConf.select(config, "start.weights") for config in configs):
        warnings.append("These runs started from trained weights, named where the results come from.")
    return " ".join(warnings)
