"""What a model answers to images: lesion probabilities at their own sizes, and logits of the classes."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float32, UInt8

from busi.data import letterbox, unletterbox
from busi.inference.bundle import Model

TINY = float(np.finfo(np.float32).tiny)
"""The least probability whose logarithm is taken; a graph computes in float32."""


class Answer(NamedTuple):
    """What a model says of one image; None for what it has no network for.

    Attributes:
        mask_probs: Lesion probability of each pixel of the original image.
        logits: Before temperature and biases; a bundle's are known up to a number that is added to all three.
    """

    mask_probs: Float32[np.ndarray, "h w"] | None
    logits: Float[np.ndarray, " 3"] | None


Images = Sequence[UInt8[np.ndarray, "_ _"]]
Annotations = Sequence[Bool[np.ndarray, "_ _"] | None]
Answers = Callable[[Images, Annotations], list[Answer]]
"""Gray images, and their annotations where there are any, which guide a model of guide=ground_truth alone."""


def answer_as_bundle(model: Model) -> Answers:
    """Answer with a bundle that is loaded."""
    info, size = model.info, model.info.image_size
    biases = np.array(info.added_biases)

    def answer(images: Images, annotations: Annotations) -> list[Answer]:
        del annotations
        mask_probs, class_probs = model.network(np.stack([letterbox(image, size) for image in images]))
        maps = (unletterbox(one, *image.shape) for one, image in zip(mask_probs, images, strict=True))
        if not class_probs.size:
            return [Answer(one, None) for one in maps]
        logits = info.temperature * (np.log(np.maximum(class_probs.astype(np.float64), TINY)) - biases)
        return [Answer(*pair) for pair in zip(maps, logits, strict=True)]

    return answer
