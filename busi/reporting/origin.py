"""Where the numbers come from: data, split, runs, versions, machine."""

import sys
from collections.abc import Sequence
from pathlib import Path

from busi.core import InputError, read_table
from busi.figures import Block, Cell, Section, Table
from busi.reporting.cells import Facts
from busi.runs import Arm, Predictions, describe_environment, now


def describe_origin(arms: Sequence[Arm], about: str) -> tuple[Section, Facts]:
    """The section on what was run.

    Args:
        arms: Of the report.
        about: How test pictures were kept apart from what was trained.
    """
    written = now()
    environment = describe_environment(f"busi.{Path(sys.argv[0]).stem}")
    found = [one for arm in arms for seed in arm.seeds for one in seed]
    first = found[0].run
    dropped = read_dropped(found[0])
    commands = dict.fromkeys(one.run.provenance["command"] for one in found)
    blocks: list[Block] = [
        f"Data {first.config.data.name}, fingerprint {first.provenance['data']}.",
        about,
        "What the split cannot promise: other frames of a lesion or patient may cross it where the data "
        "has no ids of patients.",
        Table(
            ["reason", "dropped", "pictures"],
            [[why, len(ids), ", ".join(ids)] for why, ids in dropped.items()],
        )
        if dropped
        else "No picture was dropped.",
        Table(
            ["run", "guide", "seed", "fold", "best epoch", "finished", "seconds", "device", "commit"],
            [describe_run(one) for one in found],
            "Runs",
        ),
        *members_of(found),
        Table(["command"], [[command] for command in commands], "Their commands"),
        Table(["", ""], [[name, value] for name, value in software(found).items()], "Software and machine"),
        f"This report: {environment['command']} (busi {environment['busi']}, commit "
        f"{environment['git_commit'] or 'unknown'}), written on {in_words(written)}.",
    ]
    return Section("Where the numbers come from", blocks), {
        "data": first.provenance["data"],
        "split": first.provenance["split"],
        "dropped": dropped,
        "runs": [{"folder": str(one.run.folder), **one.run.provenance} for one in found],
        "environment": {**environment, "written": written},
    }


def read_dropped(one: Predictions) -> dict[str, list[str]]:
    """Reason -> ids of the pictures that were left out of the folds.

    Raises:
        InputError: If the run has lost its ``split.csv``.
    """
    try:
        rows = [row for row in read_table(one.run.folder / "split.csv") if row["reason"]]
    except (OSError, KeyError) as error:
        raise InputError(f"{one.run.folder} has no readable split.csv: train this run again") from error
    return {
        why: [row["id"] for row in rows if row["reason"] == why]
        for why in sorted({r["reason"] for r in rows})
    }


def describe_run(one: Predictions) -> list[Cell]:
    """The row of a run."""
    facts = one.run.provenance
    commit = str(facts["git_commit"] or "unknown")
    return [
        str(one.run.folder),
        one.run.arm,
        ", ".join(map(str, one.seeds)),
        one.fold,
        facts["epoch"],
        in_words(facts["finished"]),
        round(facts["seconds"]),
        facts["device"],
        commit[:10] + ("-dirty" if commit.endswith("-dirty") else ""),
    ]


def members_of(found: Sequence[Predictions]) -> list[Block]:
    """A table of what ensembles were made of; none without ensembles."""
    runs = [one.run for one in found if one.run.members]
    rows: list[list[Cell]] = [[str(run.folder), ", ".join(run.members)] for run in runs]
    return [Table(["ensemble", "members"], rows, "What the ensembles were made of")] if rows else []


def in_words(time: str) -> str:
    """A time of `busi.runs.provenance.now` as a reader wants it, to the minute."""
    return f"{time[:16].replace('T', ' ')} UTC"


def software(found: Sequence[Predictions]) -> dict[str, str]:
    """Versions and machines, all of them where runs differ."""
    values: dict[str, dict[str, None]] = {}
    for one in found:
        facts = one.run.provenance
        for name in ("busi", "python", "system", "num_cpus", "gpu"):
            values.setdefault(name, {})[str(facts[name] or "none")] = None
        for name, version in facts["packages"].items():
            values.setdefault(name, {})[version] = None
    return {name: " and ".join(different) for name, different in values.items()}
