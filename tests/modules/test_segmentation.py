import pytest
import torch
from torchmetrics.segmentation import DiceScore

from busi.modules.segmentation import MeanDice, dice_per_image


@pytest.fixture
def masks() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    pred = (torch.rand(9, 1, 24, 24, generator=generator) > 0.6).float()
    mask = (torch.rand(9, 1, 24, 24, generator=generator) > 0.7).float()
    mask[:3] = 0
    pred[0] = 0
    return pred, mask


def test_dice_is_that_of_torchmetrics(masks: tuple[torch.Tensor, torch.Tensor]) -> None:
    pred, mask = masks
    for one_pred, one_mask in zip(pred[3:], mask[3:], strict=True):
        reference = DiceScore(num_classes=1, input_format="one-hot", average="macro", include_background=True)
        expected = reference(one_pred[None].int(), one_mask[None].int())
        torch.testing.assert_close(dice_per_image(one_pred[None], one_mask[None])[0], expected)


def test_empty_prediction_of_an_empty_mask_is_right(masks: tuple[torch.Tensor, torch.Tensor]) -> None:
    pred, mask = masks
    assert dice_per_image(pred, mask)[:3].tolist() == [1.0, 0.0, 0.0]


@pytest.mark.parametrize("lesions_only", [True, False])
def test_mean_dice_in_batches_is_the_mean_over_images(
    masks: tuple[torch.Tensor, torch.Tensor], lesions_only: bool
) -> None:
    pred, mask = masks
    metric = MeanDice(lesions_only, threshold=0.5)
    for rows in (slice(0, 4), slice(4, 9)):
        metric.update(pred[rows] * 0.9, mask[rows])
    counted = slice(3, 9) if lesions_only else slice(0, 9)
    torch.testing.assert_close(metric.compute(), dice_per_image(pred, mask)[counted].mean())


def test_mean_dice_without_lesions_is_no_nan() -> None:
    metric = MeanDice(lesions_only=True, threshold=0.5)
    metric.update(torch.zeros(2, 1, 8, 8), torch.zeros(2, 1, 8, 8))
    assert metric.compute() == 0
