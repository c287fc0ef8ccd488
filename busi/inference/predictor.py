"""One image in, mask and diagnosis out: what the commands, the demo and your own code call.

A bundle needs ONNX Runtime alone. PyTorch, which takes seconds to import, is left to runs and checkpoints.
"""

import time
from collections.abc import Iterator, Sequence
from itertools import combinations, islice
from pathlib import Path

import numpy as np
from PIL import Image

from busi.core import CLASSES, Float, Float32, InputError, Shaped, expand
from busi.data import Frame, letterbox, read_frames, refuse_flat, to_gray, unletterbox
from busi.inference.bundle import PRETRAINED, Model, is_bundle, load_bundle
from busi.inference.model_info import GRAPH_FILE, INFO_FILE, ModelInfo
from busi.inference.prediction import Prediction
from busi.models import check_tta, mean_postprocess


class Predictor:
    """Predicts with a trained model, or the mean of several.

    Segmentation models give masks alone: what a prediction says of classes is None then.

    Args:
        source: A run folder, a checkpoint file, a bundle, or a model that is loaded already; or several,
            whose probabilities are averaged. Without one, the model that comes with busi.
        tta: Test-time augmentation: ``none``, or ``flip`` to average over each image and its mirror image.
        batch_size: Images that the networks see at once.

    Raises:
        InputError: If a source is missing or damaged, two are one model, some give classes and others do not,
            there is no such `tta`, or `batch_size` is not positive.
    """

    def __init__(
        self,
        source: str | Path | Model | Sequence[str | Path | Model] = PRETRAINED,
        tta: str = "none",
        batch_size: int = 8,
    ) -> None:
        if batch_size < 1:
            raise InputError(f"batch_size={batch_size}: give at least 1")
        self.tta, self.batch_size = check_tta(tta, "tta"), batch_size
        sources = [source] if isinstance(source, (str, Path, Model)) else list(source)
        if not sources:
            raise InputError("no model given: name a run folder, a checkpoint or a bundle")
        self.models = [one if isinstance(one, Model) else load_model(one) for one in sources]
        if len({info.has_classes for info in self.infos}) > 1:
            raise InputError("some of these models give classes, and others masks alone: give one kind")
        check_apart(self.infos)

    @property
    def calibrated(self) -> bool:
        """Whether probabilities are calibrated and sets conformal: one model, as it was validated."""
        one = self.infos[0]
        return len(self.models) == 1 and self.tta == "none" and self.has_classes and one.quantiles is not None

    @property
    def has_classes(self) -> bool:
        """Whether classes are predicted, beside masks."""
        return self.infos[0].has_classes

    @property
    def infos(self) -> list[ModelInfo]:
        """What is known of each model."""
        return [model.info for model in self.models]

    def __call__(self, image: str | Path | Image.Image | Shaped[np.ndarray, "..."]) -> Prediction:
        """Predict one image.

        Args:
            image: A file, a Pillow image of any mode, or an array, uint8, (h, w) or RGB (h, w, 3).

        Raises:
            InputError: If it cannot be read, holds several images, or is no such array.
        """
        return self.predict_one(as_frame(image))

    def predict_one(self, frame: Frame) -> Prediction:
        """Predict one image of `busi.read_frames`."""
        return next(self.predict([frame]))

    def predict(self, frames: Sequence[Frame]) -> Iterator[Prediction]:
        """Predict images, a batch at a time; each is brought to its own size when it is taken.

        Raises:
            InputError: If an image has one or two gray levels.
        """
        for start in range(0, len(frames), self.batch_size):
            batch = frames[start : start + self.batch_size]
            for frame in batch:
                refuse_flat(frame.gray)
            began = time.perf_counter()
            outputs = [self._run(model, batch) for model in self.models]
            shared = (time.perf_counter() - began) / len(batch)
            for k, frame in enumerate(batch):
                began = time.perf_counter()
                maps = [mask_probs[k] for mask_probs, _ in outputs]
                votes = np.stack([class_probs[k] for _, class_probs in outputs])
                probs = votes.mean(axis=0, dtype=np.float64)
                yield self._make_prediction(maps, probs, frame, began - shared)

    def _run(
        self, model: Model, batch: Sequence[Frame]
    ) -> tuple[Float[np.ndarray, "b s s"], Float[np.ndarray, "b c"]]:
        letterboxed = np.stack([letterbox(frame.gray, model.info.image_size) for frame in batch])
        mask_probs, class_probs = model.network(letterboxed)
        if self.tta == "flip":
            flipped = model.network(np.ascontiguousarray(letterboxed[..., ::-1]))
            mask_probs = (mask_probs + flipped[0][..., ::-1]) / 2
            class_probs = (class_probs + flipped[1]) / 2
        return mask_probs, class_probs

    def _make_prediction(
        self,
        maps: Sequence[Float32[np.ndarray, "_ _"]],
        probs: Float[np.ndarray, " c"],
        frame: Frame,
        began: float,
    ) -> Prediction:
        height, width = frame.gray.shape
        mask_probs = unletterbox(maps[0], height, width)
        if len(maps) > 1:
            mask_probs = mask_probs.copy()
            for one in maps[1:]:
                mask_probs += unletterbox(one, height, width)
            mask_probs /= np.float32(len(maps))
        conformal_set: tuple[str, ...] | None = None
        if self.calibrated and (quantiles := self.infos[0].quantiles):
            limits = zip(CLASSES, probs, quantiles, strict=True)
            conformal_set = tuple(name for name, p, most in limits if 1 - p <= most)
        return Prediction(
            pred=self.infos[0].classes[int(probs.argmax())] if self.has_classes else None,
            probs=dict(zip(self.infos[0].classes, probs.tolist(), strict=True)),
            calibrated=self.calibrated,
            conformal_set=conformal_set,
            mask_probs=mask_probs,
            postprocess=mean_postprocess([info.postprocess for info in self.infos]),
            spacing=frame.spacing,
            milliseconds=1000 * (time.perf_counter() - began),
            image=frame.gray,
        )


