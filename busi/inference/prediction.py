"""What is predicted of one image: the mask, what is measured of it, and the diagnosis."""

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32

from busi.data import Spacing
from busi.models import Postprocess, bounding_box, find_parts


class Box(NamedTuple):
    """A rectangle in an image, in pixels."""

    left: int
    top: int
    width: int
    height: int


@dataclass(frozen=True)
class Prediction:
    """What is predicted of one image.

    Attributes:
        pred: The predicted class, which is the most probable one; None from a segmentation model alone.
        probs: Probability of each class, in the order of `busi.core.CLASSES`; empty without `pred`.
        calibrated: Whether the probabilities were calibrated on a validation fold.
        conformal_set: Classes that cannot be excluded at the model's level; may be empty. None if the model
            is not calibrated.
        mask_probs: Lesion probability of each pixel of the original image.
        postprocess: Turns them into a mask.
        spacing: Of the pixels, in mm, where it is known.
        milliseconds: Spent on this image after it was decoded; its share where it was one of a batch.
    """

    pred: str | None
    probs: dict[str, float]
    calibrated: bool
    conformal_set: tuple[str, ...] | None
    mask_probs: Float32[np.ndarray, "h w"] = field(repr=False)
    postprocess: Postprocess
    spacing: Spacing | None
    milliseconds: float

    @property
    def refer(self) -> bool | None:
        """Whether a person should decide: the conformal set is not one class. None without such a set."""
        return None if self.conformal_set is None else len(self.conformal_set) != 1

    @cached_property
    def mask(self) -> Bool[np.ndarray, "h w"]:
        """Pixels of the lesion."""
        return self.postprocess(self.mask_probs)

    @property
    def threshold(self) -> float:
        """Lesion probability from which a pixel may belong to the mask."""
        return self.postprocess.threshold

    @cached_property
    def pred_area(self) -> int:
        """Area of the mask, in pixels."""
        return int(np.count_nonzero(self.mask))

    def with_threshold(self, threshold: float) -> "Prediction":
        """The same prediction with another threshold of the mask."""
        return replace(self, postprocess=replace(self.postprocess, threshold=threshold))

    @property
    def pred_area_mm2(self) -> float | None:
        """Area of the mask in mm², where the spacing is known."""
        return None if self.spacing is None else self.pred_area * self.spacing.rows * self.spacing.columns

    @cached_property
    def box(self) -> Box | None:
        """Smallest rectangle around the mask; None if that is empty."""
        if not self.pred_area:
            return None
        rows, columns = bounding_box(self.mask)
        return Box(columns.start, rows.start, columns.stop - columns.start, rows.stop - rows.start)

    @cached_property
    def num_components(self) -> int:
        """Connected parts of the mask; pixels that touch at a corner are connected."""
        return find_parts(self.mask[bounding_box(self.mask)])[1] if self.pred_area else 0
