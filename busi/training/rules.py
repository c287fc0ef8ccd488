"""What values settings may have: found before a run begins, and before torch is imported."""

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from busi.core import InputError, as_typed
from busi.data import check_folds


@dataclass(frozen=True)
class Rule:
    """What a setting may be: a test, and the words for it."""

    fits: Callable[[object], bool]
    words: str


def whole(low: int, high: int | float = float("inf")) -> Rule:
    """A whole number within limits."""
    limit = f"at least {low}" if high == float("inf") else f"from {low} to {high}"
    return Rule(lambda x: is_whole(x) and low <= x <= high, f"a whole number, {limit}")  # type: ignore[operator]


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


def is_whole(value: object) -> bool:
    """Whether a value is a whole number; true and false are none."""
    return isinstance(value, int) and not isinstance(value, bool)


PRECISIONS = ("32-true", "16-mixed", "bf16-mixed", "32", "16", "bf16")
"""Others store weights that scoring, which runs in 32 bits, cannot use."""
SWITCH = either(True, False)
RULES: Mapping[str, Rule] = {
    "seed": whole(0, 2**32 - 1),
    "image_size": Rule(
        lambda x: is_whole(x) and x >= 32 and x % 32 == 0,  # type: ignore[operator]
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
    "data.num_folds": whole(3),
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


def check_values(cfg: DictConfig) -> None:
    """Raise `InputError` for values of a wrong kind or out of range.

    What does not resolve yet is left to the run.
    """
    missing = object()
    for name, rule in RULES.items():
        with contextlib.suppress(OmegaConfBaseException):
            value = OmegaConf.select(cfg, name, default=missing)
            if value is not missing and not rule.fits(value):
                raise InputError(f"{name}={as_typed(value)}: give {rule.words}")
    with contextlib.suppress(OmegaConfBaseException):
        check_folds(cfg.data.fold, cfg.data.leave_out, cfg.data.num_folds)
