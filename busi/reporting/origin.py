"""The section about the origin of the results: data, split, runs, versions, machine."""

import sys
from collections.abc import Sequence
from pathlib import Path

from omegaconf import OmegaConf

from busi.core import list_some
from busi.figures import Block, Cell, Section, Table
from busi.reporting.cells import JsonObject
from busi.runs import Predictions, Run, Variant, describe_environment, now, read_split


def describe_origin(variants: Sequence[Variant], about: str) -> tuple[Section, JsonObject]:
    """The section about data and runs, and its content as JSON.

    Args:
        variants: Of the report.
        about: How test images were kept apart from training images.
    """
    written = now()
    environment = describe_environment(f"busi.{Path(sys.argv[0]).stem}")
    found = [one for variant in variants for seed in variant.seeds for one in seed]
    first = found[0].run
    dropped = read_dropped(found[0])
    counts = ", ".join(f"{len(ids)} ({why})" for why, ids in dropped.items())
    commands = dict.fromkeys(one.run.provenance["command"] for one in found)
    blocks: list[Block] = [
        f"Data {first.config.data.name}, fingerprint {first.provenance['data']}.",
        about,
        Table(
            ["reason", "dropped", "images"],
            [[why, len(ids), list_some(ids, 100)] for why, ids in dropped.items()],
            f"Dropped images: {counts}; split.csv lists all",
            folded=True,
        )
        if dropped
        else "No image was dropped.",
        Table(
            [
                *("run", "stage or guide", "seed", "fold", "epoch saved, from 0", "finished", "seconds"),
                *("device", "commit"),
            ],
            describe_runs(variants),
            "Runs",
        ),
        *start_tables(found),
        *member_tables(found),
        Table(["command"], [[command] for command in commands], "Commands of the runs"),
        Table(["", ""], [[name, value] for name, value in software(found).items()], "Software and machine"),
        f"This report: {environment['command']} (busi {environment['busi']}, commit "
        f"{environment['git_commit'] or 'unknown'}), written on {show_time(written)}.",
    ]
    return Section("Where the results come from", blocks), {
        "data": first.provenance["data"],
        "split": first.provenance["split"],
        "dropped": dropped,
        "runs": [{"folder": one.run.shown, **one.run.provenance} for one in found],
        "environment": {**environment, "written": written},
    }


def read_dropped(one: Predictions) -> dict[str, list[str]]:
    """Reason -> ids of the images that were left out of the folds."""
    rows = [row for row in read_split(one.run) if row["reason"]]
    return {
        why: [row["id"] for row in rows if row["reason"] == why]
        for why in sorted({r["reason"] for r in rows})
    }


def describe_runs(variants: Sequence[Variant]) -> list[list[Cell]]:
    """A row for each run; one for what another tool submitted, of which no more than the folds is known."""
    rows: list[list[Cell]] = []
    for variant in variants:
        if variant.submitted:
            folds = ", ".join(map(str, variant.folds))
            rows.append([variant.seeds[0][0].run.shown, variant.name, "unknown", folds, *[None] * 5])
        else:
            rows += [describe_run(one) for seed in variant.seeds for one in seed]
    return rows


def describe_run(one: Predictions) -> list[Cell]:
    """The row of a run."""
    provenance = one.run.provenance
    commit = str(provenance["git_commit"] or "unknown")
    return [
        one.run.shown,
        one.variant,
        ", ".join(map(str, one.seeds)) or "unknown",
        one.fold,
        show_epoch(one.run),
        show_time(provenance["finished"]),
        round(provenance["seconds"]),
        provenance["device"],
        commit[:10] + ("-dirty" if commit.endswith("-dirty") else ""),
    ]


def show_epoch(run: Run) -> Cell:
    """The epoch that a run saved, counted from 0, and whether it was the best or just the last."""
    epoch: int | None = run.provenance["epoch"]
    if epoch is None or run.members:
        return epoch
    return f"{epoch} ({'best' if run.config.callbacks.checkpoint.monitor else 'last'})"


def start_tables(found: Sequence[Predictions]) -> list[Block]:
    """A table of what runs started from; none where all of them started with the usual encoder weights."""
    rows: list[list[Cell]] = []
    for one in found:
        start = one.run.provenance["upstream"].get("start")
        weights = OmegaConf.select(one.config, "start.weights")
        if weights or start:
            rows.append([one.run.shown, str(start or one.config.encoder_weights), weights])
    columns = ["run", "started from", "fingerprint of these weights"]
    return [Table(columns, rows, "Runs that started from trained weights")] if rows else []


def member_tables(found: Sequence[Predictions]) -> list[Block]:
    """A table of the members of ensembles; none without ensembles."""
    runs = [one.run for one in found if one.run.members]
    rows: list[list[Cell]] = [[run.shown, ", ".join(run.members)] for run in runs]
    return [Table(["ensemble", "members"], rows, "Members of the ensembles")] if rows else []


def show_time(time: str) -> str:
    """Show a time of `busi.runs.provenance.now` to the minute."""
    return f"{time[:16].replace('T', ' ')} UTC"


def software(found: Sequence[Predictions]) -> dict[str, str]:
    """Versions and machines of the runs; all of them where the runs differ."""
    values: dict[str, dict[str, None]] = {}
    for one in found:
        provenance = one.run.provenance
        for name in ("busi", "python", "system", "num_cpus", "gpu"):
            values.setdefault(name, {})[str(provenance[name] or "none")] = None
        for name, version in provenance["packages"].items():
            values.setdefault(name, {})[version] = None
    return {name: " and ".join(different) for name, different in values.items()}
