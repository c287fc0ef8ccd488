"""The page of an audit: what a data set is like, before anything is trained on it."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from busi.core import CLASSES, write_json, write_table, writing_to
from busi.data import read_gray, read_mask
from busi.figures import ANNOTATION, Block, Cell, Picture, Section, Table, draw_contour, write_page
from busi.reporting.audit import Audit, examine
from busi.reporting.survey import clusters
from busi.runs import describe_environment

log = logging.getLogger(__name__)

NUM_SHOWN = 6
"""Clusters that are drawn."""


def write_audit(root: Path, output: Path, cache_dir: Path) -> Path:
    """Audit a folder in the BUSI layout; write ``index.html``, ``audit.json``, ``groups.csv``, ``figures/``.

    Raises:
        InputError: If the folder is missing, empty or of another layout, or nothing in it is readable.
    """
    audit = examine(root, cache_dir)
    facts = {**audit.facts, "environment": describe_environment("busi.audit")}
    rows: list[dict[str, object]] = [
        {"id": record.id, "label": CLASSES[record.label], "group": int(group)}
        for record, group in zip(audit.records, audit.groups, strict=True)
    ]
    with writing_to(output):
        write_table(output / "groups.csv", rows)
        write_json(output / "audit.json", facts)
        page = write_page(output, f"Audit of {root.name}", lead(facts), draw_sections(audit))
    log.info("Finished: %s", page)
    return page


def lead(facts: dict[str, Any]) -> str:
    """The first sentence of the page."""
    total = sum(facts["pictures"].values())
    counts = ", ".join(f"{number} {name}" for name, number in facts["pictures"].items())
    return (
        f"{total} pictures ({counts}) in {facts['groups']} groups of near-duplicates. Data fingerprint "
        f"{facts['data']}. Looked at in {facts['seconds']:.0f} s by busi {facts['environment']['busi']}."
    )


def draw_sections(audit: Audit) -> list[Section]:
    """All sections of the page."""
    return [
        _files(audit),
        _copies(audit),
        _conflicts(audit),
        _leak(audit),
        _lesions(audit),
        _marks(audit),
        _repeated(audit),
    ]


def _files(audit: Audit) -> Section:
    facts = audit.facts
    bad: list[list[Cell]] = [[entry["file"], entry["problem"]] for entry in facts["unusable"]]
    blocks: list[Block] = [
        Table(
            ["", "number"],
            [
                *([f"{name} pictures", number] for name, number in facts["pictures"].items()),
                ["unusable pictures", len(bad)],
                ["distinct sizes", facts["distinct_sizes"]],
                ["height, pixels", " to ".join(map(str, facts["height"]))],
                ["width, pixels", " to ".join(map(str, facts["width"]))],
                ["modes of pictures", _listed(facts["modes"])],
                ["modes of masks", _listed(facts["mask_modes"])],
                ["pictures with several masks", len(facts["several_masks"])],
            ],
        )
    ]
    if facts["several_masks"]:
        blocks.append(f"Several masks, whose union is the annotation: {', '.join(facts['several_masks'])}.")
    blocks.append(Table(["file", "problem"], bad, "Unusable files") if bad else "Every file can be used.")
    return Section("Files", blocks)


def _copies(audit: Audit) -> Section:
    facts, total = audit.facts, len(audit.records)
    if not facts["clusters"]:
        return Section("Near-duplicates", ["No two pictures show the same frame."])
    text = (
        f"{facts['pictures_with_a_copy']} pictures ({facts['pictures_with_a_copy'] / total:.1%}) show the "
        f"same frame as another one: {facts['clusters']} clusters of re-crops and re-exports. "
        "groups.csv has the group of every picture; a group must not cross a fold."
    )
    largest = sorted(clusters(audit.groups), key=len, reverse=True)[:NUM_SHOWN]
    figure = _draw_clusters(audit, largest)
    return Section("Near-duplicates", [text, Picture("clusters", figure, "The largest clusters, one a row")])


def _conflicts(audit: Audit) -> Section:
    if not audit.conflicts:
        return Section("Conflicting labels", ["No two copies of one frame carry different labels."])
    number = sum(len(members) for members in audit.conflicts)
    text = (
        f"{len(audit.conflicts)} clusters, {number} pictures, show the same frame under different labels: at "
        "least one label of each is wrong. busi leaves them out (data.conflicts=drop)."
    )
    rows: list[list[Cell]] = [[", ".join(ids)] for ids in audit.facts["conflicts"]]
    figure = _draw_clusters(audit, audit.conflicts)
    return Section(
        "Conflicting labels",
        [
            text,
            Table(["pictures"], rows),
            Picture("conflicts", figure, "Copies whose labels differ, a cluster a row"),
        ],
    )


def _leak(audit: Audit) -> Section:
    facts, blocks = audit.facts, list[Block]()
    if leak := facts["random_split_leak"]:
        blocks.append(
            f"In a random 80/20 split {leak['mean']:.1%} of the test pictures have a near-duplicate in "
            f"training (standard deviation over 200 splits {leak['sd']:.1%}). A score on such a split is not "
            "held out."
        )
    if baseline := facts["metadata_baseline"]:
        rows = [
            [f"{way} folds", values["accuracy"], values["balanced_accuracy"]]
            for way, values in baseline.items()
        ]
        caption = "A random forest that sees size, gray histogram and marks alone, five-fold cross-validation"
        blocks.append(Table(["", "accuracy", "balanced accuracy"], rows, caption))
        blocks.append(
            f"Always saying the most common class gives {facts['majority']:.3f}. What a network scores "
            "counts above the grouped row; the distance between the rows is what copies give for nothing."
        )
    return Section("What a careless split gives away", blocks or ["Too few pictures to estimate it."])


def _lesions(audit: Audit) -> Section:
    rows: list[list[Cell]] = [[name, *values] for name, values in audit.facts["lesion_share"].items()]
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    axis = figure.subplots()
    edges = np.geomspace(0.001, 1, 31).tolist()
    for label, colour in ((1, "#0b5cad"), (2, "#c0392b")):
        shares = [p.lesion_share for p, y in zip(audit.portraits, audit.labels, strict=True) if y == label]
        axis.hist(shares, edges, alpha=0.6, label=CLASSES[label], color=colour)
    axis.set(xscale="log", xlabel="share of the picture that the lesion covers", ylabel="pictures")
    axis.legend()
    header = ["class", "lower quartile", "median", "upper quartile"]
    return Section(
        "Lesion size",
        [Table(header, rows, "Share of the picture"), Picture("lesion_size", figure, "Lesion size by class")],
    )


def _marks(audit: Audit) -> Section:
    rows: list[list[Cell]] = [[name, value] for name, value in audit.facts["marked"].items()]
    text = (
        "An estimate from thin, sharp, bright strokes away from the border. Where classes differ, a network "
        "can read the class off the marks: look at marked and unmarked pictures apart."
    )
    marked = [i for i, portrait in enumerate(audit.portraits) if portrait.marked]
    blocks: list[Block] = [text, Table(["class", "share of pictures with marks"], rows)]
    if marked:
        places = np.linspace(0, len(marked) - 1, min(8, len(marked))).round().astype(int)
        figure = _draw_clusters(audit, [[marked[p] for p in places[k : k + 4]] for k in (0, 4)])
        blocks.append(Picture("marks", figure, "Pictures that seem to be marked, from all over the data set"))
    return Section("Callipers and text in the pictures", blocks)


def _repeated(audit: Audit) -> Section:
    facts = audit.facts["repeated_masks"]
    if not facts["pairs"]:
        return Section("Annotations drawn twice", ["No frame was annotated twice."])
    text = (
        f"{facts['pairs']} pairs of copies have two annotations of the same lesions. Their Dice is "
        f"{facts['mean_dice']:.2f} on average (median {facts['median_dice']:.2f}; {facts['below_half']} "
        "pairs below 0.5, which mark different things). Above that a model cannot be told from a second "
        "annotator."
    )
    figure = Figure(figsize=(8, 3), layout="constrained")
    axis = figure.subplots()
    axis.hist([value for _, _, value in audit.repeated], np.linspace(0, 1, 41).tolist(), color="#0b5cad")
    axis.set(xlabel="Dice of two annotations of one frame", ylabel="pairs")
    return Section("Annotations drawn twice", [text, Picture("repeated", figure, "Agreement of annotations")])


def _draw_clusters(audit: Audit, rows: Sequence[Sequence[int]]) -> Figure:
    """Pictures in rows with their ids, annotations as contours; at most five of a row."""
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
