"""Keys of a config that nothing reads, found before a run begins, and what was probably meant."""

import difflib
import inspect
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from busi.core import InputError, conf_dir

MODEL = ("stage", "network", "tta")
"""Keys of ``model``, which is no target itself."""
NODES = ("callbacks", "logger")
"""Groups of named targets."""
MEANT = {
    "learning_rate": "optimizer.lr",
    "epochs": "trainer.max_epochs",
    "batch": "data.batch_size",
    "size": "image_size",
    "img_size": "image_size",
    "resolution": "image_size",
    "workers": "data.num_workers",
    "gpus": "trainer.devices",
    "device": "trainer.accelerator",
    "output": "output_dir",
    "out": "output_dir",
    "backbone": "encoder",
    "pretrained": "encoder_weights",
    "root": "data.root",
    "folds": "data.num_folds",
    "patience": "callbacks.early_stopping.patience",
}
"""Other words for settings."""


def check_keys(cfg: DictConfig) -> None:
    """Check that something reads each key of a composed config, and that its parts are of its stage.

    The arguments of targets are compared with the signatures of those: see `busi.core.check_arguments`.

    Args:
        cfg: Interpolations not resolved: a key that one of them names is read.

    Raises:
        InputError: If nothing reads a key, or a part is for another stage.
    """
    read = set(re.findall(r"\$\{(\w+)[.}]", OmegaConf.to_yaml(cfg, resolve=False)))
    stage = str(cfg.get("stage"))
    for key in map(str, cfg):
        if key not in root_keys(stage) | read:
            raise InputError(f"{key} is no setting: {suggest(key, cfg)}")
    for key in map(str, cfg.get("model") or ()):
        if key not in MODEL:
            raise InputError(
                f"model.{key} is no setting: model has {', '.join(MODEL)}; arguments of the network are "
                f"written model.network.{key}"
            )
    for group in NODES:
        for key, node in (cfg.get(group) or {}).items():
            if not isinstance(node, DictConfig) or "_target_" not in node:
                others = [f"{group}.{one}" for one in cfg[group] if one != key]
                close = difflib.get_close_matches(f"{group}.{key}", others, 1, 0.8)
                hint = f"did you mean {close[0]}?" if close else f"{group}.{key}._target_ names a class"
                raise InputError(f"{group}.{key} has no _target_: {hint}")

    check_data(cfg)
    check_stage(cfg)


def check_data(cfg: DictConfig) -> None:
    """Raise `InputError` if a key of ``data`` is none of busi's data module."""
    text = (conf_dir() / "data" / "busi.yaml").read_text(encoding="utf-8")
    known = re.findall(r"^(\w+):", text, re.MULTILINE)
    for key in map(str, cfg.data if f"_target_: {cfg.data.get('_target_')}\n" in text else ()):
        if key not in known:
            raise InputError(f"data.{key} is no setting: {suggest(f'data.{key}', cfg)}")


def check_stage(cfg: DictConfig) -> None:
    """Raise `InputError` if the model, the loss or the balance is for another stage."""
    for name in ("stage", "model", "loss"):
        if not cfg.get(name):
            raise InputError(f"{name} is missing: give {name}=..., --help lists the options")
    stage = str(cfg.stage)
    if (theirs := cfg.model.get("stage")) != stage:
        models = ", ".join(options_of("model", stage))
        raise InputError(f"this model is for stage={theirs}, not stage={stage}: give {models}")
    target = re.compile(rf"^_target_: {re.escape(str(cfg.loss.get('_target_')))}$", re.MULTILINE)
    for path in sorted((conf_dir() / "loss").glob("*.yaml")):
        if target.search(path.read_text(encoding="utf-8")) and _stage_of(path) != stage:
            losses = " or ".join(options_of("loss", stage))
            raise InputError(f"loss={path.stem} is for stage={_stage_of(path)}: give {losses}")
    if stage == "seg" and cfg.data.get("balance") == "weights":  # of the classes in the loss
        raise InputError(
            "data.balance=weights is for stage=cls: give sampler, own_classes, sources or none, which say "
            "how often images are drawn"
        )


