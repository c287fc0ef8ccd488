"""How many labeled images of its own a hospital needs before a calibration on them holds."""

from dataclasses import dataclass
from textwrap import fill

import numpy as np
from jaxtyping import Float, Int
from matplotlib.figure import Figure

from busi.core import MALIGNANT
from busi.evaluation.recalibration import DecisionRule, refit
from busi.figures import CHANCE, SERIES, Block, Cell, PageFigure, Section, Table
from busi.metrics import OPERATING_POINTS, calibration_metrics, defined

SIZES = (10, 20, 50, 100, 200)
"""Numbers of labeled images that are tried, as far as there are as many."""
NUM_DRAWS = 50
NEAR = 0.05
"""How near a rate must be to its target."""
OFTEN = 0.9
"""Share of the draws in which it must be."""
NAMES = {
    **{
        f"{rate}_at_{name}": f"{rate} with the threshold for {100 * level:.0f} % {rate}"
        for name, (rate, level) in OPERATING_POINTS.items()
    },
    "coverage": "sets that contain the true class",
    "set_size": "classes in a set",
    "calibration_error": "calibration error, debiased",
    "brier": "Brier score (0 to 2)",
}
"""Metrics of the curve."""
DRAWN = (
    *("sensitivity_at_sensitivity_90", "specificity_at_specificity_90", "coverage"),
    *("set_size", "calibration_error", "brier"),
)
"""Those of the figure."""

Logits = Float[np.ndarray, "n 3"]
Labels = Int[np.ndarray, " n"]


@dataclass(frozen=True)
class Curve:
    """What calibrations on random draws of images reach on the images that are judged.

    Attributes:
        sizes: Number of images of a draw.
        values: Of each metric, one row a size and one column a draw.
        frozen: Of each metric, the value with what the model came with.
        targets: Of the metrics that are meant to have one value, that value.
    """

    sizes: tuple[int, ...]
    values: dict[str, Float[np.ndarray, "s d"]]
    frozen: dict[str, float]
    targets: dict[str, float]

    def enough(self, name: str) -> int | None:
        """The least size from which on a metric is near its target in most draws; None if none is."""
        near = np.abs(self.values[name] - self.targets[name]) <= NEAR + 1e-9
        holds = near.mean(axis=1) >= OFTEN
        first = int(np.flatnonzero(~holds).max(initial=-1)) + 1
        return self.sizes[first] if first < len(self.sizes) else None


def measure_rule(rule: DecisionRule, logits: Logits, labels: Labels) -> dict[str, float]:
    """The metrics of the curve on the images that are judged; NaN where they have no such class."""
    probs, sets = rule.calibration.probs(logits), rule.calibration.sets(logits)
    malignant = labels == MALIGNANT
    values = {
        "coverage": float(sets[np.arange(len(labels)), labels].mean()),
        "set_size": float(sets.sum(axis=1).mean()),
    }
    for name, (kind, _) in OPERATING_POINTS.items():
        threshold = rule.calibration.thresholds[name]
        positive = probs[:, MALIGNANT] >= (np.inf if threshold is None else threshold)
        hits, kept = (positive, malignant) if kind == "sensitivity" else (~positive, ~malignant)
        values[f"{kind}_at_{name}"] = float(hits[kept].mean()) if kept.any() else float("nan")
    once = np.ones((1, len(labels)), np.int64)
    calibrated = calibration_metrics(labels, probs, once)
    return values | {name: float(calibrated[name][0]) for name in ("calibration_error", "brier")}


def draw_curve(
    own: DecisionRule,
    part: tuple[Logits, Labels, Int[np.ndarray, " n"]],
    rest: tuple[Float[np.ndarray, "m 3"], Int[np.ndarray, " m"]],
    seed: int,
    num_draws: int = NUM_DRAWS,
) -> Curve:
    """Calibrate on random images again and again, whole groups as far as they fit, and judge each time.

    Nothing is predicted again. The images that are judged are always the same.

    Args:
        own: What the model came with.
        part: Logits, labels and groups of the images that are drawn from.
        rest: Logits and labels of those that are judged.
        seed: Of the draws.
        num_draws: Of each size.
    """
    logits, labels, groups = part
    sizes = tuple(size for size in SIZES if size <= len(labels))
    names, place = np.unique(groups, return_inverse=True)
    rng = np.random.default_rng(seed)
    values = {name: np.full((len(sizes), num_draws), np.nan) for name in NAMES}
    for d in range(num_draws):
        order = np.argsort(rng.permutation(len(names))[place], kind="stable")
        for s, size in enumerate(sizes):
            chosen = order[:size]
            for name, x in measure_rule(refit(own, logits[chosen], labels[chosen]), *rest).items():
                values[name][s, d] = x
    targets = {f"{rate}_at_{name}": level for name, (rate, level) in OPERATING_POINTS.items()}
    targets["coverage"] = own.calibration.level
    frozen = measure_rule(own, *rest)
    return Curve(sizes, values, frozen, {name: x for name, x in targets.items() if np.isfinite(frozen[name])})


