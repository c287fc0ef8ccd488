"""Image -> mask -> guide -> class: the one forward pass of both stages.

Training, scoring, ensembles, export and prediction share the parts of it here.
"""

from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn.functional import interpolate


def to_image(letterboxed: UInt8[Tensor, "b s s"]) -> Float[Tensor, "b 1 s s"]:
    """8-bit gray as a network sees it."""
    return letterboxed[:, None].float() / 255


def to_guide(mask_probs: Float[Tensor, "b 1 s s"]) -> Float[Tensor, "b 1 s s"]:
    """Round lesion probabilities to the 256 steps of stored guides, with which classifiers are trained.

    It matters: a hundred thousand pixels of less than half a step say something to a classifier, or nothing.
    """
    return (mask_probs * 255 + 0.5).floor() / 255


class Segmenter(nn.Module):
    """A trained segmentation network as a function of images of any multiple of its size.

    Args:
        network: Image (b, 1, s, s) in [0, 1] -> logits of the lesion.
        image_size: Side s of the square that the network sees, in pixels.
    """

    def __init__(self, network: nn.Module, image_size: int) -> None:
        super().__init__()
        self.network, self.image_size = network, image_size

    def forward(self, image: Float[Tensor, "b 1 s s"]) -> Float[Tensor, "b 1 s s"]:
        """Lesion probability of each pixel; s is a multiple of `image_size`."""
        size = image.shape[-1]
        if size != self.image_size:
            image = interpolate(image, size=(self.image_size, self.image_size), mode="area")
        return resize(self.network(image).float().sigmoid(), size)


def resize(probs: Float[Tensor, "b 1 s s"], size: int) -> Float[Tensor, "b 1 {size} {size}"]:
    """Bring maps over squares of one size to another."""
    if probs.shape[-1] == size:
        return probs
    return interpolate(probs, size=(size, size), mode="bilinear", antialias=True)


class Classifier(nn.Module):
    """A trained classification network under the prior of its data.

    Args:
        network: Image and guide (b, 1, s, s) -> logits (b, 3) under the prior that it was trained with.
        logit_correction: Added to the logits, (3,); see `busi.data.balance.prior_correction`.
        logit_scale: By which they are multiplied before, a number; see `busi.metrics.fit_logit_scale`.
    """

    logit_correction: Tensor
    logit_scale: Tensor

    def __init__(self, network: nn.Module, logit_correction: Tensor, logit_scale: Tensor) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("logit_correction", logit_correction)
        self.register_buffer("logit_scale", logit_scale)

    def forward(
        self, image: Float[Tensor, "b 1 s s"], guide: Float[Tensor, "b 1 s s"]
    ) -> Float[Tensor, "b 3"]:
        """Logits."""
        logits: Tensor = self.network(image, guide) * self.logit_scale + self.logit_correction
        return logits


class OneStage(nn.Module):
    """Letterboxed gray image -> lesion probability of each pixel: of a segmentation model alone."""

    def __init__(self, segmenter: Segmenter) -> None:
        super().__init__()
        self.segmenter = segmenter

    def forward(self, letterboxed: UInt8[Tensor, "b s s"]) -> tuple[Float[Tensor, "b s s"]]:
        """Probabilities of pixels."""
        return (self.segmenter(to_image(letterboxed))[:, 0],)


class TwoStage(nn.Module):
    """Letterboxed gray image -> lesion probability of each pixel, probability of each class.

    Args:
        segmenter: Gives the mask.
        classifier: Image and guide (b, 1, s, s) -> logits (b, 3); s is a multiple of the segmenter's size.
        temperature: By which the classifier's logits are divided.
    """

    def __init__(self, segmenter: Segmenter, classifier: nn.Module, temperature: float) -> None:
        super().__init__()
        self.segmenter, self.classifier, self.temperature = segmenter, classifier, temperature

    def forward(
        self, letterboxed: UInt8[Tensor, "b s s"]
    ) -> tuple[Float[Tensor, "b s s"], Float[Tensor, "b 3"]]:
        """Probabilities of pixels and of classes."""
        image = to_image(letterboxed)
        mask_probs = self.segmenter(image)
        return mask_probs[:, 0], self.classify(image, to_guide(mask_probs))

    def guide(self, image: Float[Tensor, "b 1 s s"]) -> Float[Tensor, "b 1 s s"]:
        """What the classifier is given beside the image."""
        return to_guide(self.segmenter(image))

    def classify(
        self, image: Float[Tensor, "b 1 s s"], guide: Float[Tensor, "b 1 s s"]
    ) -> Float[Tensor, "b 3"]:
        """Probability of each class, given any guide."""
        probs: Tensor = (self.classifier(image, guide) / self.temperature).softmax(dim=1)
        return probs