@cache
def root_keys(stage: str) -> frozenset[str]:
    """The keys at the top of a config of a stage that busi itself gives and reads."""
    found = {"stage"}
    for path in (conf_dir() / "train.yaml", conf_dir() / "stage" / f"{stage}.yaml"):
        if path.is_file():
            found |= set(re.findall(r"^(\w+):", path.read_text(encoding="utf-8"), re.MULTILINE))
            found |= set(re.findall(r"^  - /?(\w+):", path.read_text(encoding="utf-8"), re.MULTILINE))
    return frozenset(found - {"defaults", "hydra"})


def other_stage(key: str, stage: str) -> str | None:
    """The stage that has a key at its top, where the given one has not."""
    if key in root_keys(stage):
        return None
    stages = (path.stem for path in sorted((conf_dir() / "stage").glob("*.yaml")))
    return next((one for one in stages if one != stage and key in root_keys(one)), None)


def suggest(name: str, cfg: DictConfig) -> str:
    """What was probably meant by a key that is none, as the end of an error.

    Args:
        name: As it was typed, with dots.
        cfg: Whose keys are known.
    """
    stage = str(cfg.get("stage"))
    if "." not in name and (other := other_stage(name, stage)):
        return f"it belongs to stage={other}, this is stage={stage}"
    plain: dict[str, Any] = OmegaConf.to_container(cfg, resolve=False)  # type: ignore[assignment]
    paths = _paths({key: value for key, value in plain.items() if key != "start"}, "")  # no user sets that
    # Neither what it holds nor what holds it.
    known = [x for x in paths if not f"{x}.".startswith(f"{name}.") and not f"{name}.".startswith(f"{x}.")]
    if close := find_close(name, known):
        return f"did you mean {' or '.join(close)}?"
    if name.startswith("trainer."):
        import lightning  # not for --cfg job

        if name.removeprefix("trainer.") in inspect.signature(lightning.Trainer).parameters:
            return f"lightning.Trainer takes it, so add it with +{name}=..."
    return "python -m busi.train --cfg job prints all settings"


def find_close(name: str, known: Sequence[str]) -> list[str]:
    """The settings whose names are closest to one that is none, best first, at most three."""
    last = name.rpartition(".")[2]
    if last in MEANT:
        return [MEANT[last]]
    if same := [path for path in known if path.rpartition(".")[2] == last]:
        return same[:3]
    if whole := difflib.get_close_matches(name, known, 2, 0.8):
        return whole
    by_last: dict[str, list[str]] = {}
    for path in known:
        by_last.setdefault(path.rpartition(".")[2], []).append(path)
    close = difflib.get_close_matches(last, by_last, 3, 0.7)
    return [path for one in close for path in by_last[one]][:3]


def _paths(node: Mapping[str, Any], prefix: str) -> Iterator[str]:
    """The dotted names of all parts and values of a config, without its targets."""
    for key, value in node.items():
        if not str(key).startswith("_"):
            yield f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from _paths(value, f"{prefix}{key}.")


def options_of(group: str, stage: str) -> list[str]:
    """The options of a group that say in their first comment that they are for a stage."""
    return [path.stem for path in sorted((conf_dir() / group).glob("*.yaml")) if _stage_of(path) == stage]


def list_options(group: str, folders: Sequence[Path], stage: str) -> list[str]:
    """The options of a group in some folders, without those that say that they are for another stage."""
    paths = [path for folder in folders for path in (folder / group).glob("*.yaml")]
    return sorted({path.stem for path in paths if _stage_of(path) in (None, stage)})


def _stage_of(path: Path) -> str | None:
    found = re.search(r"^# stage=(\w+):", path.read_text(encoding="utf-8"), re.MULTILINE)
    return found[1] if found else None