def check_apart(infos: Sequence[ModelInfo]) -> None:
    """Raise `InputError` if two models have the same weights: their mean would be the model itself.

    A run, its best checkpoint and the bundles that are made of it have.
    """
    for first, other in combinations(infos, 2):
        if first.fingerprints["checkpoint"] == other.fingerprints["checkpoint"]:
            names = " and ".join(dict.fromkeys(str(one.origin["name"]) for one in (first, other)))
            raise InputError(f"one model is given twice ({names}): a mean needs different ones, each once")


def load_model(source: str | Path) -> Model:
    """Open a bundle, a run folder or a checkpoint for prediction.

    Raises:
        InputError: If it is missing or damaged, or a classifier that has no masks.
    """
    path = expand(source)
    if path.name in (GRAPH_FILE, INFO_FILE) and path.is_file():
        raise InputError(f"{path} is a part of a bundle: give its folder")
    if is_bundle(path):
        return load_bundle(path)
    from busi.inference.loading import as_network, load_networks  # PyTorch

    networks, info = load_networks(path)
    return Model(as_network(networks), info)


def as_frame(image: str | Path | Image.Image | Shaped[np.ndarray, "..."]) -> Frame:
    """Read what `Predictor` is called with as one gray image.

    Raises:
        InputError: If it cannot be read, holds several images, or is an array of another kind.
    """
    if isinstance(image, (str, Path)):
        frames = list(islice(read_frames(expand(image)), 2))
        if len(frames) != 1:
            raise InputError(f"{image} holds several images: give predict() those of busi.read_frames")
        return frames[0]
    if isinstance(image, np.ndarray):
        if image.dtype != np.uint8 or not (image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 3)):
            raise InputError(
                f"an image is uint8, (h, w) or RGB (h, w, 3), not {image.dtype} {image.shape}: convert it"
            )
        if 0 in image.shape:
            raise InputError("the image has no pixels")
        image = Image.fromarray(image)
    return Frame(to_gray(image), None)
