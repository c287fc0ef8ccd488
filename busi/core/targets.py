"""What a config may build: a closed table of classes and functions, and packages that the user trusts."""

import importlib
import re
import sys
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from busi.core.extras import import_extra
from busi.core.own_code import find_own
from busi.core.types import InputError


@dataclass(frozen=True)
class Family:
    """Public names of one module: those listed, the subclasses of a class, and the functions of one kind.

    Attributes:
        module: Where they are found.
        names: By their names.
        base: ``module.Class``; the classes that inherit it.
        returns: ``module.Type``; the functions that say that they return it.
        package: What has to be installed, where not everybody has it, and the extra of busi that has it.
    """

    module: str
    names: tuple[str, ...] = ()
    base: str = ""
    returns: str = ""
    package: tuple[str, str] | None = None

    def find(self, name: str) -> Any:
        """The object of a name, or None if it is not of this family.

        Raises:
            InputError: If the package is not installed.
        """
        if self.package:
            import_extra(self.module, *self.package)
        module = importlib.import_module(self.module)
        if name not in getattr(module, "__all__", vars(module)):
            return None
        found = getattr(module, name)
        if isinstance(found, type):
            known = name in self.names or (self.base and issubclass(found, _import(self.base)))
        else:
            known = name in self.names or (self.returns and _returns(found, _import(self.returns)))
        return found if known else None


MODULE = "torch.nn.Module"
TABLE: Mapping[str, tuple[Family, ...]] = {
    "model": (Family("busi.models", base=MODULE), Family("segmentation_models_pytorch", base=MODULE)),
    "loss": (
        Family("busi.modules", base=MODULE),
        Family("torch.nn", base=MODULE),
        Family("segmentation_models_pytorch.losses", base=MODULE),
        Family("timm.loss", base=MODULE),
    ),
    "optimizer": (
        Family("torch.optim", base="torch.optim.Optimizer"),
        Family("timm.optim", base="torch.optim.Optimizer"),
        Family("busi.modules", names=("adamw_slow_encoder",)),
    ),
    "scheduler": (
        Family("torch.optim.lr_scheduler", base="torch.optim.lr_scheduler.LRScheduler"),
        Family("busi.modules", names=("one_cycle",)),
    ),
    "module": (Family("busi.modules", base="busi.modules.StageModule"),),
    "postprocess": (Family("busi.models", names=("fixed_postprocess", "tune_postprocess")),),
    "score": (
        Family("busi.training", returns="busi.training.Metrics"),
        Family("busi.models", names=("fixed_postprocess", "tune_postprocess")),
    ),
    "data": (
        Family("busi.data", names=("BUSIDataModule", "Augmentation", "BatchAugmentation")),
        Family("busi.data", base="albumentations.BasicTransform"),
        Family("busi.data", returns="busi.data.Reading"),
        Family("albumentations", base="albumentations.BasicTransform"),
        Family("albumentations", base="albumentations.BaseCompose"),
        Family(
            "kornia.augmentation", base="kornia.augmentation.AugmentationBase2D", package=("kornia", "gpu")
        ),
    ),
    "guide": (Family("busi.guides", base="busi.guides.Guide"),),
    "callbacks": (
        Family("lightning.pytorch.callbacks", base="lightning.pytorch.callbacks.Callback"),
        Family("busi.training", base="lightning.pytorch.callbacks.Callback"),
        Family("busi.sweeps", names=("Prune",)),
        Family("optuna.pruners", base="optuna.pruners.BasePruner", package=("optuna", "search")),
        Family("torch.optim.swa_utils", names=("get_ema_multi_avg_fn", "get_swa_multi_avg_fn")),
    ),
    "logger": (
        Family("lightning.pytorch.loggers", names=("CSVLogger", "TensorBoardLogger")),
        Family("busi.training", names=("CSVLog", "wandb_logger")),
    ),
    "trainer": (Family("lightning", names=("Trainer",)),),
}
"""Section of a run's config -> what may be built there.

A stored config may come from anybody. A target is found here by its whole name, and nowhere else: nothing is
imported because a file names it, and no attribute is looked up on the way.
"""

SECTIONS = {"augmentation": "data"}
LOADS = ("encoder_weights", "pretrained", "weights", "checkpoint_path", "pretrained_cfg", "cache_dir")
"""Arguments of networks by which libraries load a file or ask a server."""
NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")

_trusted: set[str] = set()


