"""A run that begins with weights of another one, or of a file: found, checked, and put into its network."""

import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf

from busi.core import InputError, conf_dir, expand, is_file
from busi.data import BUSIDataModule
from busi.guides import check_start
from busi.models import NAMED_WEIGHTS, Normalized, digest_tensors, read_tensors
from busi.runs import Checkpoint, Metadata, describe_start, find_checkpoint, flatten

log = logging.getLogger(__name__)

ENSEMBLE = "busi.models.Ensemble"
NOT_YET = dict.fromkeys(("recipe", "seed", "fold", "weights"))
"""The section ``start`` of a config before its run starts, and of a run that starts from nothing."""


def resolve_start(cfg: DictConfig) -> None:
    """Make paths of weights whole, and let ``start_from`` take the place of other weights."""
    if cfg.get("start_from"):
        cfg.start_from, cfg.encoder_weights = str(expand(str(cfg.start_from)).absolute()), "none"
    elif names_file(cfg):
        cfg.encoder_weights = str(expand(cfg.encoder_weights).absolute())


def names_file(cfg: DictConfig) -> bool:
    """Whether ``encoder_weights`` is a file."""
    text = cfg.encoder_weights
    return (
        isinstance(text, str) and text not in NAMED_WEIGHTS and text.strip() != "" and is_file(expand(text))
    )


def refuse_two_starts(cfg: DictConfig, said: Sequence[str]) -> None:
    """Raise `InputError` if a command line asks for the weights of a run and for others.

    Args:
        cfg: Composed from the command line.
        said: The settings on the command line, ``name=value``.
    """
    if given := [text for text in said if re.match(r"[+~]*start[.=]", text)]:
        raise InputError(f"{given[0]}: a run fills that in when it starts: give start_from=RUN")
    others = [text for text in said if text.lstrip("+").startswith("encoder_weights=")]
    if cfg.start_from and others and cfg.encoder_weights != "none":
        raise InputError(
            f"start_from={cfg.start_from} gives the weights of the whole network, and {others[-1]} others: "
            "leave one of them out"
        )


def find_start(cfg: DictConfig, data: BUSIDataModule) -> Checkpoint | None:
    """Find the run that a config starts from, check that it may, and write into the config what it is.

    Args:
        cfg: Of a run that has no checkpoint yet.
        data: Of the run.

    Raises:
        InputError: If there is no such run, it is of another kind or has seen too much, or is not what it was
            when the run was started.
    """
    start, found = read_start(cfg), dict[str, Any](NOT_YET)
    if start:
        check_start(start, data.cohort, cfg.data.leave_out, data.cache_dir)
        if start.config.debug and not cfg.debug:
            log.warning("start_from=%s is a debug run", start.path)
        found = describe_start(start)
    elif names_file(cfg):
        log.warning("encoder_weights=%s: nobody knows which images they have seen", cfg.encoder_weights)
        digest = digest_tensors(read_tensors(Path(cfg.encoder_weights)))[:16]
        found |= {"recipe": digest, "weights": digest}
    before = OmegaConf.to_container(cfg.start) if cfg.get("start") else NOT_YET
    if before != NOT_YET and before != found:
        what = "start_from" if start else "encoder_weights"
        raise InputError(
            f"{what}={cfg[what]} is not what it was when {cfg.run_dir} was started: put that back, or start "
            "a new run"
        )
    if found != NOT_YET:
        cfg.start = found
    return start


def read_start(cfg: DictConfig) -> Checkpoint | None:
    """Read the run that a config starts from, if any.

    Raises:
        InputError: If there is none, or it is of another kind.
    """
    if not cfg.get("start_from"):
        return None
    start = find_checkpoint("start_from", str(cfg.start_from))
    check_kind(cfg, start)
    return start


def check_kind(cfg: DictConfig, start: Checkpoint) -> None:
    """Raise `InputError` if a run is of another stage than this one, or an ensemble."""
    if (theirs := start.metadata["stage"]) != cfg.stage:
        instead = ""
        if theirs == "seg":
            instead = f". For its encoder alone: encoder_weights=segmenter seg_ckpt={start.path}"
        raise InputError(
            f"start_from={start.path} is of stage={theirs}: give a run of stage={cfg.stage}{instead}"
        )
    if start.config.model.network.get("_target_") == ENSEMBLE:
        raise InputError(f"start_from={start.path} is an ensemble: give one of the runs that it was made of")


def start_metadata(cfg: DictConfig, start: Checkpoint | None, last: Checkpoint | None) -> Metadata:
    """What a checkpoint keeps of that which its run started from, and which may be gone when the run goes on.

    Args:
        cfg: Of the run.
        start: See `find_start`.
        last: The checkpoint to go on from, if any.

    Returns:
        ``start`` and ``encoder_files`` of `busi.runs.Metadata`.
    """
    if last is not None:
        return {name: list(last.metadata.get(name, [])) for name in ("start", "encoder_files")}
    files = [cfg.encoder_weights] if names_file(cfg) else []
    return {"start": [start.metadata] if start else [], "encoder_files": files}


def load_start(network: Normalized, cfg: DictConfig, start: Checkpoint) -> None:
    """Put the trained network of a run into one that was freshly built.

    Args:
        network: The new one.
        cfg: Of the new run.
        start: The run to start from.

    Raises:
        InputError: If its network is another one; it says which settings differ.
    """
    theirs, state, expected = start.config, start.part("network."), network.state_dict()
    before, after = (
        {name: x for name, x in flatten(one, ()).items() if name.startswith("model.network.")}
        for one in (theirs, cfg)
    )
    different = [name for name in dict.fromkeys([*before, *after]) if before.get(name) != after.get(name)]
    unlike = [
        name
        for name in dict.fromkeys([*expected, *state])
        if name not in state or name not in expected or state[name].shape != expected[name].shape
    ]
    other = [name for name in different if name.endswith(("_target_", ".encoder", ".encoder_name"))]
    if unlike or other:
        fit = sum(name not in unlike for name in expected)
        if theirs.image_size != cfg.image_size and not different:
            different, before, after = ["image_size"], {"image_size": theirs.image_size}, dict(cfg)
        no = "nothing"
        listed = "; ".join(f"{x}={before.get(x, no)} there, {after.get(x, no)} here" for x in different)
        raise InputError(
            f"start_from={start.path} has another network: {fit} of {len(expected)} tensors fit"
            f"{f'. {listed}' if listed else f' (not {unlike[0]})'}. A run starts from a whole network: "
            f"{_advise(theirs, before, different)}"
        )
    network.load_state_dict(state)
    log.info("Starts from the weights of %s", start.path)


def _advise(theirs: DictConfig, before: dict[str, Any], different: Sequence[str]) -> str:
    """The settings that a user gives to get the network of another run."""
    said: dict[str, None] = {}
    for name in different:
        if name.endswith("_target_"):
            option = _find_option(str(before.get(name)))
            said[f"model={option}" if option else "the model of that run"] = None
        elif name.endswith((".encoder", ".encoder_name")):
            said[f"encoder={theirs.encoder}"] = None
        elif name in before:
            said[f"{name}={before[name]}".replace(" ", "")] = None
    return f"give {' '.join(said)}, or leave start_from out" if said else "leave start_from out"


def _find_option(target: str) -> str | None:
    """The option of the group ``model`` that builds a target."""
    for path in sorted((conf_dir() / "model").glob("*.yaml")):
        network = (yaml.safe_load(path.read_text(encoding="utf-8")) or {}).get("network") or {}
        if network.get("_target_") == target:
            return path.stem
    return None
