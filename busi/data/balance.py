"""Classes and sources of unequal frequency: how often an image is drawn, and the prior that this changes."""

import logging
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from busi.core import CLASSES, NORMAL

log = logging.getLogger(__name__)

BALANCED = ("sampler", "own_classes", "weights")
"""Values of ``data.balance`` by which a classifier learns as if classes were equally common."""


class Draws(NamedTuple):
    """How samples are drawn.

    Attributes:
        chances: How often each sample is drawn, relative to the others.
        strata: Number of its class and source: each has its share in every epoch.
    """

    chances: Float[np.ndarray, " n"]
    strata: Int[np.ndarray, " n"]


def balance_draws(balance: str, labels: Int[np.ndarray, " n"], sources: Sequence[str]) -> Draws | None:
    """How often each training image is drawn, relative to the others.

    ``sampler`` draws every class equally often, and within a class every source that has it.
    ``own_classes`` draws every class of every source equally often. ``sources`` draws normals as often as
    the sources that have some do on average, and all other images equally often from every source: what is
    added without normals does not make them rarer.

    Args:
        balance: See `busi.data.datamodule.BUSIDataModule`.
        labels: Of the training images.
        sources: Of the same images.

    Returns:
        None where every image is drawn once (``none``, ``weights``).
    """
    names, numbers = np.unique(sources, return_inverse=True)
    if balance == "sampler":
        strata = [labels == label for label in np.unique(labels)]
        shares = [1.0] * len(strata)
    elif balance == "own_classes":
        strata = [labels == label for label in np.unique(labels)]
        shares = [float(len(np.unique(numbers[stratum]))) for stratum in strata]
    elif balance == "sources":
        normal = labels == NORMAL
        own = [float(normal[numbers == k].mean()) for k in np.unique(numbers[normal])]
        share = float(np.mean(own)) if own else 0.0
        strata, shares = [normal, ~normal], [share, 1 - share]
    else:
        return None
    chances = np.zeros(len(labels))
    for stratum, share in zip(strata, shares, strict=True):
        there = np.unique(numbers[stratum])
        for k in there:
            here = stratum & (numbers == k)
            chances[here] = share / len(there) / here.sum()
    return Draws(chances, labels * len(names) + numbers)


def prior_correction(class_counts: Sequence[int] | Sequence[float]) -> list[float]:
    """What to add to the logits of a network that was trained with classes balanced.

    Balanced training estimates p(class | image) under equal priors; adding the log of the prior,
    relative to the equal one, gives it under the prior of the training set. An absent class gets 0.

    Source: Saerens, Latinne, Decaestecker, "Adjusting the outputs of a classifier to new a priori
    probabilities", Neural Computation 14 (2002), equation 2.4.
    """
    counts = np.array(class_counts, dtype=np.float64)
    prior = counts / counts.sum() * np.count_nonzero(counts)
    found = np.log(prior, where=counts > 0, out=np.zeros_like(prior))
    return [float(x) for x in found]


def balanced_weights(class_counts: Sequence[int]) -> list[float]:
    """Weights under which every class that is present has the same share of the loss; mean 1."""
    counts = np.array(class_counts, dtype=np.float64)
    present = np.count_nonzero(counts)
    weights = np.divide(counts.sum() / present, counts, where=counts > 0, out=np.zeros_like(counts))
    return [float(weight) for weight in weights]


def source_corrections(
    labels: Int[np.ndarray, " n"], sources: Sequence[str]
) -> tuple[list[float], dict[str, list[float]]]:
    """`prior_correction` for images of an unknown source, and for those of each source.

    An unknown source gets the mean prior of the sources that have every class of the pool, or of all where
    none has. A source without a class of the pool counts as if it had one image of it.

    Args:
        labels: Of the training images.
        sources: Of the same images.
    """
    names, pool = np.array(sources), np.bincount(labels, minlength=len(CLASSES))
    counts = {one: np.bincount(labels[names == one], minlength=len(CLASSES)) for one in sorted(set(sources))}
    whole = [one for one in counts.values() if (one[pool > 0] > 0).all()] or list(counts.values())
    unknown = np.mean([one / one.sum() for one in whole], axis=0)
    own = {name: np.where((one == 0) & (pool > 0), 1, one) for name, one in counts.items()}
    corrections = {name: prior_correction(one.tolist()) for name, one in own.items()}
    return prior_correction(unknown.tolist()), corrections


def class_balance(
    balance: str, labels: Int[np.ndarray, " n"], sources: Sequence[str], order: Sequence[str]
) -> dict[str, Any]:
    """What a classifier must know: its arguments that follow from the data, by name.

    These are ``class_weights``, ``logit_correction``, and with ``own_classes`` also ``source_classes``. A
    class without a training image is named in a warning, and the others are balanced.

    Args:
        balance: See `busi.data.datamodule.BUSIDataModule`.
        labels: Of the training images.
        sources: Of the same images.
        order: The sources of the data, as batches number them.
    """
    counts, ones = np.bincount(labels, minlength=len(CLASSES)).tolist(), [1.0] * len(CLASSES)
    if absent := [name for name, count in zip(CLASSES, counts, strict=True) if not count]:
        log.warning("No training image is %s: the classifier does not learn it", " or ".join(absent))
    if balance not in BALANCED:
        return {"class_weights": ones, "logit_correction": [0.0] * len(CLASSES)}
    weights = balanced_weights(counts) if balance == "weights" else ones
    known = {"class_weights": weights, "logit_correction": source_corrections(labels, sources)[0]}
    if balance == "own_classes":
        pairs = set(zip(sources, labels.tolist(), strict=True))
        trained = set(sources)  # a source that is held out may have any class
        known["source_classes"] = [
            [counts[k] > 0 and ((name, k) in pairs or name not in trained) for k in range(len(CLASSES))]
            for name in order
        ]
    return known


def logit_shift(
    balance: str, labels: Int[np.ndarray, " n"], sources: Sequence[str], judged: Sequence[str]
) -> Float[np.ndarray, "m 3"]:
    """What turns the logits of a classifier into those under the prior of the source of each image.

    A classifier adds the correction for an unknown source by itself (`class_balance`).

    Args:
        balance: See `busi.data.datamodule.BUSIDataModule`.
        labels: Of the training images.
        sources: Of the same images.
        judged: Source of each image that is classified.
    """
    if balance not in BALANCED or len(set(sources)) < 2:
        return np.zeros((len(judged), len(CLASSES)))
    unknown, own = source_corrections(labels, sources)
    return np.array([np.subtract(own.get(name, unknown), unknown) for name in judged]).reshape(
        -1, len(CLASSES)
    )
