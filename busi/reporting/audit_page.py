"""The page of an audit, which describes a data set before anything is trained on it."""

import logging
import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np

from busi.core import CLASSES, check_overwritten, list_some, write_json, write_table, writing_to
from busi.data import find_data
from busi.figures import Block, Cell, PageFigure, Section, Table, write_page
from busi.reporting.audit import Audit, Findings, collect_findings, examine
from busi.reporting.audit_figures import MAX_ROWS, draw_agreement, draw_clusters, draw_lesion_sizes
from busi.reporting.audit_sections import NUM_SHOWN, show_origin, show_patients, show_published_folds
from busi.reporting.own_folder import holds_audit
from busi.reporting.survey import clusters
from busi.runs import describe_environment

log = logging.getLogger(__name__)

WRITTEN = ("audit.json", "groups.csv", "index.html")


def write_audit(
    data: str, output: Path, cache_dir: Path, labels: Mapping[str, str] = MappingProxyType({})
) -> Path:
    """Audit a data set; write ``index.html``, ``audit.json``, ``groups.csv`` and ``figures/``.

    Args:
        data: A name, manifest or folder, see `busi.data.find_data`.
        output: Where they go.
        cache_dir: Where decoded data is kept.
        labels: Other words for the classes, in a manifest or as names of folders.

    Raises:
        InputError: If there is no such data, it cannot be read, no image can be used, or `output` cannot be
            written, or holds something else.
    """
    began = time.monotonic()
    if not holds_audit(output):
        check_overwritten(output, WRITTEN, "audit")
    audit = examine(find_data(data, labels), cache_dir)
    findings = collect_findings(audit)
    findings["seconds"] = round(time.monotonic() - began, 1)
    findings["environment"] = describe_environment("busi.audit")
    rows: list[dict[str, object]] = [
        {
            "id": record.id,
            "source": record.source,
            "label": CLASSES[record.label],
            "near_duplicates": int(own),
            "group": int(group),
        }
        for record, own, group in zip(audit.records, audit.near_duplicates, audit.groups, strict=True)
    ]
    with writing_to(output):
        write_json(output / "audit.json", findings)  # first: it says whose the folder is
        write_table(output / "groups.csv", rows)
        page = write_page(
            output, f"Audit of {findings['root']}", lead(findings), draw_sections(audit, findings)
        )
    if number := len(findings["unusable"]):
        log.warning("%d files cannot be used: the page lists them", number)
    log.info("Finished: %s", page)
    return page


def lead(findings: Findings) -> str:
    """The first sentence of the page."""
    total = sum(findings["images"].values())
    counts = ", ".join(f"{number} {name}" for name, number in findings["images"].items())
    patients = f", of {found['patients']} patients" if (found := findings["patients"]) else ""
    return (
        f"{total} images ({counts}) in {findings['groups']} groups of near-duplicates{patients}. "
        f"Data fingerprint {findings['data']}. "
        f"Audited in {findings['seconds']:.0f} s by busi {findings['environment']['busi']}."
    )


def draw_sections(audit: Audit, findings: Findings) -> list[Section]:
    """All sections of the page."""
    return [
        _files(findings),
        show_origin(findings),
        _near_duplicates(audit, findings),
        _conflicts(audit, findings),
        show_patients(audit, findings),
        *show_published_folds(audit, findings),
        _leak(findings),
        _lesions(audit, findings),
        _burned_in(audit, findings),
        _repeated(audit, findings),
    ]


def _files(findings: Findings) -> Section:
    bad: list[list[Cell]] = [[entry["file"], entry["problem"]] for entry in findings["unusable"]]
    spacing = findings["spacing"]
    blocks: list[Block] = [
        Table(
            ["", ""],
            [
                *([f"{name} images", str(number)] for name, number in findings["images"].items()),
                ["unusable images", str(len(bad))],
                ["distinct sizes", str(findings["distinct_sizes"])],
                ["height, pixels", " to ".join(map(str, findings["height"]))],
                ["width, pixels", " to ".join(map(str, findings["width"]))],
                ["pixel formats of images", _listed(findings["modes"])],
                ["pixel formats of masks", _listed(findings["mask_modes"])],
                ["images with several masks", str(len(findings["several_masks"]))],
                ["lesions that nobody annotated", str(len(findings["not_annotated"]))],
                ["images of known pixel spacing", str(spacing["images"] if spacing else 0)],
                *([["spacing, mm a pixel", _range(spacing)]] if spacing else []),
            ],
        )
    ]
    if several := findings["several_masks"]:
        blocks.append(f"Images with several masks, whose union is the annotation: {list_some(several, 100)}.")
    blocks.append(Table(["file", "problem"], bad, "Unusable files") if bad else "Every file can be used.")
    return Section("Files", blocks)


def _near_duplicates(audit: Audit, findings: Findings) -> Section:
    if not findings["clusters"]:
        return Section("Near-duplicates", ["No two images show the same frame."])
    number = findings["images_with_a_near_duplicate"]
    text = (
        f"{number} images ({number / len(audit.records):.1%}) show the same frame as another image. "
        f"They form {findings['clusters']} clusters of re-crops and re-exports. "
        "groups.csv lists the group of every image. All images of a group must lie in the same fold."
    )
    largest = sorted(clusters(audit.near_duplicates), key=len, reverse=True)[:NUM_SHOWN]
    figure = draw_clusters(audit, largest)
    return Section(
        "Near-duplicates", [text, PageFigure("clusters", figure, "The largest clusters, one in each row")]
    )


