"""Calibration on a validation fold, and what follows from calibrated probabilities.

Labels are positions in `CLASSES`; `logits` and `probs` hold one column per class.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.optimize import minimize, minimize_scalar
from scipy.special import log_softmax, softmax

from busi.core import CLASSES
from busi.metrics.bootstrap import Weights
from busi.metrics.thresholds import malignant_thresholds

COVERAGE = 0.9
"""Share of each class that conformal sets are meant to contain."""


BIAS_DEVIATION = 0.5
"""Standard deviation of the normal prior of a bias, which holds it near 0 where few images tell."""


@dataclass(frozen=True)
class Calibration:
    """What is fitted on validation images, before the test images are looked at.

    Attributes:
        temperature: Logits are divided by it.
        biases: Added to the logits after that, one a class.
        quantiles: Of each class, the largest score (1 - probability of the class) whose class is still in
            the conformal set; 1 where validation has too few images of the class to leave any out.
        level: Share of each class that the sets are meant to contain.
        thresholds: Of malignant, by operating point, see `busi.metrics.thresholds.malignant_thresholds`.
        fitted_on: Sources of the images that it was fitted on, or these images in words; none where nothing
            could be fitted, so that probabilities count as they are.
    """

    temperature: float
    quantiles: tuple[float, ...]
    level: float
    thresholds: dict[str, float | None]
    fitted_on: tuple[str, ...] = ()
    biases: tuple[float, ...] = (0.0,) * len(CLASSES)

    def probs(self, logits: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
        """Calibrated probabilities."""
        return np.asarray(softmax(logits / self.temperature + np.array(self.biases), axis=1))

    def sets(self, logits: Float[np.ndarray, "n 3"]) -> Bool[np.ndarray, "n 3"]:
        """Which classes are in the conformal set of each image; a set may be empty."""
        return 1 - self.probs(logits) <= np.array(self.quantiles)


def calibrate(
    logits: Float[np.ndarray, "n 3"],
    labels: Int[np.ndarray, " n"],
    level: float = COVERAGE,
    learned: Bool[np.ndarray, " 3"] | None = None,
) -> Calibration:
    """Fit temperature, conformal quantiles and thresholds on a validation fold.

    Args:
        logits: Of the validation fold.
        labels: Its true classes.
        level: Share of each class that the sets are meant to contain.
        learned: See `conformal_quantiles`.

    Raises:
        ValueError: If the fold is empty.
    """
    temperature = fit_temperature(logits, labels)
    probs = softmax(logits / temperature, axis=1)
    quantiles = conformal_quantiles(probs, labels, level, learned)
    return Calibration(temperature, quantiles, level, malignant_thresholds(labels, probs))


def fit_temperature(
    logits: Float[np.ndarray, "n c"],
    labels: Int[np.ndarray, " n"],
    prior: Float[np.ndarray, "n c"] | float = 0.0,
    limits: tuple[float, float] = (0.05, 20.0),
) -> float:
    """The temperature that gives the least log loss.

    Source: Guo, Pleiss, Sun, Weinberger, "On Calibration of Modern Neural Networks", ICML 2017.

    Args:
        logits: Of any images.
        labels: Their true classes.
        prior: Added to the logits after they are divided by the temperature.
        limits: It lies between these.

    Raises:
        ValueError: If there are no images.
    """
    if not len(labels):
        raise ValueError("no images to fit a temperature on")

    def loss(log_temperature: float) -> float:
        log_probs = log_softmax(logits / np.exp(log_temperature) + prior, axis=1)
        return -float(log_probs[np.arange(len(labels)), labels].mean())

    low, high = np.log(limits)
    return float(np.exp(minimize_scalar(loss, bounds=(low, high), method="bounded").x))


def fit_temperature_and_biases(
    logits: Float[np.ndarray, "n c"], labels: Int[np.ndarray, " n"]
) -> tuple[float, tuple[float, ...]]:
    """A temperature from 0.05 to 20, and a bias of each class, that give the least log loss.

    Another hospital has other shares of the classes, which a temperature cannot mend. The biases sum to 0.

    Source: Alexandari, Kundaje, Shrikumar, "Maximum Likelihood with Bias-Corrected Calibration is
    Hard-To-Beat at Label Shift Adaptation", ICML 2020; here with a prior, see `BIAS_DEVIATION`.

    Args:
        logits: Of images that come as they do in use: shares of their classes count.
        labels: Their true classes.

    Raises:
        ValueError: If there are no images.
    """
    if not len(labels):
        raise ValueError("no images to fit a temperature on")
    truth = np.eye(logits.shape[1])[labels]

    def loss(parameters: Float[np.ndarray, " p"]) -> tuple[float, Float[np.ndarray, " p"]]:
        scale, biases = parameters[0], parameters[1:]
        log_probs = log_softmax(logits * scale + biases, axis=1)
        wrong = np.exp(log_probs) - truth
        held = biases / BIAS_DEVIATION**2
        value = -(log_probs * truth).sum() + (held * biases).sum() / 2
        slopes = np.array([(wrong * logits).sum(), *(wrong.sum(axis=0) + held)])
        return float(value / len(labels)), slopes / len(labels)

    limits = [(0.05, 20.0), *[(None, None)] * logits.shape[1]]
    start = np.array([1.0, *np.zeros(logits.shape[1])])
    scale, *biases = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=limits).x.tolist()
    return 1 / scale, tuple(biases)


def fit_logit_scale(
    logits: Float[np.ndarray, "n c"], labels: Int[np.ndarray, " n"], prior: Float[np.ndarray, "n c"]
) -> float:
    """What to multiply logits by before the prior is added, for the least log loss, from 1/4 to 4.

    A network that hesitates too much, as a mean of several does, would let the prior decide; a temperature
    that divides both does not mend that. Where the answers are perfect, the least loss would have no end.

    Args:
        logits: Under the prior that the network was trained with, of validation images.
        labels: Their true classes.
        prior: Of the source of each image; see `busi.data.balance.prior_correction`.

    Raises:
        ValueError: If there are no images.
    """
    return 1 / fit_temperature(logits, labels, prior, limits=(0.25, 4.0))


def conformal_quantiles(
    probs: Float[np.ndarray, "n 3"],
    labels: Int[np.ndarray, " n"],
    level: float,
    learned: Bool[np.ndarray, " 3"] | None = None,
) -> tuple[float, ...]:
    """Of each class, the `conformal_quantile` of 1 - the probability of the class in images of the class.

    Args:
        probs: Calibrated.
        labels: True classes.
        level: Share of each class that the sets are meant to contain.
        learned: Whether each class had training images; None if all had. One that had none and that no label
            has is in no set: the model does not tell it.
    """
    scores = 1 - probs
    found = [conformal_quantile(scores[labels == k, k], level) for k in range(len(CLASSES))]
    known = np.bincount(labels, minlength=len(CLASSES)) > 0
    if learned is not None:
        found = np.where(learned | known, found, 0.0).tolist()
    return tuple(found)


def conformal_quantile(scores: Float[np.ndarray, " n"], level: float) -> float:
    """The ``ceil((n + 1) level)``-th smallest score; 1 where that is more than there are.

    A further image of the same population has a score at most as large with probability at least `level`.

    Source: Vovk, Gammerman, Shafer, "Algorithmic Learning in a Random World", 2005; one quantile a class is
    their Mondrian predictor.
    """
    rank = int(np.ceil(round((len(scores) + 1) * level, 9)))
    return float(np.sort(scores)[rank - 1]) if 1 <= rank <= len(scores) else 1.0


def net_benefit(
    positive: Bool[np.ndarray, " n"],
    probs: Float[np.ndarray, " n"],
    thresholds: Float[np.ndarray, " k"],
    weights: Weights,
) -> Float[np.ndarray, "d k"]:
    """Net benefit of acting on every image whose probability is at least the threshold.

    It is ``(true positives - false positives * t / (1 - t)) / n``, which a decision curve draws against the
    threshold ``t``. ``probs = 1`` gives the curve of acting on all images; acting on none has the value 0.

    Source: Vickers and Elkin, Medical Decision Making 26 (2006).

    Args:
        positive: The images that should be acted on.
        probs: Probability of being positive.
        thresholds: Probabilities from which an image is acted on; below 1.
        weights: Of the resamples; an empty one gives NaN.
    """
    acted = probs[:, None] >= thresholds
    benefit = acted * np.where(positive[:, None], 1.0, -thresholds / (1 - thresholds))
    weights = weights.astype(np.float64)
    with np.errstate(invalid="ignore"):  # 0 / 0 is NaN
        return np.asarray(weights @ benefit / weights.sum(axis=1, keepdims=True))


def selective_accuracy(
    correct: Bool[np.ndarray, " n"],
    confidence: Float[np.ndarray, " n"],
    shares: Float[np.ndarray, " k"],
    weights: Weights,
) -> Float[np.ndarray, "d k"]:
    """Selective prediction: accuracy on the rest when the least certain images are deferred to a person.

    Args:
        correct: Whether the predicted class is the true one.
        confidence: Probability of the predicted class. Of images with equal confidence the last is deferred
            first.
        shares: Share of the images that is deferred; below 1. At least one image is kept.
        weights: Of the resamples; an empty one gives NaN.
    """
    order = np.argsort(-confidence, kind="stable")
    weights = weights[:, order].astype(np.float64)
    kept, right = weights.cumsum(axis=1), (weights * correct[order]).cumsum(axis=1)
    wanted = np.maximum((1 - shares) * kept[:, -1:], 1) - 1e-9  # rounding must not keep one more
    place = (kept[:, None, :] < wanted[..., None]).sum(axis=2).clip(max=len(order) - 1)
    with np.errstate(invalid="ignore"):  # 0 / 0 is NaN
        return np.asarray(np.take_along_axis(right, place, 1) / np.take_along_axis(kept, place, 1))


def reliability(
    outcome: Bool[np.ndarray, " n"], probs: Float[np.ndarray, " n"]
) -> list[tuple[float, float, int]]:
    """Mean probability, observed share and number of images in 10 bins of equal mass, without empty ones."""
    edges = np.quantile(probs, np.arange(1, 10) / 10)
    bins = np.searchsorted(edges, probs, side="right")
    return [
        (float(probs[bins == k].mean()), float(outcome[bins == k].mean()), int((bins == k).sum()))
        for k in np.unique(bins)
    ]
