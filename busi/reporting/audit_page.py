"""The page of an audit, which describes a data set before anything is trained on it."""

import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from busi.core import BENIGN, CLASSES, MALIGNANT, write_json, write_table, writing_to
from busi.data import read_gray, read_mask
from busi.figures import ANNOTATION, Block, Cell, PageFigure, Section, Table, draw_contour, write_page
from busi.reporting.audit import Audit, collect_findings, examine
from busi.reporting.survey import clusters
from busi.runs import describe_environment

log = logging.getLogger(__name__)

Findings = dict[str, Any]
"""What ``audit.json`` holds."""

NUM_SHOWN = 6
"""Number of clusters that are drawn."""


def write_audit(root: Path, output: Path, cache_dir: Path) -> Path:
    """Audit a folder in the BUSI layout; write ``index.html``, ``audit.json``, ``groups.csv``, ``figures/``.

    Raises:
        InputError: If the folder is missing, empty or of another layout, no image is readable, or `output`
            cannot be written.
    """
    began = time.monotonic()
    audit = examine(root, cache_dir)
    findings = collect_findings(audit)
    findings["seconds"] = round(time.monotonic() - began, 1)
    findings["environment"] = describe_environment("busi.audit")
    rows: list[dict[str, object]] = [
        {"id": record.id, "label": CLASSES[record.label], "group": int(group)}
        for record, group in zip(audit.records, audit.groups, strict=True)
    ]
    with writing_to(output):
        write_table(output / "groups.csv", rows)
        write_json(output / "audit.json", findings)
        page = write_page(output, f"Audit of {root.name}", lead(findings), draw_sections(audit, findings))
    log.info("Finished: %s", page)
    return page


def lead(findings: Findings) -> str:
    """The first sentence of the page."""
    total = sum(findings["images"].values())
    counts = ", ".join(f"{number} {name}" for name, number in findings["images"].items())
    return (
        f"{total} images ({counts}) in {findings['groups']} groups of near-duplicates. "
        f"Data fingerprint {findings['data']}. "
        f"Audited in {findings['seconds']:.0f} s by busi {findings['environment']['busi']}."
    )


def draw_sections(audit: Audit, findings: Findings) -> list[Section]:
    """All sections of the page."""
    return [
        _files(findings),
        _near_duplicates(audit, findings),
        _conflicts(audit, findings),
        _leak(findings),
        _lesions(audit, findings),
        _burned_in(audit, findings),
        _repeated(audit, findings),
    ]


def _files(findings: Findings) -> Section:
    bad: list[list[Cell]] = [[entry["file"], entry["problem"]] for entry in findings["unusable"]]
    blocks: list[Block] = [
        Table(
            ["", "number"],
            [
                *([f"{name} images", number] for name, number in findings["images"].items()),
                ["unusable images", len(bad)],
                ["distinct sizes", findings["distinct_sizes"]],
                ["height, pixels", " to ".join(map(str, findings["height"]))],
                ["width, pixels", " to ".join(map(str, findings["width"]))],
                ["pixel formats of images", _listed(findings["modes"])],
                ["pixel formats of masks", _listed(findings["mask_modes"])],
                ["images with several masks", len(findings["several_masks"])],
            ],
        )
    ]
    if several := findings["several_masks"]:
        blocks.append(f"Images with several masks, whose union is the annotation: {', '.join(several)}.")
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
    largest = sorted(clusters(audit.groups), key=len, reverse=True)[:NUM_SHOWN]
    figure = _draw_clusters(audit, largest)
    return Section(
        "Near-duplicates", [text, PageFigure("clusters", figure, "The largest clusters, one in each row")]
    )


def _conflicts(audit: Audit, findings: Findings) -> Section:
    if not audit.conflicts:
        return Section("Conflicting labels", ["No two images of the same frame have different labels."])
    number = sum(len(members) for members in audit.conflicts)
    text = (
        f"{len(audit.conflicts)} clusters with {number} images show the same frame under different labels: "
        "at least one label in each cluster is wrong. busi leaves these images out (data.conflicts=drop)."
    )
    rows: list[list[Cell]] = [[", ".join(ids)] for ids in findings["conflicts"]]
    figure = _draw_clusters(audit, audit.conflicts)
    return Section(
        "Conflicting labels",
        [
            text,
            Table(["images"], rows),
            PageFigure("conflicts", figure, "Near-duplicates whose labels differ, one cluster in each row"),
        ],
    )


