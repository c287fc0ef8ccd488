"""Classes of unequal frequency: weights for a loss, and the correction of a prior that training changed."""

from collections.abc import Sequence

import torch


def prior_correction(class_counts: Sequence[int]) -> list[float]:
    """What to add to the logits of a network that was trained with classes balanced.

    Balanced training estimates p(class | image) under equal priors; adding the log of the prior,
    relative to the equal one, gives it under the prior of the training set. An absent class gets 0.

    Source: Saerens, Latinne, Decaestecker, "Adjusting the outputs of a classifier to new a priori
    probabilities", Neural Computation 14 (2002), equation 2.4.
    """
    counts = torch.tensor(list(class_counts), dtype=torch.float64)
    prior = counts / counts.sum() * (counts > 0).sum()
    return torch.where(counts > 0, prior.clamp(min=1e-12).log(), 0.0).tolist()


def balanced_weights(class_counts: Sequence[int]) -> list[float]:
    """Weights under which every class that is present has the same share of the loss; mean 1."""
    counts = torch.tensor(list(class_counts), dtype=torch.float64)
    present = (counts > 0).sum()
    return torch.where(counts > 0, counts.sum() / (present * counts.clamp(min=1)), 0.0).tolist()
