"""Metrics of training as means over sources."""

import pytest
import torch
from torch import Tensor
from torchmetrics.classification import MulticlassAccuracy, MulticlassAUROC, MulticlassF1Score

from busi.modules.classification import ClsModule
from busi.modules.segmentation import MeanDice, SegModule, dice_per_image
from busi.modules.source_mean import ClassMetric, Measure, accuracy, macro_f1, mean_auroc

REFERENCES = [
    (mean_auroc, MulticlassAUROC(3)),
    (macro_f1, MulticlassF1Score(3)),
    (accuracy, MulticlassAccuracy(3, average="micro")),
]


def draw(size: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return (
        torch.rand(size, 3, generator=generator).softmax(dim=1),
        torch.randint(3, (size,), generator=generator),
    )


@pytest.mark.parametrize(("measure", "reference"), REFERENCES)
def test_with_one_source_they_are_those_of_torchmetrics(
    measure: Measure, reference: MulticlassAUROC | MulticlassF1Score | MulticlassAccuracy
) -> None:
    probs, labels = draw(57)
    metric = ClassMetric(measure)
    for rows in (slice(0, 20), slice(20, 57)):
        metric.update(probs[rows], labels[rows])
    reference.reset()
    assert torch.equal(metric.compute(), reference(probs, labels))


@pytest.mark.parametrize(("measure", "reference"), REFERENCES)
def test_a_large_source_counts_as_much_as_a_small_one(
    measure: Measure, reference: MulticlassAUROC | MulticlassF1Score | MulticlassAccuracy
) -> None:
    probs, labels = draw(210)
    source = (torch.arange(210) % 21 == 0).long() * 4
    metric = ClassMetric(measure)
    for rows in (slice(0, 100), slice(100, 210)):
        metric.update(probs[rows], labels[rows], source[rows])
    parts = []
    for number in (0, 4):
        reference.reset()
        parts.append(reference(probs[source == number], labels[source == number]))
    torch.testing.assert_close(metric.compute(), (parts[0] + parts[1]) / 2)


def test_a_class_that_a_source_lacks_does_not_count_as_zero() -> None:
    _, labels = draw(80)
    labels = labels.clamp(min=1)  # no normals
    probs = torch.nn.functional.one_hot(labels, 3).float()
    for measure in (mean_auroc, macro_f1):
        assert measure(probs, labels) == 1


def test_a_source_without_the_metric_is_left_out_and_none_at_all_is_no_nan() -> None:
    probs, labels = draw(40)
    metric = ClassMetric(mean_auroc)
    metric.update(probs, labels, torch.zeros(40, dtype=torch.int64))
    alone = metric.compute()
    metric.update(probs[:5], torch.ones(5, dtype=torch.int64), torch.ones(5, dtype=torch.int64))
    assert torch.equal(metric.compute(), alone)
    metric.reset()
    metric.update(probs[:5], torch.ones(5, dtype=torch.int64))
    assert metric.compute() == 0


def test_dice_is_the_mean_over_sources_with_lesions() -> None:
    generator = torch.Generator().manual_seed(0)
    pred = (torch.rand(9, 1, 24, 24, generator=generator) > 0.6).float()
    mask = (torch.rand(9, 1, 24, 24, generator=generator) > 0.7).float()
    mask[7:] = 0
    source = torch.tensor([0] * 6 + [1] + [2] * 2)
    dice = dice_per_image(pred, mask)
    metric, of_all = MeanDice(True, 0.5), MeanDice(False, 0.5)
    for one in (metric, of_all):
        one.update(pred, mask, source)
    torch.testing.assert_close(metric.compute(), (dice[:6].mean() + dice[6]) / 2)
    torch.testing.assert_close(of_all.compute(), (dice[:6].mean() + dice[6] + dice[7:].mean()) / 3)


def test_devices_that_see_different_sources_agree_on_the_mean_over_all() -> None:
    """The rows of two devices are joined as torchmetrics joins them; one device has no image of a source."""
    probs, labels = draw(60)
    source = torch.tensor([0] * 25 + [1] * 20 + [2] * 15)
    ranks = [ClassMetric(mean_auroc) for _ in range(2)]
    for metric, rows in zip(ranks, (slice(0, 30), slice(30, 60)), strict=True):
        for start in range(rows.start, rows.stop, 7):
            here = slice(start, min(start + 7, rows.stop))
            metric.update(probs[here], labels[here], source[here])
    whole = ClassMetric(mean_auroc)
    whole.update(probs, labels, source)
    names = ("rows", "labels", "sources")
    states = [[torch.cat(getattr(one, name)) for one in ranks] for name in names]
    gathered = iter(states)
    ranks[0].dist_sync_fn = lambda *_, **__: next(gathered)
    ranks[0].distributed_available_fn = lambda: True
    assert torch.equal(ranks[0].compute(), whole.compute())


def test_modules_measure_batches_with_and_without_sources() -> None:
    cls = ClsModule(network=Guided())
    seg = SegModule(network=torch.nn.Conv2d(1, 1, 3, padding=1))
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(6, 1, 8, 8, generator=generator)
    batch = {"image": image, "guide": image, "mask": (image > 0.5).float()}
    batch["label"] = torch.tensor([0, 1, 2, 0, 1, 2])
    for module in (cls, seg):
        seen = []
        for more in ({}, {"source": torch.zeros(6, dtype=torch.int64)}, {"source": torch.arange(6) // 3}):
            module.val_metrics.reset()
            module.step({**batch, **more}, module.val_metrics)  # type: ignore[typeddict-item]
            seen.append({name: float(x) for name, x in module.val_metrics.compute().items()})
        assert seen[0] == seen[1]
        assert seen[0].keys() == seen[2].keys()
        assert all(0 <= x <= 1 for x in seen[2].values())


class Guided(torch.nn.Module):
    """Logits of the means of image and guide."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(2, 3)

    def forward(self, image: Tensor, guide: Tensor) -> Tensor:
        return self.linear(torch.cat([image, guide], dim=1).mean(dim=(2, 3)))  # type: ignore[no-any-return]
