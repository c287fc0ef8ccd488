"""Optimizers and schedules that torch has no constructor for."""

from collections.abc import Iterable
from typing import Any

from torch import nn
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import OneCycleLR

from busi.core import InputError


def adamw_slow_encoder(
    named_parameters: Iterable[tuple[str, nn.Parameter]],
    lr: float,
    encoder_factor: float,
    weight_decay: float,
) -> AdamW:
    """AdamW with a smaller learning rate for the pretrained encoder.

    Args:
        named_parameters: Those of a `StageModule`; the encoder's have ``.encoder.`` in their names.
        lr: Learning rate of all that is new.
        encoder_factor: Times `lr` is the learning rate of the encoder.
        weight_decay: Of all parameters.

    Raises:
        InputError: If the model has no encoder.
    """
    groups: dict[bool, list[tuple[str, nn.Parameter]]] = {True: [], False: []}
    for name, parameter in named_parameters:
        groups[".encoder." in name].append((name, parameter))
    if not groups[True]:
        raise InputError("this model has no encoder to train more slowly: choose optimizer=adamw")
    named_groups: list[dict[str, Any]] = [
        {"params": groups[False], "name": "new"},
        {"params": groups[True], "name": "encoder", "lr": lr * encoder_factor},
    ]
    return AdamW(named_groups, lr=lr, weight_decay=weight_decay)


def one_cycle(optimizer: Optimizer, num_epochs: int, warmup: float) -> OneCycleLR:
    """One rise to the optimizer's own learning rates and one long fall, stepped once an epoch.

    Args:
        optimizer: Each of its parameter groups keeps its own peak.
        num_epochs: Length of the cycle; one epoch alone is the first of two, as the last has almost no rate.
        warmup: Share of the epochs until the peak.

    Source: Smith, Topin, "Super-convergence", 2018.
    """
    peaks = [group["lr"] for group in optimizer.param_groups]
    steps = max(num_epochs, 2)
    return OneCycleLR(optimizer, max_lr=peaks, total_steps=steps, pct_start=warmup, cycle_momentum=False)
