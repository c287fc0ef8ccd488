"""The figures of a report: ROC, reliability, decision curve, lesion sizes and examples."""

from collections.abc import Callable, Mapping, Sequence
from itertools import cycle

import numpy as np
from jaxtyping import Bool, Float, Int
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.metrics import precision_recall_curve, roc_curve

from busi.core import BENIGN, CLASSES, MALIGNANT
from busi.figures import ANNOTATION, CHANCE, LOOKS, PREDICTION, SERIES, Look, Overlay, draw_contour
from busi.metrics import Estimate, net_benefit, reliability, selective_accuracy, wilson
from busi.reporting.cells import show
from busi.reporting.pooling import Scored, rows_by_source

GRID = np.linspace(0, 1, 2001)
"""False-positive rates and recalls at which curves are averaged: fine, so that steps stay steps."""
THRESHOLDS = np.linspace(0.01, 0.6, 591)
"""Threshold probabilities of the decision curve; nobody waits for more than 0.6 before acting on a lesion."""
SHARES = np.linspace(0, 0.8, 401)
"""Shares of deferred images, of the selective-prediction curve."""


def draw_ranking(curves: Mapping[str, Sequence[tuple[Scored, int]]], areas: Mapping[str, Estimate]) -> Figure:
    """Draw ROC and precision-recall curves, one versus rest, averaged over folds, seeds and sources.

    Args:
        curves: Name of a curve -> the seeds of a guide, each with the class that is told from the rest.
        areas: Name of a curve -> the area under its ROC curve, which the legend has.
    """
    figure = Figure(figsize=(9, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    for (name, given), look in zip(curves.items(), cycle(SERIES), strict=False):
        seeds, k = [one for one, _ in given], given[0][1]
        area = f"{name}, AUC {show(areas[name], 2)}"
        for axis, draw, label in ((left, _roc, area), (right, _precision, name)):
            of_fold = lambda one, draw=draw, k=k: draw(one.labels == k, one.probs[:, k])  # noqa: E731
            values = _mean_curve(seeds, of_fold, by_fold=True)
            steps = "post" if axis is left else "pre"
            _draw_steps(axis, GRID, values, LOOKS.get(name, look), label, steps)
    left.plot([0, 1], [0, 1], color=CHANCE, linewidth=0.8, linestyle="--")
    left.set(xlabel="1 - specificity", ylabel="sensitivity", title="ROC")
    right.set(xlabel="recall", ylabel="precision", title="precision and recall")
    for axis in (left, right):
        _unit_square(axis)
        axis.legend(loc="lower right" if axis is left else "lower left")
    return figure


def draw_reliability(seeds: Sequence[Scored]) -> Figure:
    """Draw the share of malignant against its probability, before and after the temperature, by source."""
    figure = Figure(figsize=(9, 4.2), layout="constrained")
    titles = ("before the temperature", "after the temperature")
    sources = rows_by_source(seeds[0].columns)
    for axis, title in zip(figure.subplots(1, 2), titles, strict=True):
        axis.plot([0, 1], [0, 1], color=CHANCE, linewidth=0.8, linestyle="--")
        for (source, here), look in zip(sources.items(), cycle(SERIES), strict=False):
            outcome = np.concatenate([one.labels[here] == MALIGNANT for one in seeds])
            probs = [one.raw[here] if title == titles[0] else one.probs[here] for one in seeds]
            bins = np.array(reliability(outcome, np.concatenate(probs)[:, MALIGNANT]))
            # The seeds see the same images, so they do not add to the number of images.
            limits = [wilson(share, number / len(seeds)) for _, share, number in bins]
            error = np.abs(np.transpose(limits) - bins[:, 1])
            axis.errorbar(*bins.T[:2], yerr=error, fmt=look.marker, color=look.color, capsize=2, label=source)
        axis.set(xlabel="probability of malignant, mean of a tenth", ylabel="share malignant", title=title)
        _unit_square(axis)
        if len(sources) > 1:
            axis.legend(loc="upper left")
    return figure


def draw_decision_curve(seeds: Sequence[Scored]) -> Figure:
    """Draw net benefit of acting on malignant, and accuracy when the least certain images are deferred.

    Both are averaged over sources.
    """
    figure = Figure(figsize=(9, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    everyone = _mean_curve(seeds, lambda one: _benefit(one, np.ones(len(one.labels))))
    benefit = _mean_curve(seeds, lambda one: _benefit(one, one.probs[:, MALIGNANT]))
    _draw_steps(left, THRESHOLDS, benefit, SERIES[0], "the model")
    _draw_steps(left, THRESHOLDS, everyone, SERIES[1], "act on everyone")
    left.axhline(0, color=CHANCE, linewidth=0.8, label="act on nobody")
    left.set(xlabel="threshold probability", ylabel="net benefit", title="decision curve, malignant")
    malignant = _mean_curve(seeds, lambda one: np.array([(one.labels == MALIGNANT).mean()]))
    left.set_ylim(-0.05, 1.1 * max(malignant[0], 0.1))
    left.legend()
    _draw_steps(right, SHARES, _mean_curve(seeds, _accuracy, by_fold=True), SERIES[0], "the model")
    of = " of each fold" if len(np.unique(seeds[0].folds)) > 1 else ""
    right.set(xlabel=f"share{of} deferred to a person, least certain first")
    right.set(ylabel="accuracy on the rest", title="selective prediction", xlim=(0, 0.8))
    for axis in (left, right):
        axis.grid(color="#eeeeee")
    return figure


def draw_sizes(
    share: Float[np.ndarray, " n"], dice: Float[np.ndarray, " n"], label: Int[np.ndarray, " n"]
) -> Figure:
    """Draw the Dice of each lesion against its size, and the medians of ten size classes.

    Args:
        share: Share of the image that the lesion covers.
        dice: Of the predicted mask.
        label: Benign or malignant.
    """
    figure = Figure(figsize=(8, 3.6), layout="constrained")
    axis = figure.subplots()
    for k in (BENIGN, MALIGNANT):
        look = LOOKS[CLASSES[k]]
        here, shown = label == k, CLASSES[k]
        axis.scatter(
            share[here], dice[here], s=12, alpha=0.6, color=look.color, marker=look.marker, label=shown
        )
    order = np.argsort(share)
    pieces = [piece for piece in np.array_split(order, min(10, len(order))) if piece.size]
    middle = [[np.median(share[piece]), np.median(dice[piece])] for piece in pieces]
    axis.plot(*np.transpose(middle), color="black", linewidth=1.5, label="median of a tenth")
    axis.set(xscale="log", xlabel="share of the image that the lesion covers", ylabel="Dice")
    axis.set(
        ylim=(-0.03, 1.03),
        xticks=[0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5],
        xlim=(0.9 * share.min(), 1.1 * share.max()),
    )
    axis.minorticks_off()
    axis.xaxis.set_major_formatter(lambda share, _: f"{100 * share:g} %")
    axis.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3, frameon=False)
    return figure


def draw_cases(cases: Sequence[Overlay]) -> Figure:
    """Draw one case in each row: the image, its annotation, its predicted mask."""
    figure = Figure(figsize=(8.4, 2.5 * len(cases)), layout="constrained")
    for row, case in zip(figure.subplots(len(cases), 3, squeeze=False), cases, strict=True):
        empty = np.zeros_like(case.mask)
        masks = ((empty, ANNOTATION), (case.mask, ANNOTATION), (case.pred, PREDICTION))
        for axis, (mask, look) in zip(row, masks, strict=True):
            axis.imshow(case.image, cmap="gray", vmin=0, vmax=255)
            axis.axis("off")
            draw_contour(axis, mask, look)
        row[0].set_title(case.title, fontsize=9, loc="left")
    return figure


def _mean_curve(
    seeds: Sequence[Scored], curve: Callable[[Scored], Float[np.ndarray, " g"]], by_fold: bool = False
) -> Float[np.ndarray, " g"]:
    """Mean of a curve over seeds, and folds, and then over the sources where it is defined."""
    means = []
    for here in rows_by_source(seeds[0].columns).values():
        parts = [one.only(here) for one in seeds]
        if by_fold:
            parts = [one.only(one.folds == fold) for one in parts for fold in np.unique(one.folds)]
        means.append(np.mean([curve(one) for one in parts], axis=0))
    kept = [mean for mean in means if np.isfinite(mean).all()]
    return np.asarray(np.mean(kept or means, axis=0))


def _draw_steps(
    axis: Axes,
    x: Float[np.ndarray, " g"],
    y: Float[np.ndarray, " g"],
    look: Look,
    name: str,
    steps: str = "post",
) -> None:
    axis.plot(x, y, color=look.color, linestyle=look.linestyle, label=name, drawstyle=f"steps-{steps}")


def _benefit(one: Scored, probs: Float[np.ndarray, " n"]) -> Float[np.ndarray, " g"]:
    once = np.ones((1, len(probs)), np.int64)
    return np.asarray(net_benefit(one.labels == MALIGNANT, probs, THRESHOLDS, once)[0])


def _accuracy(one: Scored) -> Float[np.ndarray, " g"]:
    once = np.ones((1, len(one.labels)), np.int64)
    return np.asarray(selective_accuracy(one.correct, one.probs.max(axis=1), SHARES, once)[0])


def _roc(positive: Bool[np.ndarray, " n"], scores: Float[np.ndarray, " n"]) -> Float[np.ndarray, " g"]:
    if positive.all() or not positive.any():
        return np.full_like(GRID, np.nan)
    false, true, _ = roc_curve(positive, scores)
    curve = np.interp(GRID, false, true)
    curve[0] = 0.0
    return np.asarray(curve)


def _precision(positive: Bool[np.ndarray, " n"], scores: Float[np.ndarray, " n"]) -> Float[np.ndarray, " g"]:
    """Precision at each recall; interpolation between thresholds would give too high values."""
    if not positive.any():
        return np.full_like(GRID, np.nan)
    # The last point is left out: no threshold reaches its precision of 1.
    precision, recall = (x[:-1][::-1] for x in precision_recall_curve(positive, scores)[:2])
    return np.asarray(precision[np.searchsorted(recall, GRID.clip(min=1e-9)).clip(max=len(recall) - 1)])


def _unit_square(axis: Axes) -> None:
    axis.set(xlim=(0, 1), ylim=(0, 1.02), aspect="equal")
    axis.grid(color="#eeeeee")
