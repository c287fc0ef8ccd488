"""What is predicted of one image: the mask, what is measured of it, and the diagnosis."""

import io
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
from PIL import Image

from busi.core import Bool, Float32, UInt8
from busi.data import Spacing
from busi.figures import add_words, draw_overlay
from busi.models import Postprocess, bounding_box, find_parts


class Box(NamedTuple):
    """A rectangle in an image, in pixels."""

    left: int
    top: int
    width: int
    height: int


@dataclass(frozen=True)
class Prediction:
    """What is predicted of one image. A notebook shows it as its overlay and its words.

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
        image: The image as the model was given it: gray, at its own size.
    """

    pred: str | None
    probs: dict[str, float]
    calibrated: bool
    conformal_set: tuple[str, ...] | None
    mask_probs: Float32[np.ndarray, "h w"] = field(repr=False)
    postprocess: Postprocess
    spacing: Spacing | None
    milliseconds: float
    image: UInt8[np.ndarray, "h w"] = field(repr=False)

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

    @property
    def words(self) -> str:
        """In a line: the class, its probability, whether a person should look, and the size of the mask."""
        parts = [] if self.pred is None else [f"{self.pred} {self.probs[self.pred]:.0%}"]
        if self.refer:
            parts.append("a person should look")
        area = "" if self.pred_area_mm2 is None else f" ({self.pred_area_mm2:.1f} mm²)"
        parts.append(f"mask of {self.pred_area} pixels{area}" if self.pred_area else "no mask")
        return ", ".join(parts)

    def overlay(self, *, opacity: float = 0.0, words: bool = False) -> Image.Image:
        """The image with the outline of the mask in orange, as `busi.predict` writes it.

        Args:
            opacity: Of a tint of the mask's inside, from 0 (none) to 1 (what lies below is hidden).
            words: Write `words` below the image, which then has more rows.

        Returns:
            A Pillow image, RGB, of the size of the original one. ``numpy.asarray`` of it is (h, w, 3) uint8.
        """
        drawn = Image.fromarray(draw_overlay(self.image, self.mask, opacity))
        return add_words(drawn, self.words) if words else drawn

    def _repr_png_(self) -> bytes:
        """What a notebook shows."""
        buffer = io.BytesIO()
        self.overlay(words=True).save(buffer, format="PNG")
        return buffer.getvalue()
