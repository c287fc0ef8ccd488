"""What is logged during training, as means over sources: a large source does not choose the epoch alone."""

from abc import abstractmethod
from collections.abc import Callable

import torch
from jaxtyping import Float, Int64, Shaped
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.functional.classification import binary_auroc, multiclass_f1_score
from torchmetrics.utilities.data import dim_zero_cat

from busi.core import CLASSES

Sources = Int64[Tensor, " b"]
"""Number of the source of each image of a batch; None for images of one source."""
Measure = Callable[[Float[Tensor, "b c"], Int64[Tensor, " b"]], Float[Tensor, ""]]
"""Probabilities and labels of the images of one source -> a metric; NaN where undefined."""


class SourceMean(Metric):
    """The mean over sources of a metric of their images; sources where it is undefined are left out.

    It keeps a few numbers of each image. So it is the same on any number of devices, whichever sources each
    of them sees.
    """

    higher_is_better = True
    full_state_update = False
    rows: list[Tensor]
    labels: list[Tensor]
    sources: list[Tensor]

    def __init__(self) -> None:
        super().__init__()
        for name in ("rows", "labels", "sources"):
            self.add_state(name, [], dist_reduce_fx="cat")

    @abstractmethod
    def measure(self, rows: Shaped[Tensor, "b *rest"], labels: Int64[Tensor, " b"]) -> Float[Tensor, ""]:
        """The metric of one source; NaN where undefined."""

    def keep(
        self, rows: Shaped[Tensor, "b *rest"], labels: Int64[Tensor, " b"], sources: Sources | None
    ) -> None:
        """Add the images of a batch."""
        self.rows.append(rows)
        self.labels.append(labels)
        self.sources.append(torch.zeros_like(labels) if sources is None else sources)

    def compute(self) -> Float[Tensor, ""]:
        """The mean so far; 0 where no source has the metric (a NaN would end early stopping)."""
        rows, labels, sources = map(dim_zero_cat, (self.rows, self.labels, self.sources))
        values = [self.measure(rows[sources == k], labels[sources == k]) for k in torch.unique(sources)]
        defined = [value for value in values if not value.isnan()]
        return torch.stack(defined).mean() if defined else torch.zeros((), device=rows.device)


class ClassMetric(SourceMean):
    """A metric of class probabilities.

    Args:
        metric: Of one source.
    """

    def __init__(self, metric: Measure) -> None:
        super().__init__()
        self.metric = metric

    def update(
        self, probs: Float[Tensor, "b c"], labels: Int64[Tensor, " b"], sources: Sources | None = None
    ) -> None:
        """Add a batch."""
        self.keep(probs, labels, sources)

    def measure(self, rows: Shaped[Tensor, "b *rest"], labels: Int64[Tensor, " b"]) -> Float[Tensor, ""]:
        """The metric of one source."""
        return self.metric(rows, labels)


def mean_auroc(probs: Float[Tensor, "b c"], labels: Int64[Tensor, " b"]) -> Float[Tensor, ""]:
    """Area under the ROC curve of a class versus the rest, as the mean over the classes that are there."""
    truth = [labels == k for k in range(probs.shape[1])]
    there = [k for k, positive in enumerate(truth) if positive.any() and not positive.all()]
    if not there:
        return torch.full((), torch.nan, device=probs.device)
    return torch.stack(
        [binary_auroc(probs[:, k], truth[k].long(), validate_args=False) for k in there]
    ).mean()


def macro_f1(probs: Float[Tensor, "b c"], labels: Int64[Tensor, " b"]) -> Float[Tensor, ""]:
    """F1 score as the mean over the classes that are there."""
    there = torch.bincount(labels, minlength=len(CLASSES)) > 0
    scores = multiclass_f1_score(probs, labels, len(CLASSES), average="none", validate_args=False)
    return (scores[there] / there.sum()).sum() if there.any() else scores.new_tensor(torch.nan)


def accuracy(probs: Float[Tensor, "b c"], labels: Int64[Tensor, " b"]) -> Float[Tensor, ""]:
    """Share of images whose most probable class is theirs."""
    return (probs.argmax(dim=1) == labels).float().mean()
