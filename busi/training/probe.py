"""The shortcut probe: in a pool, "normal" may mean "that scanner". How well do the features tell the source?

``shortcut.json`` of a run folder, of a classifier that was tested in a pool. An interval is
``[value, low, high]``, each None where undefined::

    {
      "skipped": None,                        # or, in words, why there are no probes: "probes" is then {}
      "left_out": {"tiny": "..."},            # sources that no probe has, and why in words
      "design": "val_to_test",                # or "halves": see `choose_parts`
      "no_features": None,                    # or, in words, why no probe has "features"
      "probes": {
        "all": {                              # then "normal", "benign", "malignant": of that class alone
          "skipped": None,                    # or why there are no numbers: nothing but this is there then
          "sources": ["busi", "busuclm"],
          "num_fitted": 310,                  # images that the probes are fitted on, and judged on
          "num_judged": 305,
          "chance": {"balanced_accuracy": 0.5, "auroc": 0.5},
          "features": {"balanced_accuracy": [0.93, 0.9, 0.95], "auroc": [0.98, 0.96, 0.99]},
          "pixels": {...},                    # the same of size, aspect and gray histogram: needs no network
          "label": {...}                      # of the true class; of "all" alone
        }, ...
      },
      "normals": {                            # of each source, those that no probe has included
        "busi": {
          "split": "test",                    # "val" where no image of the source tests (data.hold_out)
          "num_normals": 27,
          "num_lesions": 128,
          "normal_recall": [0.85, 0.7, 0.96],
          "lesions_called_normal": [0.02, 0.0, 0.05]
        }, ...
      }
    }
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from busi.core import CLASSES, NORMAL, write_json
from busi.data import BUSIDataModule, fit_inset
from busi.metrics import Estimates, Weights, bootstrap_groups, defined, mean_of, probe_sources
from busi.training.features import NO_LINEAR

MIN_IMAGES = 10
"""Of a source, to fit a probe on, and as many to judge it on."""
MEASURES = ("balanced_accuracy", "auroc")
NUM_GRAYS = 32
"""Bins of the gray histogram."""

Columns = Mapping[str, Shaped[np.ndarray, " n"]]
Parts = Mapping[str, Float[np.ndarray, "n _"]]
"""Name -> features of each image."""


def write_shortcut(
    folder: Path, columns: Columns, data: BUSIDataModule, features: Float[np.ndarray, "n d"] | None
) -> dict[str, float | None]:
    """Measure how well the source can be told, and write ``shortcut.json``.

    Args:
        folder: The run folder.
        columns: Of ``predictions.csv``: validation images, then test images, as the cohort has them.
        data: The images.
        features: What the last linear layer of the classifier reads, of the same images; None if it has none.

    Returns:
        ``test/shortcut/source_auroc`` and ``..._balanced_accuracy``, over all images and within each class
        (``source_auroc_benign``), with their intervals.
    """
    content = measure_shortcut(columns, describe_pixels(data), features)
    write_json(folder / "shortcut.json", content)
    metrics: dict[str, float | None] = {}
    for part, probe in content["probes"].items():
        for measure in MEASURES if "features" in probe else ():
            name = f"test/shortcut/source_{measure}{'' if part == 'all' else f'_{part}'}"
            metrics |= zip([name, f"{name}_low", f"{name}_high"], probe["features"][measure], strict=True)
    return metrics


def describe_pixels(data: BUSIDataModule) -> Float[np.ndarray, "n 35"]:
    """What needs no network of each validation and test image: logs of height, width and aspect; grays."""
    rows = []
    indices = data.cohort.indices("val", "test")
    images = data.letterboxed
    for i in indices.tolist():
        height, width = data.cohort.contents[i].height, data.cohort.contents[i].width
        top, left, inner_height, inner_width = fit_inset(height, width, images.shape[-1])
        inner = images[i, 0, top : top + inner_height, left : left + inner_width]
        grays = np.bincount(inner.reshape(-1) // (256 // NUM_GRAYS), minlength=NUM_GRAYS) / inner.size
        rows.append([*np.log([height, width, height / width]), *grays])
    return np.array(rows)


def measure_shortcut(
    columns: Columns,
    pixels: Float[np.ndarray, "n p"],
    features: Float[np.ndarray, "n d"] | None,
    num_resamples: int = 2000,
) -> dict[str, Any]:
    """The content of ``shortcut.json``.

    Args:
        columns: Of ``predictions.csv``, with labels as positions in `CLASSES`.
        pixels: Of each image, what needs no network.
        features: See `write_shortcut`.
        num_resamples: Number of bootstrap resamples.
    """
    sources, labels = columns["source"], columns["label"]
    design, fitted = choose_parts(sources, columns["split"] == "val", columns["group"])
    everything = np.ones(len(sources), np.bool_)
    parts = ({} if features is None else {"features": features}) | {"pixels": pixels}
    classes = {"label": (labels[:, None] == np.arange(len(CLASSES))).astype(np.float64)}
    found = {"all": _probe(columns, parts | classes, fitted, everything, num_resamples)}
    for k, name in enumerate(CLASSES):
        found[name] = _probe(columns, parts, fitted, labels == k, num_resamples)
    skipped = found["all"]["skipped"]
    return {
        "skipped": skipped,
        "left_out": _too_few(sources, fitted, everything),
        "design": design,
        "no_features": NO_LINEAR if features is None else None,
        "probes": {} if skipped else found,
        "normals": {name: _normals(columns, name, num_resamples) for name in dict.fromkeys(sources.tolist())},
    }


def choose_parts(
    sources: Shaped[np.ndarray, " n"], validates: Bool[np.ndarray, " n"], groups: Int[np.ndarray, " n"]
) -> tuple[str, Bool[np.ndarray, " n"]]:
    """Choose the images that probes are fitted on; they are judged on the others.

    Validation images, if each source that has enough images at all has enough of both splits
    (``val_to_test``). Else, as where one source is held out and the others alone validate, every second
    group of the validation and test images of each source (``halves``). The classifier was trained on none.

    Args:
        sources: Of each validation and test image.
        validates: Whether it validates.
        groups: Of each image; none has images of both parts.
    """
    for name in set(sources.tolist()):
        own = sources == name
        if own.sum() >= 2 * MIN_IMAGES > 2 * min((own & validates).sum(), (own & ~validates).sum()):
            _, first, place = np.unique(groups, return_index=True, return_inverse=True)
            ranked = np.lexsort([np.random.default_rng(0).random(len(first)), sources[first]])
            return "halves", np.isin(place, ranked[::2])
    return "val_to_test", validates


def _probe(
    columns: Columns,
    parts: Parts,
    fitted: Bool[np.ndarray, " n"],
    kept: Bool[np.ndarray, " n"],
    num_resamples: int,
) -> dict[str, Any]:
    """Probe some of the images with each kind of features."""
    few = _too_few(columns["source"], fitted, kept)
    kept = kept & ~np.isin(columns["source"], list(few))
    sources, groups = columns["source"][kept], columns["group"][kept]
    names = list(dict.fromkeys(sources.tolist()))
    if len(names) < 2:
        listed = "; ".join(f"{name}: {why}" for name, why in few.items())
        return {"skipped": f"a probe needs two sources with enough images ({listed})"}
    return {
        "skipped": None,
        "sources": names,
        "num_fitted": int(fitted[kept].sum()),
        "num_judged": int((~fitted)[kept].sum()),
        "chance": {"balanced_accuracy": 1 / len(names), "auroc": 0.5},
        **{
            name: _intervals(probe_sources(x[kept], sources, groups, fitted[kept], num_resamples))
            for name, x in parts.items()
        },
    }


def _too_few(
    sources: Shaped[np.ndarray, " n"], fitted: Bool[np.ndarray, " n"], kept: Bool[np.ndarray, " n"]
) -> dict[str, str]:
    """The sources with too few of the images that are kept, and why, in words."""
    few = {}
    for name in dict.fromkeys(sources.tolist()):
        here = kept & (sources == name)
        num_fitted, num_judged = int((here & fitted).sum()), int((here & ~fitted).sum())
        if min(num_fitted, num_judged) < MIN_IMAGES:
            few[name] = f"{num_fitted} images to fit on, {num_judged} to judge; {MIN_IMAGES} of each needed"
    return few


def _normals(columns: Columns, source: str, num_resamples: int) -> dict[str, Any]:
    """How often normals of a source are found, and lesions of it are taken for normal."""
    own = columns["source"] == source
    split = "test" if (own & (columns["split"] == "test")).any() else "val"
    here = own & (columns["split"] == split)
    normal, called = columns["label"][here] == NORMAL, columns["pred"][here] == CLASSES[NORMAL]

    def compute(weights: Weights) -> dict[str, Float[np.ndarray, " d"]]:
        return {
            "normal_recall": mean_of(called, normal, weights),
            "lesions_called_normal": mean_of(called, ~normal, weights),
        }

    estimates = bootstrap_groups(columns["group"][here], compute, num_resamples=num_resamples)
    counts = {"num_normals": int(normal.sum()), "num_lesions": int((~normal).sum())}
    return {"split": split, **counts, **_intervals(estimates)}


def _intervals(estimates: Estimates) -> dict[str, Sequence[float | None]]:
    return {name: [defined(x) for x in estimates[name]] for name in estimates.columns}
