"""The run that another one starts from: found, and what stands for it in the settings of the other."""

from pathlib import Path
from typing import Any

from busi.core import InputError, expand, is_there
from busi.data import fingerprint
from busi.models import digest_tensors
from busi.runs.checkpoints import Checkpoint, read_best, read_checkpoint
from busi.runs.fingerprints import FOLD_SETTINGS, SEED_SETTINGS, settings_fingerprint
from busi.runs.run import Run, open_run


def find_checkpoint(setting: str, place: str, also: str = " or a .ckpt file") -> Checkpoint:
    """Find the checkpoint that a setting names.

    Args:
        setting: Its name, for errors.
        place: A run folder, whose best checkpoint it is, or a file.
        also: What it takes beside a run folder, for errors.

    Raises:
        InputError: If there is none, or the run is not finished, or the file is damaged.
    """
    path = expand(place)
    if not is_there(path):
        raise InputError(f"{setting}={path} does not exist: give a run folder{also}")
    return read_best(open_finished(path)) if path.is_dir() else read_checkpoint(path)


def open_finished(folder: Path) -> Run:
    """Open a run folder, or raise `InputError` if its run did not come to its end."""
    run = open_run(folder)
    if not run.finished:
        raise InputError(f"{folder} is not finished: let it end, or name one of its .ckpt files")
    return run


def describe_start(start: Checkpoint) -> dict[str, Any]:
    """What stands for a run in the settings of those that start from it: its content, wherever it lies.

    Returns:
        ``recipe``, equal for the folds and seeds of one recipe on one data set; ``seed`` and ``fold``, which
        set these apart; and ``weights``, equal for equal weights alone.
    """
    cfg, metadata = start.config, start.metadata
    recipe = settings_fingerprint(cfg, (*FOLD_SETTINGS, *SEED_SETTINGS))
    return {
        "recipe": fingerprint([[recipe, metadata["data"], metadata["split"]]]),
        "seed": cfg.seed,
        "fold": metadata["fold"],
        "weights": digest_tensors(start.part("network."))[:16],
    }
