"""What values settings may have: found before a run begins, and before torch is imported."""

import contextlib
from collections.abc import Mapping

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from busi.core import (
    LAST_SEED,
    MAX_BATCH,
    MAX_FOLDS,
    MAX_SIZE,
    InputError,
    Rule,
    as_typed,
    is_whole,
    number,
    one_of,
    or_null,
    whole,
)
from busi.data import check_folds

PRECISIONS = ("32-true", "16-mixed", "bf16-mixed", "32", "16", "bf16")
"""Others store weights that scoring, which runs in 32 bits, cannot use."""
SWITCH = one_of(True, False)
RULES: Mapping[str, Rule] = {
    "seed": whole(0, LAST_SEED),
    "image_size": Rule(
        f"the side of a square, a multiple of 32 from 32 to {MAX_SIZE}",
        lambda x: is_whole(x) and 32 <= x <= MAX_SIZE and x % 32 == 0,
    ),
    "test": or_null(SWITCH),
    "reuse": SWITCH,
    "debug": SWITCH,
    "allow_other_data": SWITCH,
    "monitor_mode": one_of("min", "max"),
    "data.batch_size": whole(1, MAX_BATCH),
    "data.num_workers": whole(0),
    "data.fold": whole(0),
    "data.leave_out": or_null(whole(0)),
    "data.num_folds": whole(3, MAX_FOLDS),
    "data.split_seed": whole(0, LAST_SEED),
    "data.subset": or_null(whole(1)),
    "data.cache_gb": number(0.0),
    "data.need_masks": SWITCH,
    "data.download": SWITCH,
    "optimizer.lr": number(0.0),
    "optimizer.weight_decay": number(0.0),
    "trainer.max_epochs": whole(1),
    "trainer.accumulate_grad_batches": whole(1),
    "trainer.gradient_clip_val": or_null(number(0.0)),
    "trainer.num_nodes": whole(1),
    "trainer.precision": Rule(" or ".join(PRECISIONS), lambda x: str(x) in PRECISIONS),
    "trainer.accelerator": one_of("auto", "cpu", "gpu", "cuda"),
    # What would end without a checkpoint to score, or to go on from.
    **{
        f"callbacks.{name}.{key}": one_of(value)
        for name, stem in (("checkpoint", "best"), ("last", "last"))
        for key, value in (("filename", stem), ("save_top_k", 1), ("every_n_epochs", 1))
    },
    "trainer.fast_dev_run": Rule(
        "false: trainer=debug tries a whole run in seconds", lambda x: x in (None, False, 0)
    ),
    "trainer.barebones": one_of(False),
    "trainer.enable_checkpointing": or_null(one_of(True)),
    "trainer.limit_train_batches": or_null(Rule("more than 0", lambda x: x != 0)),
    "trainer.limit_val_batches": or_null(Rule("more than 0", lambda x: x != 0)),
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
            if value is not missing and not rule.holds(value):
                raise InputError(f"{name}={as_typed(value)}: give {rule.words}")
    with contextlib.suppress(OmegaConfBaseException):
        check_folds(cfg.data.fold, cfg.data.leave_out, cfg.data.num_folds)
