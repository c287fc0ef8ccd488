"""A run as a bundle that predicts without PyTorch."""

import contextlib
import logging
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata, resources
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, StrictUndefined
from rich.progress import track
from sklearn.metrics import f1_score

import busi
from busi.core import CLASSES, NORMAL, InputError, Record, read_table, writing_to
from busi.data import read_gray, read_mask, unletterbox
from busi.inference.bundle import GRAPH, Facts, Network, open_graph, write_facts
from busi.inference.onnx import BATCH_SIZE, squares_of, write_f16, write_graph, write_int8
from busi.inference.pipeline import Pipeline, as_network, find_run, load_pipeline
from busi.metrics import dice
from busi.runs import Run, find_records

log = logging.getLogger(__name__)

TOLERANCE = 1e-3
"""Largest difference of a probability between the graph and PyTorch."""
MAX_LOSS = {"dice": 0.01, "macro_f1": 0.02}
"""What a lower precision may cost on the validation fold."""
NUM_CHECKED = 64


@dataclass(frozen=True)
class Quality:
    """What a network reaches on annotated pictures.

    Attributes:
        num_pictures: How many there were.
        dice: Mean Dice of the lesions, at the pictures' own sizes.
        macro_f1: Of the most probable classes.
    """

    num_pictures: int
    dice: float
    macro_f1: float


def write_bundle(source: Path, output: Path, precision: str = "f32", root: Path | None = None) -> Facts:
    """Write a run as a bundle, and check it on the pictures of the run's own data.

    Writes ``model.onnx``, ``model.json``, ``README.md`` (the model card), ``example.py`` and ``LICENSE``.

    Args:
        source: Run folder.
        output: Folder of the bundle; appears once the bundle is whole.
        precision: ``f32``; ``f16`` for a file of half the size, whose weights are 16-bit floats and computed
            with in float32; or ``int8`` for a graph that computes in 8-bit integers.
        root: Where the data lies, if it was moved.

    Raises:
        InputError: If the run, its data or the packages are missing, the bundle fails its checks, or `output`
            is not empty or cannot be written.
    """
    if output.exists() and any(output.iterdir()):
        raise InputError(f"{output} is not empty: give a new folder with --output")
    pipeline, facts = load_pipeline(source)
    run = find_run(source)
    if run is None:
        raise InputError(
            f"{source} is a checkpoint: export needs its run folder, to calibrate and to check on pictures"
        )
    splits = pictures_of(run, root)
    with writing_to(output):
        output.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        stack.enter_context(writing_to(output))
        output.parent.mkdir(parents=True, exist_ok=True)
        name = stack.enter_context(tempfile.TemporaryDirectory(prefix=f".{output.name}-", dir=output.parent))
        folder = Path(name) / "bundle"
        folder.mkdir()
        write_graph(pipeline, facts.image_size, folder / GRAPH)
        about: dict[str, Any] = {
            "precision": "float32",
            **check_graph(pipeline, facts, folder, splits["val"]),
        }
        if precision != "f32":
            about |= lower_precision(precision, facts, folder, splits)
        write_facts(folder, facts, about)
        write_words(folder, facts, about)
        if output.exists():
            output.rmdir()
        folder.rename(output)
    log.info("%s, %.1f MB: %s", about["precision"], (output / GRAPH).stat().st_size / 1e6, output)
    return facts


