"""The section about the shortcut: in a pool, "normal" may mean "that scanner"."""

from collections.abc import Mapping, Sequence

from busi.core import CLASSES
from busi.figures import Block, Cell, Section, Table
from busi.metrics import Estimate, defined
from busi.reporting.cells import JsonObject, show
from busi.reporting.pooling import Scored, rows_by_source
from busi.reporting.probes import (
    KINDS,
    MEASURES,
    NORMALS,
    CalledNormal,
    MeanProbe,
    mean_probe,
    of_tested,
    of_validated,
)
from busi.runs import Shortcut, Variant, read_shortcut

PARTS = {"all": "all images", **{name: f"{name} alone" for name in CLASSES}}
SPLITS = {"test": "test", "val": "validation, each run"}
PROBES = (
    "Can the classifier tell the source of an image? The features are what its last layer reads. A linear "
    "model learns from them, on images that did not train the classifier, which source an image is from, and "
    "is judged on others. It is compared with the same model on the size of the image and its gray levels "
    "alone, which needs no network, and on the true class alone. Values are means over runs, and limits are "
    "means of the limits of runs: where runs judge different images, the interval of the mean is narrower. "
    "Images are those that a run judges the model on."
)
MEANING = (
    "What it means: if the features tell the source, the classifier can take a scanner for a class. That it "
    "can does not say that it does: images of two scanners differ, and size and gray levels alone may tell "
    "them as well.",
    "All images of a source share its scanners, so the recall of normals within a source says what the "
    "classifier sees in the tissue. If it is much lower in one source than in another, normal may mean the "
    "other scanner.",
    "If lesions of a source with many normals are called normal more often than those of a source with few, "
    "that is the harm that the shortcut does.",
)


def describe_shortcut(
    variants: Sequence[Variant], scored: Mapping[str, Sequence[Scored]]
) -> tuple[list[Section], JsonObject]:
    """The section, and its content as JSON; nothing where a single source was scored.

    Args:
        variants: One for each guide.
        scored: Calibrated predictions by guide, seed by seed.
    """
    probe_rows: list[list[Cell]] = []
    normal_rows: list[list[Cell]] = []
    notes: dict[str, None] = {}
    values = JsonObject()
    for variant in variants:
        read = [read_shortcut(one.run) for seed in variant.seeds for one in seed]
        found, seeds = [one for one in read if one is not None], scored[variant.name]
        if not found and len(rows_by_source(seeds[0].columns)) == 1:
            continue
        probes = {part: probe for part in PARTS if (probe := mean_probe(found, part))}
        called = [*of_tested(seeds), *of_validated(seeds, found)]
        probe_rows += [
            [variant.name, PARTS[part], *cells]
            for part, probe in probes.items()
            for cells in list_cells(probe, len(read))
        ]
        normal_rows += [
            [variant.name, one.source, SPLITS[one.split], *one.counts, *map(show, one.shares.values())]
            for one in called
        ]
        notes |= dict.fromkeys(list_notes(found, len(read)))
        values[variant.name] = to_content(probes, called)
    if not values:
        return [], {}
    told = ["told from", *MEASURES.values(), "chance", "sources", "runs", "images"]
    caption = "How well the source is told: chance is the balanced accuracy of guessing, whose AUROC is 0.5"
    blocks: list[Block] = [
        PROBES,
        *([Table(["guide", "images", *told], probe_rows, caption)] if probe_rows else []),
        *notes,
        Table(
            ["guide", "source", "split", "normals", "lesions", *NORMALS.values()],
            normal_rows,
            "What is called normal within each source",
        ),
        *MEANING,
    ]
    return [Section("The shortcut", blocks)], values


def list_cells(probe: MeanProbe, num_runs: int) -> list[list[Cell]]:
    """The rows of a probe, after guide and images: one for each of `KINDS` that it has."""
    runs = f"{probe.runs} of {num_runs}".replace(" ", "\N{NO-BREAK SPACE}")
    end: list[Cell] = [probe.chance, ", ".join(probe.sources), runs, probe.num_judged]
    return [[KINDS[kind], *map(show, told.values()), *end] for kind, told in probe.told.items()]


def list_notes(found: Sequence[Shortcut], num_runs: int) -> list[str]:
    """What has no numbers, and why."""
    notes = [f"{num_runs - len(found)} of {num_runs} runs have no shortcut.json."] * (len(found) < num_runs)
    for one in found:
        notes += [f"No probe in some runs: {one.skipped}."] if one.skipped else []
        notes += [f"No probe of the features in some runs: {one.no_features}."] if one.no_features else []
        notes += [f"{name} is in no probe of some runs: {why}." for name, why in one.left_out.items()]
        skipped = {part: x.skipped for part, x in one.probes.items() if part in PARTS and x.skipped}
        notes += [f"{PARTS[part].capitalize()}: {why}." for part, why in skipped.items()]
    return notes


def to_content(probes: Mapping[str, MeanProbe], called: Sequence[CalledNormal]) -> JsonObject:
    """The entry of a guide in ``report.json``."""
    return {
        "probes": {
            part: {
                "sources": list(one.sources),
                "runs": one.runs,
                "num_judged": one.num_judged,
                "chance": defined(one.chance),
                **{kind: {name: _json(x) for name, x in told.items()} for kind, told in one.told.items()},
            }
            for part, one in probes.items()
        },
        "called_normal": {
            one.source: {
                "split": one.split,
                "num_normals": one.counts[0],
                "num_lesions": one.counts[1],
                **{name: _json(x) for name, x in one.shares.items()},
            }
            for one in called
        },
    }


def _json(one: Estimate) -> JsonObject:
    return {key: defined(x) for key, x in one._asdict().items()}
