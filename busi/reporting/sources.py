"""Sources in a report: what a number of several of them means, and tables by source."""

from collections.abc import Mapping, Sequence

from busi.core import CLASSES
from busi.figures import Block, Cell, Table
from busi.metrics import Estimates, average_sources
from busi.reporting.cells import JsonObject, cell, to_json
from busi.reporting.pooling import Columns, rows_by_source

MEAN = "mean over sources".replace(" ", "\N{NO-BREAK SPACE}")
"""Title of the mean over sources, each of which counts the same."""


def explain_mean(columns: Columns) -> list[Block]:
    """What a number of several sources is; nothing where there is one source."""
    if len(rows_by_source(columns)) == 1:
        return []
    return [
        "A number is of one source. Where no source is named, it is the mean over the sources in which it is "
        "defined, and its interval is of this mean. Each source counts the same, however many images it has."
    ]


def explain_classes(columns: Columns) -> list[Block]:
    """Which sources lack a class, and what their means over classes are; nothing where none does."""
    labels, lacking = columns["label"], []
    for source, rows in rows_by_source(columns).items():
        if absent := [name for k, name in enumerate(CLASSES) if not (labels[rows] == k).any()]:
            lacking.append(f"{source} has no {' and no '.join(absent)} images.")
    if not lacking:
        return []
    return [
        " ".join(
            [*lacking, "Balanced accuracy, macro-F1 and the mean AUROC are over the classes of a source."]
        )
    ]


def name_folds(folds: Sequence[int]) -> str:
    """``fold 0``, or ``folds 0, 2``."""
    return f"fold{'s' if len(folds) > 1 else ''} {', '.join(map(str, folds))}"


def source_table(
    names: Mapping[str, str], columns: Columns, found: Mapping[str, Mapping[str, Estimates]], caption: str
) -> list[Block]:
    """A table with a row for each source and one for their mean; nothing where there is one source.

    Args:
        names: Name of a metric -> title of its column.
        columns: Of the test images.
        found: Title of the first cell of a row -> metrics by source; an empty title has no cell.
        caption: Of the table.
    """
    kinds = rows_by_source(columns)
    if len(kinds) == 1:
        return []
    rows: list[list[Cell]] = []
    for title, sources in found.items():
        shown = {**sources, MEAN: average_sources(list(sources.values()))}
        for source, one in shown.items():
            number = int(kinds[source].sum()) if source in kinds else None
            first: list[Cell] = [title] if title else []
            rows.append([*first, source, number, *(cell(name, one) for name in names)])
    header = ["source", "images", *names.values()]
    return [Table(["guide", *header] if any(found) else header, rows, caption)]


def sources_to_json(found: Mapping[str, Estimates]) -> JsonObject:
    """The entry ``by_source`` of ``report.json``; none where there is one source."""
    return {"by_source": {name: to_json(one) for name, one in found.items()}} if len(found) > 1 else {}
