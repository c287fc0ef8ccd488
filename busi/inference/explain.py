"""What a classifier looks at, and what it says without a guide."""

from itertools import chain

import numpy as np
import torch
from captum.attr import LayerAttribution, LayerGradCam
from jaxtyping import Float, Float32, UInt8
from torch import Tensor, nn

from busi.data import letterbox, unletterbox
from busi.inference.pipeline import Pipeline, to_image
from busi.models import Ensemble


class Explainer:
    """Asks the classifier of a pipeline further questions about a picture.

    Args:
        pipeline: Both stages, on any device.
        image_size: Side of the square that they see, in pixels.
    """

    def __init__(self, pipeline: Pipeline, image_size: int) -> None:
        self.pipeline, self.image_size = pipeline, image_size
        blank = torch.zeros(1, 1, image_size, image_size, device=self.device)
        layers = find_last_maps(pipeline.classifier, blank, blank)
        self.grad_cams = [LayerGradCam(pipeline.classifier, layer) for layer in layers]

    @property
    def device(self) -> torch.device:
        """Where the networks are."""
        return next(self.pipeline.parameters()).device

    @torch.inference_mode()
    def ask_without_guide(self, gray: UInt8[np.ndarray, "h w"]) -> Float[np.ndarray, " 3"]:
        """Probability of each class when the classifier is given an empty mask."""
        image = self._image(gray)
        return self.pipeline.classify(image, torch.zeros_like(image))[0].cpu().numpy()

    def locate(self, gray: UInt8[np.ndarray, "h w"], label: int) -> Float32[np.ndarray, "h w"]:
        """Where the evidence for a class lies, from 0 to 1; all 0 where there is none.

        Source: Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based
        Localization", ICCV 2017, over the classifier's last feature map; of an ensemble, the mean over those
        of its members.
        """
        image = self._image(gray)
        with torch.no_grad():
            guide = self.pipeline.guide(image)
        heat = torch.zeros_like(image[0, 0])
        for grad_cam in self.grad_cams:
            found = grad_cam.attribute((image, guide), target=label, relu_attributions=True)
            heat += LayerAttribution.interpolate(found, image.shape[-2:], "bilinear")[0, 0].detach()
        square = (heat / heat.max().clamp(min=1e-12)).cpu().numpy()
        return unletterbox(square, *gray.shape).clip(0, 1)

    def _image(self, gray: UInt8[np.ndarray, "h w"]) -> Float[Tensor, "1 1 s s"]:
        return to_image(torch.from_numpy(letterbox(gray, self.image_size))[None].to(self.device))


@torch.no_grad()
def find_last_maps(network: nn.Module, *inputs: Tensor) -> list[nn.Module]:
    """The last layer whose output, (b, c, h, w), has more than one pixel; of each member of an ensemble."""
    seen: list[nn.Module] = []

    def note(layer: nn.Module, _: object, output: object) -> None:
        if isinstance(output, Tensor) and output.ndim == 4 and output[0, 0].numel() > 1:
            seen.append(layer)

    parts = next((list(part.members) for part in network.modules() if isinstance(part, Ensemble)), [network])
    leaves = [[layer for layer in part.modules() if not list(layer.children())] for part in parts]
    hooks = [layer.register_forward_hook(note) for layer in chain(*leaves)]
    network(*inputs)
    for hook in hooks:
        hook.remove()
    return [next(layer for layer in reversed(seen) if layer in set(own)) for own in leaves]