def check_graph(pipeline: Pipeline, facts: Facts, folder: Path, records: Sequence[Record]) -> dict[str, Any]:
    """Compare the graph with PyTorch on real pictures.

    Raises:
        InputError: If a probability differs by more than `TOLERANCE`.
    """
    graph, network = open_graph(folder / GRAPH), as_network(pipeline)
    checked = records[:: max(1, len(records) // NUM_CHECKED)][:NUM_CHECKED]
    largest = 0.0
    for squares in track(squares_of(checked, facts.image_size), "checking", -(-len(checked) // BATCH_SIZE)):
        pairs = zip(graph(squares), network(squares), strict=True)
        largest = max(largest, *(float(np.abs(one - other).max()) for one, other in pairs))
    if not largest <= TOLERANCE:
        raise InputError(
            f"the graph differs from PyTorch by {largest:.2g}, over {TOLERANCE}: it cannot be exported"
        )
    log.info("Graph and PyTorch differ by at most %.1e on %d pictures", largest, len(checked))
    return {"num_checked": len(checked), "largest_difference": largest}


def lower_precision(
    precision: str, facts: Facts, folder: Path, splits: dict[str, list[Record]]
) -> dict[str, Any]:
    """Turn the graph into one of a lower precision, ``f16`` or ``int8``; the latter needs training pictures.

    Raises:
        InputError: If it loses more on the validation fold than `MAX_LOSS`, or has nothing to be tried on.
    """
    before = measure(open_graph(folder / GRAPH), facts, splits["val"])
    if precision == "f16":
        write_f16(folder / GRAPH)
    else:
        write_int8(folder / GRAPH, splits["train"], facts.image_size)
    after = measure(open_graph(folder / GRAPH), facts, splits["val"])
    for name, most in MAX_LOSS.items():
        was, now = getattr(before, name), getattr(after, name)
        log.info("%s: validation %s %.3f instead of %.3f", precision, name, now, was)
        if not was - now <= most:
            raise InputError(
                f"{precision} brings the validation {name} from {was:.3f} to {now:.3f}, a loss of more than "
                f"{most}: export with --precision f32"
            )
    return {"precision": precision, "float32": vars(before), "reduced": vars(after)}


def measure(network: Network, facts: Facts, records: Sequence[Record]) -> Quality:
    """Measure masks and classes on annotated pictures.

    Raises:
        InputError: If none of them shows an annotated lesion.
    """
    found, predicted = [], []
    batches = squares_of(records, facts.image_size)
    for start in track(range(0, len(records), BATCH_SIZE), "measuring", transient=True):
        mask_probs, class_probs = network(next(batches))
        predicted += class_probs.argmax(axis=1).tolist()
        for record, square in zip(records[start : start + BATCH_SIZE], mask_probs, strict=True):
            if record.label != NORMAL and record.annotated:
                height, width = read_gray(record.image).shape
                mask = read_mask(record, height, width).astype(bool)
                found.append(dice(facts.mask_rule(unletterbox(square, height, width)), mask))
    if not found:
        raise InputError(
            "a lower precision cannot be tried: no validation picture has an annotated lesion. Export f32"
        )
    labels = [record.label for record in records]
    macro_f1 = f1_score(labels, predicted, labels=range(len(CLASSES)), average="macro", zero_division=0)
    return Quality(len(records), float(np.mean(found)), float(macro_f1))


def pictures_of(run: Run, root: Path | None) -> dict[str, list[Record]]:
    """Training and validation pictures of a run.

    Raises:
        InputError: If they are not where they were.
    """
    records = find_records(run, root)
    rows = read_table(run.folder / "split.csv")
    splits = {name: [row["id"] for row in rows if row["split"] == name] for name in ("train", "val")}
    if missing := [name for names in splits.values() for name in names if name not in records]:
        raise InputError(f"{len(missing)} pictures of {run.folder} are gone, e.g. {missing[0]}: give --data")
    return {split: [records[name] for name in names] for split, names in splits.items()}


def write_words(folder: Path, facts: Facts, about: dict[str, Any]) -> None:
    """Write the model card, the example and the licence."""
    bundled = resources.files("busi.inference") / "bundle_template"
    environment = Environment(undefined=StrictUndefined, trim_blocks=True)
    environment.filters["number"] = lambda value: "undefined" if value is None else f"{value:.3f}"
    card = environment.from_string((bundled / "README.md").read_text(encoding="utf-8"))
    words = card.render(facts=facts, graph=about, classes=CLASSES, version=busi.__version__)
    (folder / "README.md").write_text(words, encoding="utf-8")
    (folder / "example.py").write_bytes((bundled / "example.py").read_bytes())
    (folder / "LICENSE").write_text(metadata.distribution("busi").read_text("licenses/LICENSE") or "")
