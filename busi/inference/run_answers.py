"""What a run of either stage answers to images, by the networks of its checkpoint."""

import numpy as np
import torch
from torch import Tensor

from busi.data import letterbox, letterbox_mask, unletterbox
from busi.inference.answers import Annotations, Answer, Answers, Images
from busi.inference.maps import default_device, segment
from busi.models import resize, to_guide, to_image
from busi.runs import Checkpoint, load_classifier, load_segmenter


def answer_as_run(checkpoint: Checkpoint) -> Answers:
    """Answer with the networks of a checkpoint, a classifier guided as its validation images were.

    Raises:
        InputError: If a classifier lacks the segmentation model that guided it.
    """
    device, cfg = default_device(), checkpoint.config
    is_classifier = checkpoint.metadata["stage"] == "cls"
    segmenter = load_segmenter(checkpoint)
    classifier = load_classifier(checkpoint).to(device) if is_classifier else None
    guide = cfg.guide.name if is_classifier else None
    if segmenter is not None:
        segmenter = segmenter.to(device)
    size = cfg.image_size

    @torch.inference_mode()
    def answer(images: Images, annotations: Annotations) -> list[Answer]:
        squares = np.stack([letterbox(image, size) for image in images])
        given = torch.zeros(len(images), 1, size, size, device=device)
        maps: list[np.ndarray | None] = [None] * len(images)
        if segmenter is not None:
            own = squares
            if size % segmenter.image_size:
                own = np.stack([letterbox(image, segmenter.image_size) for image in images])
            probs = segment(segmenter, own)
            given = to_guide(resize(probs, size))
            squared = probs[:, 0].cpu().numpy()
            maps = [unletterbox(one, *image.shape) for one, image in zip(squared, images, strict=True)]
        elif guide == "ground_truth":
            given = _annotated(annotations, images, size).to(device)
        if classifier is None:
            return [Answer(one, None) for one in maps]
        logits = classifier(to_image(torch.from_numpy(squares).to(device)), given).cpu().double().numpy()
        return [Answer(*pair) for pair in zip(maps, logits, strict=True)]

    return answer


def _annotated(annotations: Annotations, images: Images, size: int) -> Tensor:
    """Annotations as guides; empty where there is none."""
    masks = [
        np.zeros(image.shape, np.uint8) if one is None else one.astype(np.uint8)
        for one, image in zip(annotations, images, strict=True)
    ]
    return torch.from_numpy(np.stack([letterbox_mask(mask, size) for mask in masks])).float()[:, None]
