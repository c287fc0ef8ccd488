"""One picture in, mask and diagnosis out: what the command, the demo and programs call.

A bundle is predicted with ONNX Runtime and without PyTorch, which takes seconds to import.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float32, Shaped
from PIL import Image
from scipy import ndimage

from busi.core import CLASSES, InputError
from busi.data import Frame, Spacing, letterbox, read_frames, to_gray, unletterbox
from busi.inference.bundle import PRETRAINED, Facts, Network, is_bundle, load_bundle
from busi.models import MaskRule, mean_rule


class Box(NamedTuple):
    """A rectangle in a picture, in pixels."""

    left: int
    top: int
    width: int
    height: int


@dataclass(frozen=True)
class Prediction:
    """What is predicted of one picture.

    Attributes:
        class_name: Most probable class.
        probs: Probability of each class, in the order of `busi.core.types.CLASSES`.
        calibrated: Whether the probabilities are those that the validation fold calibrated.
        conformal_set: Classes that cannot be excluded at the model's level; may be empty. None if the model
            is not calibrated.
        mask_probs: Lesion probability of each pixel of the original picture.
        mask_rule: What makes a mask of them.
        spacing: Of the pixels, in mm, where it is known.
        milliseconds: Spent on this picture, once it was decoded; its share where it was one of a batch.
    """

    class_name: str
    probs: dict[str, float]
    calibrated: bool
    conformal_set: tuple[str, ...] | None
    mask_probs: Float32[np.ndarray, "h w"] = field(repr=False)
    mask_rule: MaskRule
    spacing: Spacing | None
    milliseconds: float

    @property
    def refer(self) -> bool | None:
        """Whether a person should decide: the conformal set is not one class. None without such a set."""
        return None if self.conformal_set is None else len(self.conformal_set) != 1

    @cached_property
    def mask(self) -> Bool[np.ndarray, "h w"]:
        """Pixels of the lesion."""
        return self.mask_rule(self.mask_probs)

    @property
    def threshold(self) -> float:
        """Lesion probability from which a pixel may belong to the mask."""
        return self.mask_rule.threshold

    @cached_property
    def area(self) -> int:
        """Area of the mask, in pixels."""
        return int(self.mask.sum())

    def with_threshold(self, threshold: float) -> "Prediction":
        """The same prediction with another threshold of the mask."""
        return replace(self, mask_rule=replace(self.mask_rule, threshold=threshold))

    @property
    def area_mm2(self) -> float | None:
        """Area of the mask in mm2, where the spacing is known."""
        return None if self.spacing is None else self.area * self.spacing.rows * self.spacing.columns

    @cached_property
    def box(self) -> Box | None:
        """Smallest rectangle around the mask; None if that is empty."""
        if not self.area:
            return None
        rows, columns = (np.flatnonzero(self.mask.any(axis=axis)) for axis in (1, 0))
        left, top = int(columns[0]), int(rows[0])
        return Box(left, top, int(columns[-1]) + 1 - left, int(rows[-1]) + 1 - top)

    @cached_property
    def num_components(self) -> int:
        """Connected parts of the mask; pixels that touch at a corner are connected."""
        return int(ndimage.label(self.mask, structure=np.ones((3, 3)))[1])


class Predictor:
    """Predicts with a trained classification run, or the mean of several.

    Args:
        source: A run folder, a checkpoint file or a bundle; or several, whose probabilities are averaged.
            Without one, the model that comes with the package.
        flip: Average over each picture and its mirror image.
        batch_size: Pictures that the networks see at once.

    Raises:
        InputError: If a source is missing, damaged, or no model of both stages.
    """

    def __init__(
        self,
        source: str | Path | Sequence[str | Path] = PRETRAINED,
        flip: bool = False,
        batch_size: int = 8,
    ) -> None:
        sources = [source] if isinstance(source, (str, Path)) else list(source)
        if not sources:
            raise InputError("no model given: name a run folder, a checkpoint or a bundle")
        self.models = [load_model(Path(one).expanduser()) for one in sources]
        self.flip, self.batch_size = flip, batch_size

    @classmethod
    def of(cls, network: Network, facts: Facts, batch_size: int = 8) -> "Predictor":
        """A predictor with a network that is loaded already."""
        predictor = cls.__new__(cls)
        predictor.models, predictor.flip, predictor.batch_size = [(network, facts)], False, batch_size
        return predictor

    @property
    def calibrated(self) -> bool:
        """Whether probabilities are calibrated and sets conformal: one model, as it was validated."""
        return len(self.models) == 1 and not self.flip and self.facts[0].quantiles is not None

    @property
    def facts(self) -> list[Facts]:
        """What is known of each model."""
        return [facts for _, facts in self.models]

    def __call__(self, image: str | Path | Image.Image | Shaped[np.ndarray, "..."]) -> Prediction:
        """Predict one picture.

        Args:
            image: A file, a Pillow image of any mode, or an array, uint8, (h, w) or RGB (h, w, 3).

        Raises:
            InputError: If it cannot be read, holds several pictures, or is no such array.
        """
        return self.predict_one(as_frame(image))

    def predict_one(self, frame: Frame) -> Prediction:
        """Predict one picture of `busi.read_frames`."""
        return next(self.predict([frame]))

    def predict(self, frames: Sequence[Frame]) -> Iterator[Prediction]:
        """Predict pictures, a batch at a time; each is brought to its own size when it is taken."""
        for start in range(0, len(frames), self.batch_size):
            batch = frames[start : start + self.batch_size]
            began = time.perf_counter()
            outputs = [self._run(network, facts.image_size, batch) for network, facts in self.models]
            shared = (time.perf_counter() - began) / len(batch)
            for k, frame in enumerate(batch):
                began = time.perf_counter()
                squares = [mask_probs[k] for mask_probs, _ in outputs]
                probs = (
                    np.stack([class_probs[k] for _, class_probs in outputs]).astype(np.float64).mean(axis=0)
                )
                yield self._describe(squares, probs, frame, began - shared)

    def _run(
        self, network: Network, image_size: int, batch: Sequence[Frame]
    ) -> tuple[Float[np.ndarray, "b s s"], Float[np.ndarray, "b 3"]]:
        squares = np.stack([letterbox(frame.gray, image_size) for frame in batch])
        mask_probs, class_probs = network(squares)
        if self.flip:
            mirrored, mirrored_class_probs = network(np.ascontiguousarray(squares[..., ::-1]))
            mask_probs = (mask_probs + mirrored[..., ::-1]) / 2
            class_probs = (class_probs + mirrored_class_probs) / 2
        return mask_probs, class_probs

    def _describe(
        self,
        squares: Sequence[Float32[np.ndarray, "_ _"]],
        probs: Float[np.ndarray, " 3"],
        frame: Frame,
        began: float,
    ) -> Prediction:
        height, width = frame.gray.shape
        mask_probs = unletterbox(squares[0], height, width)
        for square in squares[1:]:
            mask_probs += unletterbox(square, height, width)
        mask_probs /= np.float32(len(squares))
        quantiles = self.facts[0].quantiles if self.calibrated else None
        return Prediction(
            class_name=CLASSES[int(probs.argmax())],
            probs={name: float(p) for name, p in zip(CLASSES, probs, strict=True)},
            calibrated=self.calibrated,
            conformal_set=None
            if quantiles is None
            else tuple(
                name for name, p, most in zip(CLASSES, probs, quantiles, strict=True) if 1 - p <= most
            ),
            mask_probs=mask_probs,
            mask_rule=mean_rule([facts.mask_rule for facts in self.facts]),
            spacing=frame.spacing,
            milliseconds=1000 * (time.perf_counter() - began),
        )


def load_model(source: Path) -> tuple[Network, Facts]:
    """Open a bundle, a run folder or a checkpoint for prediction."""
    if is_bundle(source):
        return load_bundle(source)
    from busi.inference.pipeline import open_pipeline  # PyTorch

    return open_pipeline(source)


def as_frame(image: str | Path | Image.Image | Shaped[np.ndarray, "..."]) -> Frame:
    """Read what `Predictor` is called with as one gray picture.

    Raises:
        InputError: If it cannot be read, holds several pictures, or is an array of another kind.
    """
    if isinstance(image, (str, Path)):
        frames = list(islice(read_frames(Path(image).expanduser()), 2))
        if len(frames) != 1:
            raise InputError(f"{image} holds several pictures: give predict() those of busi.read_frames")
        return frames[0]
    if isinstance(image, np.ndarray):
        if image.dtype != np.uint8 or not (image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 3)):
            raise InputError(
                f"a picture is uint8, (h, w) or RGB (h, w, 3), not {image.dtype} {image.shape}: convert it"
            )
        if 0 in image.shape:
            raise InputError("the picture has no pixels")
        image = Image.fromarray(image)
    return Frame(to_gray(image), None)