def _leak(findings: Findings) -> Section:
    blocks: list[Block] = []
    if leak := findings["random_split_leak"]:
        blocks.append(
            f"In a random 80/20 split, {leak['mean']:.1%} of the test images have a near-duplicate among the "
            f"training images (standard deviation over 200 splits: {leak['sd']:.1%}). A test score on such a "
            "split is too high."
        )
    if baseline := findings["metadata_baseline"]:
        rows = [
            [f"{name} folds", values["accuracy"], values["balanced_accuracy"]]
            for name, values in baseline.items()
        ]
        caption = (
            "A random forest that sees only image size, gray histogram and burned-in annotations, "
            "in five-fold cross-validation"
        )
        blocks.append(Table(["", "accuracy", "balanced accuracy"], rows, caption))
        blocks.append(
            f"Always predicting the most common class gives an accuracy of {findings['majority']:.3f}. "
            "A network must do better than the grouped row. The difference between the rows is what "
            "near-duplicates add to a score."
        )
    return Section("What a random split leaks", blocks or ["There are too few images to estimate this."])


def _lesions(audit: Audit, findings: Findings) -> Section:
    rows: list[list[Cell]] = [[name, *values] for name, values in findings["lesion_share"].items()]
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    axis = figure.subplots()
    edges = np.geomspace(0.001, 1, 31).tolist()
    for label, color in ((BENIGN, "#0b5cad"), (MALIGNANT, "#c0392b")):
        shares = [s.lesion_share for s, y in zip(audit.summaries, audit.labels, strict=True) if y == label]
        axis.hist(shares, edges, alpha=0.6, label=CLASSES[label], color=color)
    axis.set(xscale="log", xlabel="share of the image that the lesion covers", ylabel="images")
    axis.legend()
    header = ["class", "lower quartile", "median", "upper quartile"]
    return Section(
        "Lesion size",
        [
            Table(header, rows, "Share of the image"),
            PageFigure("lesion_size", figure, "Lesion size by class"),
        ],
    )


def _burned_in(audit: Audit, findings: Findings) -> Section:
    rows: list[list[Cell]] = [[name, value] for name, value in findings["burned_in"].items()]
    text = (
        "An estimate: thin, sharp, bright strokes away from the border count as burned-in annotations. "
        "If their share differs between classes, a network can learn the class from them. Evaluate images "
        "with and without burned-in annotations separately."
    )
    found = [i for i, summary in enumerate(audit.summaries) if summary.burned_in]
    blocks: list[Block] = [text, Table(["class", "share of images"], rows)]
    if found:
        places = np.linspace(0, len(found) - 1, min(8, len(found))).round().astype(int)
        figure = _draw_clusters(audit, [[found[p] for p in places[k : k + 4]] for k in (0, 4)])
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
    figure = Figure(figsize=(8, 3), layout="constrained")
    axis = figure.subplots()
    axis.hist([value for _, _, value in audit.repeated], np.linspace(0, 1, 41).tolist(), color="#0b5cad")
    axis.set(xlabel="Dice of two annotations of one frame", ylabel="pairs")
    return Section(
        "Frames annotated twice", [text, PageFigure("repeated_masks", figure, "Agreement of annotations")]
    )


def _draw_clusters(audit: Audit, rows: Sequence[Sequence[int]]) -> Figure:
    """Images in rows with their ids, annotations as contours; at most five of a row."""
    columns = min(5, max(2, *(len(row) for row in rows)))
    figure = Figure(figsize=(2.6 * columns, 2.4 * len(rows)), layout="constrained")
    axes = figure.subplots(len(rows), columns, squeeze=False)
    for axis in axes.ravel():
        axis.axis("off")
    for row, line in zip(rows, axes, strict=True):
        for i, axis in zip(row, line, strict=False):
            record = audit.records[i]
            gray = read_gray(record.image)
            mask = read_mask(record, *gray.shape)
            axis.imshow(gray, cmap="gray", vmin=0, vmax=255)
            axis.set_title(record.id, fontsize=8)
            draw_contour(axis, mask.astype(bool), ANNOTATION)
    return figure


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{name}: {number}" for name, number in counts.items()) or "-"
