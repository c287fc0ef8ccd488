from collections.abc import Callable

import pytest
import segmentation_models_pytorch as smp
import torch
from torchvision.ops import sigmoid_focal_loss

from busi.modules.losses import BCEDiceLoss, CrossEntropyLoss, FocalLoss, FocalTverskyLoss, soft_dice


def test_soft_dice_of_one_image_is_that_of_smp() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(1, 1, 32, 32, generator=generator)
    mask = (torch.rand(1, 1, 32, 32, generator=generator) > 0.7).float()
    # smp adds its smoothing to the overlap and to half the sum.
    reference = 1 - smp.losses.DiceLoss("binary", smooth=1.5)(logits, mask)
    torch.testing.assert_close(soft_dice(logits.sigmoid(), mask, 3.0)[0], reference)


def test_dice_is_taken_image_by_image() -> None:
    probs, mask = torch.rand(5, 1, 16, 16), (torch.rand(5, 1, 16, 16) > 0.5).float()
    one_by_one = torch.cat([soft_dice(p[None], m[None], 1.0) for p, m in zip(probs, mask, strict=True)])
    torch.testing.assert_close(soft_dice(probs, mask, 1.0), one_by_one)


def test_false_mask_on_a_normal_image_costs_more_the_larger_it_is() -> None:
    empty = torch.zeros(1, 1, 32, 32)
    losses = []
    for rows in (0, 4, 16, 32):
        logits = torch.full((1, 1, 32, 32), -20.0)
        logits[:, :, :rows] = 20.0
        losses.append(float(BCEDiceLoss(dice_weight=1.0)(logits, empty)))
    assert losses[0] < 1e-4
    assert losses == sorted(losses)
    assert losses[-1] > 0.8


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_loss_is_the_weighted_sum_of_its_terms(weight: float) -> None:
    logits, mask = torch.randn(3, 1, 8, 8), (torch.rand(3, 1, 8, 8) > 0.5).float()
    bce = torch.nn.functional.binary_cross_entropy_with_logits(logits, mask)
    dice = 1 - soft_dice(logits.sigmoid(), mask, 100.0).mean()
    torch.testing.assert_close(BCEDiceLoss(weight)(logits, mask), (1 - weight) * bce + weight * dice)


def test_half_precision_logits_give_a_float32_loss() -> None:
    logits = torch.full((2, 1, 256, 256), 9.0, dtype=torch.float16)
    loss = BCEDiceLoss()(logits, torch.ones(2, 1, 256, 256))
    assert loss.dtype == torch.float32
    assert torch.isfinite(loss)


@pytest.mark.parametrize("options", [{"dice_weight": 1.5}, {"smooth": 0.0}])
def test_impossible_settings_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must be in"):
        BCEDiceLoss(**options)


def test_cross_entropy_weights_classes_as_torch_does() -> None:
    logits, label, weights = (
        torch.randn(6, 3),
        torch.tensor([0, 1, 2, 0, 1, 1]),
        torch.tensor([2.0, 0.5, 1.0]),
    )
    reference = torch.nn.CrossEntropyLoss(weight=weights, label_smoothing=0.1)(logits, label)
    torch.testing.assert_close(CrossEntropyLoss(0.1)(logits, label, weights), reference)


def test_focal_tversky_with_equal_weights_is_the_dice_loss() -> None:
    """Tversky's index with 1/2 and 1/2 is Dice; its smoothing counts once where Dice's counts twice."""
    logits, mask = torch.randn(3, 1, 16, 16), (torch.rand(3, 1, 16, 16) > 0.6).float()
    reference = 1 - soft_dice(logits.sigmoid(), mask, 20.0)
    loss = FocalTverskyLoss(miss_weight=0.5, gamma=1.0, smooth=10.0)(logits, mask)
    torch.testing.assert_close(loss, reference.mean())


def test_focal_tversky_charges_a_miss_more_than_a_false_mask() -> None:
    mask = torch.zeros(1, 1, 32, 32)
    mask[..., :16] = 1
    small, large = (torch.full_like(mask, -20.0) for _ in range(2))
    small[..., :12], large[..., :20] = 20.0, 20.0
    loss = FocalTverskyLoss()
    assert loss(small, mask) > loss(large, mask)


def test_focal_tversky_has_a_finite_slope_at_a_perfect_prediction() -> None:
    logits = torch.full((1, 1, 32, 32), -40.0, requires_grad=True)
    FocalTverskyLoss()(logits, torch.zeros(1, 1, 32, 32)).backward()
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


def test_focal_loss_is_that_of_torchvision_and_without_gamma_cross_entropy() -> None:
    logits, label = torch.randn(6, 3), torch.tensor([0, 1, 2, 2, 1, 0])
    weights = torch.tensor([1.0, 2.0, 0.5])
    torch.testing.assert_close(
        FocalLoss(0.0)(logits, label, weights), CrossEntropyLoss()(logits, label, weights)
    )
    # Two classes of which one has the logit 0 are torchvision's sigmoid focal loss.
    pair = torch.stack([torch.zeros(6), logits[:, 0]], dim=1)
    binary = torch.tensor([0, 1, 1, 0, 1, 0])
    reference = sigmoid_focal_loss(logits[:, 0], binary.float(), alpha=-1, gamma=2.0, reduction="mean")
    torch.testing.assert_close(FocalLoss(2.0)(pair, binary, torch.ones(2)), reference)


def test_focal_loss_has_a_finite_slope_where_the_network_is_sure() -> None:
    logits = torch.tensor([[40.0, 0.0, 0.0]], requires_grad=True)
    FocalLoss(0.5)(logits, torch.tensor([0]), torch.ones(3)).backward()
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize(
    "make",
    [lambda: FocalTverskyLoss(gamma=0.0), lambda: FocalTverskyLoss(miss_weight=2.0), lambda: FocalLoss(-1.0)],
)
def test_settings_out_of_range_are_refused(make: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match="must be"):
        make()
