"""The section about hospitals that were left out: each beside itself when it was in training."""

from collections.abc import Sequence
from itertools import product

from busi.figures import Block, Cell, Section, Table
from busi.metrics import Estimates
from busi.reporting.cells import JsonObject, cell, to_json
from busi.reporting.estimates import estimate, estimate_masks
from busi.reporting.metric_titles import KEY_MASK_METRICS, SHORT, entitle
from busi.reporting.pooling import join, score
from busi.runs import Variant, read_split

MASKS = entitle(KEY_MASK_METRICS, SHORT)
"""Metrics of the masks that the page has room for, and their titles."""
DIAGNOSIS = entitle(("auroc_malignant", "recall_malignant", "recall_normal", "brier"), SHORT)
"""The same of the diagnosis."""
EXPLANATION = (
    "Each hospital in turn took part in no training, choice or calibration, and all of its images tested: "
    "this is what another hospital can expect. Below it stands the same hospital when it was in training, if "
    "such runs were given, measured on its test folds. Both rows are of the same images only if all folds "
    "were run: compare their numbers of images first. Metrics are those of a report on each alone, as means "
    "over trainings."
)


def describe_left_out(variants: Sequence[Variant]) -> tuple[Section, JsonObject]:
    """The section with a row for each hospital that was left out, and its content as JSON.

    Args:
        variants: Of runs that leave out different hospitals, and of others that leave out none.
    """
    blocks: list[Block] = [EXPLANATION]
    content: JsonObject = {}
    sources = dict.fromkeys(one.held_out for one in variants if one.held_out)
    for name in dict.fromkeys(one.name for one in variants):
        metrics = MASKS if name == "segmentation" else DIAGNOSIS
        rows: list[list[Cell]] = []
        found: dict[str, JsonObject] = {source: {} for source in sources}
        named = [one for one in variants if one.name == name]
        named.sort(key=lambda one: one.held_out is None)
        for source, (one, measured) in product(sources, [(one, measure_sources(one)) for one in named]):
            if source not in measured:
                continue
            number, estimates = measured[source]
            kind = "left out" if one.held_out else "in training"
            trained, values = trained_on(one), [cell(metric, estimates) for metric in metrics]
            trainings = one.trainings if one.num_members else len(one.seeds)
            rows.append([f"{source}, {kind}", " and ".join(trained), trainings, number, *values])
            found[source][kind.replace(" ", "_")] = {
                "trained_on": trained,
                "trainings": len(one.seeds),
                "num_images": number,
                "metrics": to_json(estimates),
            }
        header = ["hospital", "trained on", "trainings", "images", *metrics.values()]
        title = "Masks" if name == "segmentation" else f"Diagnosis, guide {name}"
        blocks.append(Table(header, rows, title))
        content[name] = found
    return Section("Hospitals left out", blocks), content


def measure_sources(variant: Variant) -> dict[str, tuple[int, Estimates]]:
    """Number of test images of each source, and their metrics."""
    if variant.name == "segmentation":
        joined = [join(seed) for seed in variant.seeds]
        columns, found = joined[0], estimate_masks(joined)
    else:
        scored = [score(seed) for seed in variant.seeds]
        columns, found = scored[0].columns, estimate(scored)
    return {source: (int((columns["source"] == source).sum()), one) for source, one in found.items()}


def trained_on(variant: Variant) -> list[str]:
    """The sources whose images trained."""
    rows = read_split(variant.seeds[0][0].run)
    return list(dict.fromkeys(row["source"] for row in rows if row["split"] == "train"))
