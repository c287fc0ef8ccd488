"""What a loader gives to a module."""

from typing import TypedDict

from jaxtyping import Float, Int64
from torch import Tensor


class Batch(TypedDict):
    """Samples, stacked."""

    image: Float[Tensor, "b 1 h w"]  # [0, 1]
    mask: Float[Tensor, "b 1 h w"]  # {0, 1}, the annotation
    guide: Float[Tensor, "b 1 h w"]  # [0, 1], the mask that the classifier is given
    label: Int64[Tensor, " b"]
    group: Int64[Tensor, " b"]
    source: Int64[Tensor, " b"]  # position in the sources of the data
    id: list[str]
    seed: list[int]  # of the augmentation; -1 for a clean sample
