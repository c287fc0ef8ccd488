from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight
from torch import nn

from busi.data.balance import balanced_weights, prior_correction
from busi.modules.classification import ClsModule
from busi.modules.losses import CrossEntropyLoss, FocalLoss


class Pixels(nn.Module):
    """Logits from the means of image and guide, with a batch norm that would move in training mode."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.linear = nn.BatchNorm2d(2), nn.Linear(2, 3)

    def forward(self, image: torch.Tensor, guide: torch.Tensor) -> torch.Tensor:
        return self.linear(self.norm(torch.cat([image, guide], dim=1)).mean(dim=(2, 3)))  # type: ignore[no-any-return]


def module(segmenter: nn.Module | None = None, correction: tuple[float, ...] = (0.0, 0.0, 0.0)) -> ClsModule:
    return ClsModule(
        network=Pixels(),
        loss=CrossEntropyLoss(),
        optimizer=partial(torch.optim.SGD, lr=0.1),
        scheduler=partial(torch.optim.lr_scheduler.ConstantLR, factor=1.0),
        monitor="val/auroc",
        segmenter=segmenter,
        class_weights=[1.0, 1.0, 1.0],
        logit_correction=correction,
    )


def test_prior_correction_turns_balanced_posteriors_into_those_of_the_data() -> None:
    """Bayes' rule on a one-dimensional problem whose posteriors are known."""
    counts = [100, 300, 50]
    scores = torch.distributions.Normal(torch.tensor([-1.0, 0.0, 2.0]), 1.0)
    x = torch.linspace(-3, 3, 7)[:, None]
    likelihood = scores.log_prob(x)  # type: ignore[no-untyped-call]
    balanced_logits = likelihood
    prior = torch.tensor(counts) / sum(counts)
    expected = (likelihood.exp() * prior) / (likelihood.exp() * prior).sum(dim=1, keepdim=True)
    corrected = (balanced_logits + torch.tensor(prior_correction(counts))).softmax(dim=1)
    torch.testing.assert_close(corrected, expected)


def test_prior_correction_of_equal_counts_is_nothing() -> None:
    assert prior_correction([7, 7, 7]) == pytest.approx([0, 0, 0])


def test_weights_are_those_of_sklearn() -> None:
    labels = [0] * 5 + [1] * 20 + [2] * 8
    expected = compute_class_weight("balanced", classes=np.arange(3), y=labels)
    assert balanced_weights([5, 20, 8]) == pytest.approx(expected.tolist())


def test_absent_class_has_no_weight_and_no_correction() -> None:
    assert balanced_weights([0, 10, 10]) == [0, 1, 1]
    assert prior_correction([0, 10, 10]) == [0, 0, 0]


def test_segmenter_stays_frozen_in_evaluation_mode() -> None:
    segmenter = nn.Sequential(nn.Conv2d(1, 1, 3), nn.BatchNorm2d(1))
    classifier = module(segmenter).train()
    assert classifier.network.training
    assert not any(part.training for part in segmenter.modules())
    assert not any(parameter.requires_grad for parameter in segmenter.parameters())
    optimizer = classifier.configure_optimizers()["optimizer"]
    trained = {id(p) for group in optimizer.param_groups for p in group["params"]}
    assert trained == {id(p) for p in classifier.network.parameters()}


def test_correction_moves_predictions_and_not_the_loss() -> None:
    plain, moved = module(), module(correction=(1.0, 0.0, -1.0))
    moved.network.load_state_dict(plain.network.state_dict())
    batch = {
        "image": torch.rand(4, 1, 8, 8),
        "guide": torch.rand(4, 1, 8, 8),
        "label": torch.tensor([0, 1, 2, 1]),
    }
    losses = [x.eval().step(batch, x.val_metrics) for x in (plain, moved)]  # type: ignore[arg-type]
    torch.testing.assert_close(losses[0], losses[1])
    difference = moved(batch["image"], batch["guide"]) - plain(batch["image"], batch["guide"])
    torch.testing.assert_close(difference, torch.tensor([[1.0, 0.0, -1.0]]).expand(4, 3))


class TwoPixels(nn.Module):
    """Two classifiers, each of which learns by itself; their mean answers."""

    def __init__(self) -> None:
        super().__init__()
        self.members = nn.ModuleList([Pixels(), Pixels()])

    def forward(self, image: torch.Tensor, guide: torch.Tensor) -> torch.Tensor:
        each = torch.stack([member(image, guide) for member in self.members])
        return each if self.training else each.mean(dim=0)


@pytest.mark.parametrize("source_classes", [None, [[True, True, True], [False, True, True]]])
def test_of_several_classifiers_each_has_its_loss_and_the_mean_is_measured(
    source_classes: list[list[bool]] | None,
) -> None:
    correction = (1.0, 0.0, -2.0)
    batch = {
        "image": torch.rand(4, 1, 8, 8),
        "guide": torch.rand(4, 1, 8, 8),
        "label": torch.tensor([0, 1, 2, 1]),
        "source": torch.tensor([0, 1, 1, 0]),
    }
    both = TwoPixels()
    options: dict[str, Any] = {"source_classes": source_classes, "logit_correction": correction}
    *each, together = (ClsModule(network=one, **options) for one in (*both.members, both))
    measured: list[torch.Tensor] = []
    together.train_metrics.update = lambda probs, *_: measured.append(probs)  # type: ignore[method-assign]
    losses = [x.step(batch, x.train_metrics) for x in (*each, together)]  # type: ignore[arg-type]
    torch.testing.assert_close(losses[2], (losses[0] + losses[1]) / 2)
    logits = sum(one(batch["image"], batch["guide"]) for one in both.members) / 2
    torch.testing.assert_close(measured[0], (logits + torch.tensor(correction)).softmax(dim=1))
    assert together(batch["image"], batch["guide"]).shape == (4, 3)


@pytest.mark.parametrize("loss", [CrossEntropyLoss(label_smoothing=0.1), FocalLoss()])
def test_source_teaches_nothing_about_a_class_that_it_lacks(loss: nn.Module) -> None:
    classifier = ClsModule(network=Pixels(), loss=loss, source_classes=[[True] * 3, [False, True, True]])
    logits = torch.randn(6, 3, generator=torch.Generator().manual_seed(0), requires_grad=True)
    label, source = torch.tensor([0, 1, 2, 1, 2, 2]), torch.tensor([0, 0, 0, 1, 1, 1])
    found = classifier._compare(logits, {"label": label, "source": source})  # type: ignore[typeddict-item]
    weights = torch.ones(3)
    own, other = loss(logits[:3], label[:3], weights), loss(logits[3:, 1:], label[3:] - 1, weights[1:])
    torch.testing.assert_close(found, (own + other) / 2)
    found.backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    assert (logits.grad[3:, 0] == 0).all()
    assert (logits.grad[:3] != 0).all()


def test_image_of_a_class_that_no_training_image_of_its_source_has_is_measured() -> None:
    classifier = ClsModule(network=Pixels(), source_classes=[[False, True, True]])
    logits, label = torch.tensor([[3.0, 1.0, 0.0]]), torch.tensor([0])
    found = classifier._compare(logits, {"label": label, "source": torch.tensor([0])})  # type: ignore[typeddict-item]
    torch.testing.assert_close(found, torch.nn.functional.cross_entropy(logits, label))
