"""How well numbers of an image tell its source: a probe, fitted on some images and measured on others."""

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from busi.metrics.bootstrap import Weights, bootstrap_groups, separate_sources
from busi.metrics.classification import auroc
from busi.metrics.estimates import Estimates, Values


def probe_sources(
    features: Float[np.ndarray, "n d"],
    sources: Shaped[np.ndarray, " n"],
    groups: Int[np.ndarray, " n"],
    fitted: Bool[np.ndarray, " n"],
    num_resamples: int,
) -> Estimates:
    """Fit a logistic regression of the source, sources weighted evenly, and judge it on the other images.

    Source: Alain and Bengio, "Understanding intermediate layers using linear classifier probes", 2016.

    Args:
        features: Of each image; standardized by the images that the probe is fitted on.
        sources: Of each image; each source has images of both parts.
        groups: Of each image; none has images of both parts. Whole groups are resampled, within sources.
        fitted: The images that the probe is fitted on; it is judged on the others.
        num_resamples: Number of resamples.

    Returns:
        `balanced_accuracy`, the mean recall of the sources (chance is one divided by their number), and
        `auroc`, one source versus the rest, as the mean over sources (chance is one half).
    """
    judged = ~fitted
    # The default strength of its penalty finds most of what there is, with few images and many features too.
    probe = make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced", max_iter=5000))
    probe.fit(features[fitted], sources[fitted])
    names, probs = probe[-1].classes_, probe.predict_proba(features[judged])
    truth = sources[judged][:, None] == names
    strata, units = separate_sources(sources[judged], groups[judged])

    def compute(weights: Weights) -> Values:
        right = truth & (names[probs.argmax(axis=1)][:, None] == names)
        hits, support = (weights.astype(np.float64) @ x.astype(np.float64) for x in (right, truth))
        areas = [auroc(truth[:, k], probs[:, k], weights) for k in range(len(names))]
        return {"balanced_accuracy": (hits / support).mean(axis=1), "auroc": np.mean(areas, axis=0)}

    return bootstrap_groups(units, compute, strata, num_resamples)
