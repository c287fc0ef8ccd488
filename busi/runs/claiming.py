"""Folders that a new run may take: what is in them would be overwritten."""

from pathlib import Path

from busi.core import InputError, check_overwritten
from busi.runs.run import FILES
from busi.runs.stored import parse_config

WRITTEN = (*FILES, "config.yaml", "maps")
"""What a run writes once it has its config; logs and drawings aside."""


def check_unclaimed(folder: Path) -> None:
    """Raise `InputError` if a run would overwrite what no run has left in a folder.

    One that was killed before it had a ``provenance.json`` has left its config.
    """
    if not (folder / "provenance.json").exists() and not holds_config(folder):
        check_overwritten(folder, WRITTEN, "run")


def holds_config(folder: Path) -> bool:
    """Whether a folder holds the config of a run."""
    path = folder / "config.yaml"
    try:
        parse_config(path.read_text(encoding="utf-8"), path)
    except (OSError, ValueError, InputError):
        return False
    return True