def describe_curve(curve: Curve) -> tuple[Section, dict[str, object]]:
    """The section about the curve, and its content as JSON."""
    answers = {name: curve.enough(name) for name in curve.targets}
    middle = {name: np.nanquantile(x, (0.5, 0.05, 0.95), axis=1) for name, x in _known(curve).items()}
    header = ["labeled images", *(NAMES[name] for name in middle)]
    rows: list[list[Cell]] = [["none: frozen", *(f"{curve.frozen[name]:.3f}" for name in middle)]]
    for s, size in enumerate(curve.sizes):
        rows.append([size, *(_cell(*(float(x) for x in found[:, s])) for found in middle.values())])
    blocks: list[Block] = [
        summarize(curve, answers),
        f"Each number of images was drawn {curve.values['brier'].shape[1]} times from those set aside, whole "
        "patients and near-duplicates together; each time the model was calibrated on them and judged on the "
        "same images, which took no part. Median, and the band that holds 90 % of the draws.",
        PageFigure("learning_curve", draw_figure(curve), "What a calibration on so many images reaches"),
        Table(header, rows, "Median [5 %, 95 %] over draws"),
    ]
    content: dict[str, object] = {
        "sizes": list(curve.sizes),
        "frozen": {name: defined(x) for name, x in curve.frozen.items()},
        "enough": answers,
        "median_5_95": {
            name: [[defined(float(x)) for x in found[:, s]] for s in range(len(curve.sizes))]
            for name, found in middle.items()
        },
    }
    return Section("How many labeled images are needed", blocks), content


def summarize(curve: Curve, answers: dict[str, int | None]) -> str:
    """What the curve tells a hospital, in plain words."""
    most = curve.sizes[-1]
    parts = []
    for name, size in answers.items():
        held = abs(curve.frozen[name] - curve.targets[name]) <= NEAR
        after = f"{size} images are enough" if size else f"not even {most} images are enough"
        parts.append(
            f"{NAMES[name].capitalize()} (target {100 * curve.targets[name]:.0f} %): {after}; as it came, "
            f"the model is at {100 * curve.frozen[name]:.0f} %{', which is near enough' if held else ''}"
        )
    needed = list(answers.values())
    known = [size for size in needed if size is not None]
    if needed and len(known) == len(needed):
        lead = f"A hospital like this one needs {max(known)} labeled images of its own before all rates hold."
    else:
        lead = f"With up to {most} labeled images of its own, not all rates hold here."
    return (
        f"{lead} A rate holds where it is within {NEAR} of its target in {100 * OFTEN:.0f} % of the draws, "
        f"with that many images and with every larger number that was tried. {'. '.join(parts)}."
    )


def draw_figure(curve: Curve) -> Figure:
    """Median and band of some metrics against the number of images."""
    figure = Figure(figsize=(9, 5.2), layout="constrained")
    known, (local, frozen, *_) = _known(curve), SERIES
    for axis, name in zip(figure.subplots(2, 3).ravel(), DRAWN, strict=True):
        axis.set_title(fill(NAMES[name], 30), fontsize=9)
        axis.grid(color="#eeeeee")
        if name not in known:
            axis.text(0.5, 0.5, "no such images", ha="center", transform=axis.transAxes)
            continue
        middle, low, high = np.nanquantile(known[name], (0.5, 0.05, 0.95), axis=1)
        axis.fill_between(curve.sizes, low, high, color=local.color, alpha=0.2, label="90 % of draws")
        axis.plot(curve.sizes, middle, color=local.color, marker=local.marker, markersize=3, label="median")
        axis.axhline(curve.frozen[name], color=frozen.color, linestyle=frozen.linestyle, label="frozen")
        if name in curve.targets:
            axis.axhline(curve.targets[name], color=CHANCE, linestyle=":", label="target")
        axis.set(xscale="log", xticks=curve.sizes, xlabel="labeled images")
        axis.set_xticklabels(map(str, curve.sizes))
        axis.minorticks_off()
    found = [axis.get_legend_handles_labels() for axis in figure.axes]
    lines = {
        label: handle for handles, labels in found for handle, label in zip(handles, labels, strict=True)
    }
    figure.legend(lines.values(), lines, loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    return figure


def can_draw(number: int) -> bool:
    """Whether these are images enough for the least size of a curve."""
    return number >= SIZES[0]


def _known(curve: Curve) -> dict[str, Float[np.ndarray, "s d"]]:
    """The metrics that are defined in the images that are judged."""
    return {name: x for name, x in curve.values.items() if np.isfinite(x).any(axis=1).all()}


def _cell(middle: float, low: float, high: float) -> str:
    return f"{middle:.3f} [{low:.3f}, {high:.3f}]".replace(" ", "\N{NO-BREAK SPACE}")
