"""Whether the report in a folder is one that may be written anew: of the same command."""

import json
from pathlib import Path

EVALUATED, SUBMITTED = "evaluated", "submitted"
"""What says in a provenance that no run of training is reported: the model, and the files of another tool."""
REPORT = ("report.json", "index.html")


def holds_report(folder: Path, kind: str = "") -> bool:
    """Whether a folder holds a report, as its ``report.json`` says.

    Args:
        folder: The folder.
        kind: `EVALUATED` or `SUBMITTED`; empty for a report on runs.
    """
    try:
        runs = json.loads((folder / REPORT[0]).read_text(encoding="utf-8"))["runs"]
        kinds = {name for name in (EVALUATED, SUBMITTED) for run in runs if name in run}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return False
    return kinds == ({kind} if kind else set())


def holds_audit(folder: Path) -> bool:
    """Whether a folder holds an audit, as its ``audit.json`` says."""
    try:
        content = json.loads((folder / "audit.json").read_text(encoding="utf-8"))
        return bool({"data", "images", "random_split_leak"} <= content.keys())
    except (OSError, ValueError, AttributeError, RecursionError):
        return False
