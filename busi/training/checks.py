"""What can be wrong with a run's settings, found before its folder is begun."""

import inspect
from pathlib import Path

import torch
from omegaconf import DictConfig, ListConfig

from busi.core import InputError, is_whole
from busi.modules import StageModule
from busi.training.keys import options_of
from busi.training.rules import check_values


def check_settings(cfg: DictConfig) -> None:
    """Raise `InputError` for values of a wrong kind or out of range, and devices that are not there."""
    check_values(cfg)
    check_accelerator(cfg.trainer)


def check_accelerator(trainer: DictConfig) -> None:
    """Raise `InputError` if a trainer asks for GPUs that this machine lacks."""
    accelerator, devices = trainer.accelerator, trainer.devices
    count = torch.cuda.device_count()
    if accelerator in ("gpu", "cuda") and not count:
        raise InputError(
            f"trainer.accelerator={accelerator}: torch finds no GPU here. Give trainer=default, which takes "
            "one where there is one, or trainer=cpu"
        )
    if not count or accelerator == "cpu":
        return
    listed = list(devices) if isinstance(devices, ListConfig) else []
    asked = max(listed, default=-1) + 1 if listed else devices
    if is_whole(asked) and asked > count:
        raise InputError(
            f"trainer.devices={devices}: there {'is 1 GPU' if count == 1 else f'are {count} GPUs'} here, "
            "counted from 0"
        )


def check_monitors(cfg: DictConfig, module: StageModule) -> None:
    """Raise `InputError` if something follows a value that is not logged; modules of others may log more."""
    if not type(module).__module__.startswith("busi."):
        return
    known = ["val/loss", *module.val_metrics, "train/loss", *module.train_metrics]
    asked = {"monitor": cfg.monitor}
    asked |= {f"callbacks.{name}.monitor": node.get("monitor") for name, node in cfg.callbacks.items()}
    for name, value in asked.items():
        if value is not None and value not in known:
            raise InputError(f"{name}={value} is not logged: give one of {', '.join(map(str, known))}")


def check_loss(cfg: DictConfig, module: StageModule) -> None:
    """Raise `InputError` if a loss does not take what its stage gives it: it is that of another stage."""
    signature = inspect.signature(module.loss.forward)
    try:
        signature.bind(*(module.loss_inputs or signature.parameters))
    except TypeError:
        takes, gives = ", ".join(signature.parameters), ", ".join(module.loss_inputs)
        fitting = options_of("loss", cfg.stage)
        raise InputError(
            f"loss: {cfg.loss.get('_target_')} takes {takes}, and stage={cfg.stage} gives {gives}"
            + (f": give loss={' or loss='.join(fitting)}" if fitting else "")
        ) from None


def check_saved(checkpoint: Path) -> None:
    """Raise `InputError` if a training that has ended did not save a checkpoint."""
    if not checkpoint.is_file():
        raise InputError(
            f"training ended before an epoch was validated and saved: there is no {checkpoint}. Leave out "
            "what ends it early (trainer.max_steps, trainer.max_time), and start a new run"
        )