def _conflicts(audit: Audit, findings: Findings) -> Section:
    conflicts = findings["conflicts"]
    if not conflicts:
        return Section("Conflicting labels", ["No two images of the same frame have different labels."])
    number = sum(len(ids) for ids in conflicts)
    text = (
        f"{len(conflicts)} clusters with {number} images show the same frame under different labels. "
        "Look at them: either a label in the cluster is wrong, or the search is, and the frames differ. "
        "Training leaves all of them out (data.conflicts=drop), unless data.conflicts=keep."
    )
    rows: list[list[Cell]] = [
        [", ".join(f"{one} ({CLASSES[audit.labels[audit.positions[one]]]})" for one in ids)]
        for ids in conflicts
    ]
    shown = [[audit.positions[one] for one in ids] for ids in conflicts]
    figure = draw_clusters(audit, shown)
    first = f"The first {MAX_ROWS} clusters of" if len(conflicts) > MAX_ROWS else "All"
    return Section(
        "Conflicting labels",
        [
            text,
            Table(["images"], rows),
            PageFigure(
                "conflicts", figure, f"{first} near-duplicates whose labels differ, one cluster in each row"
            ),
        ],
    )


def _leak(findings: Findings) -> Section:
    blocks: list[Block] = []
    if leak := findings["random_split_leak"]:
        blocks.append(
            f"In a random 80/20 split, {leak['mean']:.1%} of the test images have a near-duplicate among the "
            f"training images (standard deviation over 200 splits: {leak['sd']:.1%})."
            + " A test score on such a split is too high."
            * (leak["mean"] > 0)
        )
    if baseline := findings["metadata_baseline"]:
        rows = [
            [f"{name} folds", values["accuracy"], values["balanced_accuracy"]]
            for name, values in baseline.items()
        ]
        caption = (
            "A random forest that sees only image size, gray histogram and burned-in annotations, "
            f"in five-fold cross-validation on {sum(findings['images'].values())} images"
        )
        blocks.append(Table(["", "accuracy", "balanced accuracy"], rows, caption))
        blocks.append(
            f"Always predicting the most common class gives an accuracy of {findings['majority']:.3f}. "
            "A network must do better than the grouped row. The difference between the rows is what "
            f"{'near-duplicates and patients' if findings['patients'] else 'near-duplicates'} add to a score."
        )
    return Section("What a random split leaks", blocks or ["There are too few images to estimate this."])


def _lesions(audit: Audit, findings: Findings) -> Section:
    rows: list[list[Cell]] = [
        [name, sum(bool(one.masks) and CLASSES[one.label] == name for one in audit.records), *values]
        for name, values in findings["lesion_share"].items()
    ]
    if not rows:
        return Section("Lesion size", ["No lesion is annotated."])
    header = ["class", "annotated images", "lower quartile", "median", "upper quartile"]
    return Section(
        "Lesion size",
        [
            Table(header, rows, "Share of the image"),
            PageFigure("lesion_size", draw_lesion_sizes(audit), "Lesion size by class"),
        ],
    )


def _burned_in(audit: Audit, findings: Findings) -> Section:
    rows: list[list[Cell]] = [
        [name, findings["images"][name], value] for name, value in findings["burned_in"].items()
    ]
    text = (
        "An estimate: thin, sharp, bright strokes away from the border count as burned-in annotations. "
        "If their share differs between classes, a network can learn the class from them. Evaluate images "
        "with and without burned-in annotations separately."
    )
    found = [i for i, summary in enumerate(audit.summaries) if summary.burned_in]
    blocks: list[Block] = [text, Table(["class", "images", "share of them"], rows)]
    if found:
        places = np.linspace(0, len(found) - 1, min(8, len(found))).round().astype(int)
        lines = [[found[p] for p in places[k : k + 4]] for k in range(0, len(places), 4)]
        figure = draw_clusters(audit, lines)
        blocks.append(
            PageFigure("burned_in", figure, "Images that seem to have them, from the whole data set")
        )
    return Section("Burned-in annotations (calipers, text)", blocks)


def _repeated(audit: Audit, findings: Findings) -> Section:
    agreement = findings["repeated_masks"]
    if not agreement["pairs"]:
        return Section("Frames annotated twice", ["No frame was annotated twice."])
    text = (
        f"{agreement['pairs']} pairs of near-duplicates have an annotation each. The Dice of these two is "
        f"{agreement['mean_dice']:.2f} on average (median {agreement['median_dice']:.2f}). "
        f"In {agreement['below_half']} pairs it is below 0.5: their annotations outline different things. "
        "A model whose Dice is above the average agrees with an annotation at least as well as a second "
        "annotator does."
    )
    return Section(
        "Frames annotated twice",
        [text, PageFigure("repeated_masks", draw_agreement(audit), "Agreement of annotations")],
    )


def _range(spacing: dict[str, float]) -> str:
    return f"{spacing['smallest']:.4g} to {spacing['largest']:.4g}"


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{name}: {number}" for name, number in counts.items()) or "-"
