"""The features of a classifier: what its last linear layer reads, seen while it predicts."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from busi.core import CLASSES
from busi.models import Ensemble

Call = tuple[nn.Module, Tensor, Tensor]
"""A layer, its input and its output."""
NO_LINEAR = "the classifier does not end in a linear layer"


class LastFeatures:
    """The features of the images that a classifier has predicted while `watch_features` watched it.

    Of an ensemble they are those of its members, side by side; with test-time augmentation, the mean.
    """

    def __init__(self) -> None:
        self.rows: list[Float[np.ndarray, "b d"]] = []
        self.found = True

    def add(self, layers: list[tuple[float, Tensor, Tensor]], logits: Tensor) -> None:
        """Add a batch.

        Args:
            layers: Of each member, its weight, and input and output of its last linear layer, in all calls.
            logits: What the classifier made of them.
        """
        size = len(logits)
        fit = [_fits(given, gave, logits) for _, given, gave in layers]
        self.found = self.found and bool(fit) and all(fit)
        if self.found:
            inputs = [_mean_of_calls(given, size) for _, given, _ in layers]
            answer = sum(weight * _mean_of_calls(gave, size) for weight, _, gave in layers)
            self.found = bool((logits - answer).abs().max() < 1e-3)
            self.rows.append(torch.cat(inputs, dim=1).cpu().double().numpy())

    def stack(self) -> Float[np.ndarray, "n d"] | None:
        """The features, in the order of prediction; None unless the logits are those of the layer."""
        return np.concatenate(self.rows) if self.found and self.rows else None


@contextmanager
def watch_features(network: nn.Module) -> Iterator[LastFeatures]:
    """Watch what the last linear layer of a classifier reads, whenever the classifier is called.

    Args:
        network: Whatever -> logits of the classes.
    """
    features = LastFeatures()
    ensembles = [part for part in network.modules() if isinstance(part, Ensemble)]
    members = [member for ensemble in ensembles for member in ensemble.members]
    # A layer belongs to the innermost member around it.
    owners = {part: k for k, whole in enumerate([network, *members]) for part in whole.modules()}
    weights = [1.0]
    for ensemble in ensembles:  # outer ones first
        weights += [weights[owners[ensemble]] / len(ensemble.members)] * len(ensemble.members)
    calls: dict[int, list[Call]] = {}

    def note(part: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        calls.setdefault(owners[part], []).append((part, inputs[0], output))

    def finish(_: nn.Module, __: object, logits: Tensor) -> None:
        features.add([(weights[k], *_last_calls(own)) for k, own in calls.items()], logits)
        calls.clear()

    handles = [part.register_forward_hook(note) for part in owners if _may_be_last(part)]
    handles.append(network.register_forward_hook(finish))
    try:
        yield features
    finally:
        for handle in handles:
            handle.remove()


def _fits(given: Tensor, gave: Tensor, logits: Tensor) -> bool:
    """Whether a layer has given a row of logits of each image of a batch, or several in turn."""
    return given.ndim == 2 and gave.shape[1:] == logits.shape[1:] and len(given) % len(logits) == 0


def _mean_of_calls(rows: Tensor, size: int) -> Tensor:
    return rows.reshape(-1, size, rows.shape[1]).mean(dim=0)


def _may_be_last(part: nn.Module) -> bool:
    return isinstance(part, nn.Linear) and part.out_features == len(CLASSES)


def _last_calls(calls: list[Call]) -> tuple[Tensor, Tensor]:
    """Input and output of the layer that was called last, in all its calls."""
    last = [(given, gave) for part, given, gave in calls if part is calls[-1][0]]
    return torch.cat([given for given, _ in last]), torch.cat([gave for _, gave in last])
