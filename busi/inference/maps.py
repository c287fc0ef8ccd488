"""Lesion probability of images, letterboxed and at their own sizes."""

import logging
from collections.abc import Iterator
from functools import cache
from itertools import islice

import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8
from torch import Tensor

from busi.core import InputError, one_line
from busi.data import letterbox, unletterbox
from busi.models import Segmenter, to_image

log = logging.getLogger(__name__)


@cache
def default_device() -> torch.device:
    """A GPU of CUDA if there is one that this PyTorch can compute with, else the CPU."""
    if torch.cuda.is_available():
        try:
            (torch.zeros(1, device="cuda") + 1).item()
            return torch.device("cuda")
        except RuntimeError as error:  # it is too old, full, or taken by another process
            log.warning("The GPU is left alone (%s)", one_line(error))
    return torch.device("cpu")


@torch.inference_mode()
def segment(segmenter: Segmenter, letterboxed: UInt8[np.ndarray, "b s s"]) -> Float[Tensor, "b 1 s s"]:
    """Lesion probability over letterboxed images, computed where the segmenter is.

    Args:
        segmenter: In evaluation mode.
        letterboxed: Gray; s is a multiple of its size.

    Raises:
        InputError: If it gives NaN, which would look like a mask without lesion.
    """
    device = next(segmenter.parameters()).device
    probs: Tensor = segmenter(to_image(torch.from_numpy(np.ascontiguousarray(letterboxed)).to(device)))
    if probs.isnan().any():
        raise InputError("the segmentation model gives NaN, its weights are damaged: train it again")
    return probs


def predict_maps(
    segmenter: Segmenter, images: Iterator[UInt8[np.ndarray, "_ _"]], batch_size: int
) -> Iterator[Float32[np.ndarray, "_ _"]]:
    """Predict the lesion probability of images at their own sizes, one batch at a time.

    Args:
        segmenter: In evaluation mode.
        images: Gray, any sizes.
        batch_size: Images a batch.
    """
    while batch := list(islice(images, batch_size)):
        probs = segment(segmenter, np.stack([letterbox(image, segmenter.image_size) for image in batch]))
        for image, square in zip(batch, probs[:, 0].cpu().numpy(), strict=True):
            yield unletterbox(square, *image.shape)