def trust(*packages: str) -> None:
    """Let configs build what is in these packages or modules, for as long as this process lives.

    Importing a package runs its code. So the user says this, each time; what is opened cannot.

    Args:
        packages: Their names, e.g. ``my_package``.

    Raises:
        InputError: If one is no name of a package.
    """
    for name in packages:
        if not isinstance(name, str) or not NAME.fullmatch(name):
            raise InputError(f"trust={name!r}: give the name of a Python package, e.g. my_package")
        _trusted.add(name)
    here = str(Path.cwd())
    if packages and here not in sys.path and "" not in sys.path:
        sys.path.append(here)  # as for `python -m`, but last: nothing here hides an installed package


def trusted() -> list[str]:
    """The packages that `trust` was told of."""
    return sorted(_trusted)


def check_targets(config: Mapping[str, Any]) -> None:
    """Check everything that the config of a run may build.

    Args:
        config: Plain values, interpolations resolved.

    Raises:
        InputError: If a target is neither in `TABLE` nor trusted, or a network would load a file or ask a
            server.
    """
    for section, node in config.items():
        check_section(node, SECTIONS.get(section, section), str(section))


def check_section(node: object, section: str, where: str) -> None:
    """Check what one part of a config may build; see `check_targets`.

    Args:
        node: Plain values.
        section: A key of `TABLE`; nothing may be built in any other.
        where: The dotted name of the node, for errors.
    """
    for path, target, arguments in target_nodes(node, where):
        if _is_trusted(target):
            find_own(path, str(target))
            continue
        if find_target(target, section) is None:
            raise InputError(_refusal(path, target, section))
        if section == "model":
            _check_network(path, str(target), arguments)


def target_nodes(node: object, where: str) -> Iterator[tuple[str, object, dict[str, Any]]]:
    """Each node with a target: its dotted name, the target, and its arguments."""
    if isinstance(node, dict):
        if "_target_" in node:
            yield where, node["_target_"], node
        for key, value in node.items():
            yield from target_nodes(value, f"{where}.{key}")
    elif isinstance(node, list | tuple):
        for k, value in enumerate(node):
            yield from target_nodes(value, f"{where}.{k}")
    elif isinstance(node, str) and "${" in node:
        raise InputError(f"{where}={node[:100]}: a config that is built has plain values, nothing to look up")


def _import(name: str) -> Any:
    module, _, attribute = name.rpartition(".")
    return getattr(importlib.import_module(module), attribute)


def _returns(function: object, kind: object) -> bool:
    return callable(function) and typing.get_type_hints(function).get("return") == kind


def _is_trusted(target: object) -> bool:
    return isinstance(target, str) and any(target.startswith(f"{package}.") for package in _trusted)


def find_target(target: object, section: str) -> Any:
    """What a target names, if it stands in `TABLE` for a section; None if it does not."""
    if not isinstance(target, str) or not NAME.fullmatch(target):
        return None
    module, _, name = target.rpartition(".")
    families = [family for family in TABLE.get(section, ()) if family.module == module]
    return next((found for family in families if (found := family.find(name)) is not None), None)


def _refusal(path: str, target: object, section: str) -> str:
    known = ", ".join(dict.fromkeys(family.module for family in TABLE.get(section, ())))
    text = str(target)[:100]
    wrong = f"{path}._target_={text} is nothing that a config may build there (known: {known or 'nothing'})"
    if not NAME.fullmatch(text):
        return wrong
    package = text.rpartition(".")[0] or text
    so_far = f", trust={','.join(trusted())} is not that" if _trusted else ""
    return (
        f"{wrong}{so_far}. If it is code of your own, say so: trust=[{package}] in training, --trust "
        f"{package} elsewhere. If the file came from somebody else, do not"
    )


def _check_network(path: str, target: str, arguments: Mapping[str, Any]) -> None:
    if "_args_" in arguments:
        raise InputError(f"{path}._args_: give a network its arguments by name")
    if target.startswith("segmentation_models_pytorch.") and "encoder_weights" not in arguments:
        raise InputError(f"{path}.encoder_weights is missing, and the library would download some: give null")
    for name in LOADS:
        if arguments.get(name):
            raise InputError(
                f"{path}.{name}={arguments[name]}: a network loads nothing by itself. "
                "encoder_weights=imagenet downloads weights, once, when a training starts"
            )
    for name in ("encoder", "encoder_name"):
        if re.search(r"[:/\\]", str(arguments.get(name, ""))):
            raise InputError(f"{path}.{name}={arguments[name]}: give the name of a timm network")
