"""The segmentation run upstream of a classifier: found, or the command that makes it."""

import json
import logging
import shlex
from pathlib import Path

from busi.core import InputError, as_typed, expand
from busi.data import BUSIDataModule, compose_data, list_data
from busi.runs import (
    SEED_SETTINGS,
    Checkpoint,
    find_checkpoint,
    find_runs,
    read_best,
    settings_fingerprint,
)

log = logging.getLogger(__name__)


def find_upstream(seg_ckpt: str, data: BUSIDataModule, output_dir: Path, debug: bool) -> Checkpoint:
    """Find the segmentation checkpoint that ``seg_ckpt`` means.

    Args:
        seg_ckpt: A run folder, a file, or ``auto``: the newest finished run on the same data, split and fold,
            of the classifier's seed if there is one. Ensembles are never meant.
        data: The classifier's data.
        output_dir: Where ``auto`` looks.
        debug: Debug runs count for debug runs alone.

    Raises:
        InputError: If there is none, or ``auto`` finds runs of different settings.
    """
    if seg_ckpt != "auto":
        return find_checkpoint("seg_ckpt", seg_ckpt, ", a .ckpt file, or auto")
    wanted = {
        "data": data.cohort.data_fingerprint,
        "split": data.cohort.split_fingerprint,
        "fold": data.fold,
        "leave_out": None,
        "debug": debug,
    }
    runs = find_runs(output_dir, "seg")
    fitting = [
        run
        for run in runs
        if not run.members and all(run.provenance.get(key) == value for key, value in wanted.items())
    ]
    if not fitting:
        command = seg_command(data, debug)
        if output_dir != Path("outputs"):
            command += f" {shlex.quote(f'output_dir={output_dir}')}"
        others = f" (those that are there, {len(runs)}, are of other data, splits or folds)" if runs else ""
        raise InputError(
            "seg_ckpt=auto found no finished segmentation run on this data, split and fold in "
            f"{output_dir}{others}. Make one with: {command}; or go without: guide=empty"
        )
    if len({settings_fingerprint(run.config, SEED_SETTINGS) for run in fitting}) > 1 and not debug:
        listed = ", ".join(f"{run.folder} ({run.provenance['settings']})" for run in fitting)
        raise InputError(
            f"seg_ckpt=auto found runs with different settings: {listed}. Choose with seg_ckpt=FOLDER"
        )
    chosen = next((run for run in fitting if run.config.seed == data.seed), fitting[0])
    log.info("seg_ckpt=auto: %s", chosen.folder)
    return read_best(chosen)


def seg_command(data: BUSIDataModule, debug: bool) -> str:
    """The command that makes a segmentation checkpoint fit for a classifier."""
    parts = ["python -m busi.train stage=seg", f"data={data.name}", f"image_size={data.image_size}"]
    parts += [f"data.{key}={getattr(data, key)}" for key in ("fold", "num_folds", "split_seed")]
    parts += ["data.folds=published"] if data.folds == "published" else []
    parts += _own_values(data)
    if data.sources:
        places = {name: _place(name, str(one["root"])) for name, one in data.sources.items()}
        named = ",".join(f"{name}: {place}" for name, place in places.items())
        # What stands in place of the list of data=pooled has to be a list.
        text = f"[{','.join(places.values())}]" if data.name == "pooled" else f"{{{named}}}"
        parts.append(shlex.quote(f"data.sources={text}"))
    parts += [f"data.train_only=[{','.join(data.train_only)}]"] if data.train_only else []
    parts += [f"data.hold_out={data.hold_out}"] if data.hold_out else []
    return " ".join([*parts, "trainer=debug"] if debug else parts)


def _own_values(data: BUSIDataModule) -> list[str]:
    """What decides which images there are, and is not as the option of the data says."""
    if data.name not in list_data():
        return []
    usual, read = compose_data(data.name), getattr(data.read, "keywords", {})
    root = None if data.sources or data.root is None else str(data.root)
    own = {"data.root": (root, usual["root"] and str(expand(str(usual["root"])).absolute()))}
    keys = ("conflicts", "on_bad", "exclude", "subset")
    own |= {f"data.{key}": (data.build_cohort.keywords[key], usual[key]) for key in keys}
    own |= {f"data.read.{key}": (value, usual["read"].get(key)) for key, value in read.items()}
    return [
        shlex.quote(f"{name}={as_typed(value)}")
        for name, (value, default) in own.items()
        if value is not None and value != default
    ]


def _place(name: str, root: str) -> str:
    """What finds a data set: its name where the data is at the place that the config says, else a path."""
    usual = compose_data(name)["root"] if name in list_data() else None
    return name if usual and expand(str(usual)).absolute() == expand(root).absolute() else json.dumps(root)
