"""Optimizers and schedules by what they do to learning rates."""

import pytest
import torch
from torch import nn

from busi.core.types import InputError
from busi.models.encoders import Normalized
from busi.models.guided import EarlyGuide
from busi.models.plain_unet import PlainUNet
from busi.modules.optimizers import adamw_slow_encoder, one_cycle


def named(network: nn.Module) -> list[tuple[str, nn.Parameter]]:
    return list(nn.ModuleDict({"network": Normalized(network)}).named_parameters())


def test_encoder_learns_slower_and_nothing_is_left_out() -> None:
    network = EarlyGuide("tf_efficientnet_lite0")
    optimizer = adamw_slow_encoder(named(network), lr=0.1, encoder_factor=0.2, weight_decay=0.0)
    rates = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    assert len(rates) == len(list(network.parameters()))
    assert all(rates[id(p)] == pytest.approx(0.02) for p in network.encoder.parameters())
    assert all(rates[id(p)] == 0.1 for p in network.head.parameters())


def test_network_without_encoder_is_refused() -> None:
    with pytest.raises(InputError, match="optimizer=adamw"):
        adamw_slow_encoder(named(PlainUNet(4)), lr=0.1, encoder_factor=0.1, weight_decay=0.0)


def test_one_cycle_of_one_epoch_learns() -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1)
    one_cycle(optimizer, num_epochs=1, warmup=0.3)
    assert optimizer.param_groups[0]["lr"] > 0.05


def test_one_cycle_rises_to_each_groups_own_rate_and_falls() -> None:
    groups = [{"params": [nn.Parameter(torch.zeros(1))], "lr": lr} for lr in (0.1, 0.02)]
    optimizer = torch.optim.SGD(groups)
    schedule = one_cycle(optimizer, num_epochs=10, warmup=0.3)
    rates = []
    for _ in range(10):
        rates.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        schedule.step()
    first, second = (list(values) for values in zip(*rates, strict=True))
    assert max(first) == pytest.approx(0.1)
    assert second == pytest.approx([x / 5 for x in first])
    peak = first.index(max(first))
    assert 0 < peak < 5
    assert first[: peak + 1] == sorted(first[: peak + 1])
    assert first[peak:] == sorted(first[peak:], reverse=True)
