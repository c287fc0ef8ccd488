"""The rows of ``predictions.csv``: what every stage says of an image beside its prediction."""

from pathlib import Path

import numpy as np
from jaxtyping import Float
from scipy.special import softmax

from busi.core import CLASSES
from busi.data import Cohort, file_name, has_burned_in, read_gray, read_mask

Row = dict[str, object]
"""Of ``predictions.csv``."""


def describe_image(cohort: Cohort, i: int) -> Row:
    """The columns that every table of predictions begins with.

    ``lesion_share`` is the share of the image that the annotation covers, NaN where a lesion has none;
    ``burned_in`` is 1 where the image seems to carry calipers or text.
    """
    record = cohort.records[i]
    gray = read_gray(record.image)
    return {
        "id": record.id,
        "source": record.source,
        "label": CLASSES[record.label],
        "group": int(cohort.groups[i]),
        "fold": int(cohort.folds[i]),
        "split": cohort.splits[i],
        "lesion_share": float(read_mask(record, *gray.shape).mean()) if record.annotated else float("nan"),
        "burned_in": int(has_burned_in(gray)),
    }


def describe_classes(logits: Float[np.ndarray, " 3"]) -> Row:
    """The columns of a diagnosis: the most probable class, logits and probabilities."""
    probs = softmax(logits)
    return {
        "pred": CLASSES[int(logits.argmax())],
        **{f"logit_{name}": float(x) for name, x in zip(CLASSES, logits, strict=True)},
        **{f"prob_{name}": float(x) for name, x in zip(CLASSES, probs, strict=True)},
    }


def map_path(folder: Path, name: str) -> Path:
    """Where the map of lesion probability of an image lies, in 8 bits.

    Args:
        folder: Of a run, or of what has its files.
        name: Id of the image.
    """
    return folder / "maps" / f"{file_name(name)}.png"
