"""What can be wrong with a run's settings, found before its folder is begun."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from omegaconf import DictConfig, ListConfig, OmegaConf

from busi.core import InputError, as_typed
from busi.modules import StageModule
from busi.training.keys import options_of


@dataclass(frozen=True)
class Rule:
    """What a setting may be: a test, and the words for it."""

    fits: Callable[[object], bool]
    words: str


def whole(low: int, high: int | float = float("inf")) -> Rule:
    """A whole number within limits."""
    limit = f"at least {low}" if high == float("inf") else f"from {low} to {high}"
    return Rule(lambda x: _is_whole(x) and low <= x <= high, f"a whole number, {limit}")  # type: ignore[operator]


def number(above: float = 0.0) -> Rule:
    """A finite number that is not below a limit."""

    def fits(x: object) -> bool:
        return isinstance(x, (int, float)) and not isinstance(x, bool) and above <= x < float("inf")

    return Rule(fits, f"a number, at least {above:g}")


def either(*values: object) -> Rule:
    """One of some values; 1 is not true."""
    known = [(type(value), value) for value in values]
    return Rule(lambda x: (type(x), x) in known, f"one of {', '.join(map(as_typed, values))}")


def or_null(rule: Rule) -> Rule:
    """Null, or what a rule says."""
    return Rule(lambda x: x is None or rule.fits(x), f"{rule.words}, or null")


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


PRECISIONS = ("32-true", "16-mixed", "bf16-mixed", "32", "16", "bf16")
"""Others store weights that scoring, which runs in 32 bits, cannot use."""
SWITCH = either(True, False)
RULES: Mapping[str, Rule] = {
    "seed": whole(0, 2**32 - 1),
    "image_size": Rule(
        lambda x: _is_whole(x) and x >= 32 and x % 32 == 0,  # type: ignore[operator]
        "the side of a square, a multiple of 32, at least 32",
    ),
    "test": or_null(SWITCH),
    "reuse": SWITCH,
    "debug": SWITCH,
    "allow_other_data": SWITCH,
    "monitor_mode": either("min", "max"),
    "data.batch_size": whole(1),
    "data.num_workers": whole(0),
    "data.fold": whole(0),
    "data.leave_out": or_null(whole(0)),
    "data.num_folds": whole(2),
    "data.split_seed": whole(0),
    "data.subset": or_null(whole(1)),
    "data.cache_gb": number(),
    "data.need_masks": SWITCH,
    "data.download": SWITCH,
    "optimizer.lr": number(),
    "optimizer.weight_decay": number(),
    "trainer.max_epochs": whole(1),
    "trainer.accumulate_grad_batches": whole(1),
    "trainer.gradient_clip_val": or_null(number()),
    "trainer.num_nodes": whole(1),
    "trainer.precision": Rule(lambda x: str(x) in PRECISIONS, f"one of {', '.join(PRECISIONS)}"),
    "trainer.accelerator": either("auto", "cpu", "gpu", "cuda", "mps"),
    # What would end without a checkpoint to score, or to go on from.
    **{
        f"callbacks.{name}.{key}": either(value)
        for name, stem in (("checkpoint", "best"), ("last", "last"))
        for key, value in (("filename", stem), ("save_top_k", 1), ("every_n_epochs", 1))
    },
    "trainer.fast_dev_run": Rule(
        lambda x: x in (None, False, 0), "false: trainer=debug tries a whole run in seconds"
    ),
    "trainer.barebones": either(False),
    "trainer.enable_checkpointing": or_null(either(True)),
    "trainer.limit_train_batches": or_null(Rule(lambda x: x != 0, "more than 0")),
    "trainer.limit_val_batches": or_null(Rule(lambda x: x != 0, "more than 0")),
}
"""Settings whose wrong values would end late, or in words of a library."""


def check_settings(cfg: DictConfig) -> None:
    """Raise `InputError` for values of a wrong kind or out of range, and devices that are not there."""
    for name, rule in RULES.items():
        missing = object()
        value = OmegaConf.select(cfg, name, default=missing)
        if value is not missing and not rule.fits(value):
            raise InputError(f"{name}={as_typed(value)}: give {rule.words}")
    check_accelerator(cfg.trainer)


def check_accelerator(trainer: DictConfig) -> None:
    """Raise `InputError` if a trainer asks for GPUs that this machine lacks."""
    accelerator, devices = trainer.accelerator, trainer.devices
    if accelerator == "mps" and not torch.backends.mps.is_available():
        raise InputError("trainer.accelerator=mps is for Macs, this is none: give trainer=default")
    count = torch.cuda.device_count()
    if accelerator in ("gpu", "cuda") and not count:
        raise InputError(
            f"trainer.accelerator={accelerator}: torch finds no GPU here. Give trainer=default, which takes "
            "one where there is one, or trainer=cpu"
        )
    if not count or accelerator in ("cpu", "mps"):
        return
    listed = list(devices) if isinstance(devices, ListConfig) else []
    asked = max(listed, default=-1) + 1 if listed else devices
    if _is_whole(asked) and asked > count:
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
