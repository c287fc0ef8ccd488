"""From a trained segmentation network to maps of lesion probability, over squares and over pictures."""

from collections.abc import Iterator
from itertools import islice

import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8
from torch import Tensor
from torch.nn.functional import interpolate

from busi.data import letterbox, unletterbox


def default_device() -> torch.device:
    """A GPU if there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def resize_guide(
    probs: Float[Tensor, "b s s"], image_size: int
) -> Float[Tensor, "b {image_size} {image_size}"]:
    """Bring maps over squares of one size to another."""
    if probs.shape[-1] == image_size:
        return probs
    resized = interpolate(probs[:, None], size=(image_size, image_size), mode="bilinear", antialias=True)
    return resized[:, 0]


def round_guide(probs: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Round maps to the 256 steps of stored guides, with which classifiers are trained, judged, calibrated.

    It matters: a hundred thousand pixels of less than half a step say something to a classifier, or nothing.
    """
    return (probs * 255).round() / 255


def shrink(
    image: Float[Tensor, "b 1 _ _"], image_size: int
) -> Float[Tensor, "b 1 {image_size} {image_size}"]:
    """Bring squares to a size that theirs is a multiple of."""
    return interpolate(image, size=(image_size, image_size), mode="area")


@torch.inference_mode()
def predict_squares(
    network: torch.nn.Module, squares: UInt8[np.ndarray, "b s s"], image_size: int
) -> Float[Tensor, "b {image_size} {image_size}"]:
    """Lesion probability over letterboxed pictures.

    Args:
        network: Picture (b, 1, image_size, image_size) in [0, 1] -> logits, in evaluation mode.
        squares: Gray.
        image_size: Side of the square that the network sees; theirs is a multiple of it.
    """
    device = next(network.parameters()).device
    image = torch.from_numpy(np.ascontiguousarray(squares))[:, None].float().to(device) / 255
    image = shrink(image, image_size)
    probs: Tensor = network(image.contiguous(memory_format=torch.channels_last)).float().sigmoid()
    return probs[:, 0]


def predict_maps(
    network: torch.nn.Module, pictures: Iterator[UInt8[np.ndarray, "_ _"]], image_size: int, batch_size: int
) -> Iterator[Float32[np.ndarray, "_ _"]]:
    """Predict the lesion probability of pictures at their own sizes, one batch at a time.

    Args:
        network: As in `predict_squares`.
        pictures: Gray, any sizes.
        image_size: Side of the square that the network sees, in pixels.
        batch_size: Pictures a batch.
    """
    while batch := list(islice(pictures, batch_size)):
        letterboxed = np.stack([letterbox(picture, image_size) for picture in batch])
        squares = predict_squares(network, letterboxed, image_size)
        for picture, square in zip(batch, squares.cpu().numpy(), strict=True):
            yield unletterbox(square, *picture.shape)
