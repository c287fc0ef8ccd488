"""What a classifier looks at, and what it says without a guide."""

import numpy as np
import torch
from captum.attr import LayerAttribution, LayerGradCam
from jaxtyping import Float, Float32, UInt8
from torch import Tensor, nn

from busi.data.geometry import letterbox, unletterbox
from busi.pipeline import Pipeline, to_image


class Explainer:
    """Asks the classifier of a pipeline further questions about a picture.

    Args:
        pipeline: Both stages, on any device.
        image_size: Side of the square that they see, in pixels.
    """

    def __init__(self, pipeline: Pipeline, image_size: int) -> None:
        self.pipeline, self.image_size = pipeline, image_size
        blank = torch.zeros(1, 1, image_size, image_size, device=self.device)
        self.grad_cam = LayerGradCam(pipeline.classifier, find_last_map(pipeline.classifier, blank, blank))

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
        Localization", ICCV 2017, over the classifier's last feature map.
        """
        image = self._image(gray)
        with torch.no_grad():
            guide = self.pipeline.guide(image)
        found = self.grad_cam.attribute((image, guide), target=label, relu_attributions=True)
        heat = LayerAttribution.interpolate(found, image.shape[-2:], "bilinear")[0, 0].detach().cpu().numpy()
        heat = unletterbox((heat / max(float(heat.max()), 1e-12)).astype(np.float32), *gray.shape)
        return heat.clip(0, 1)

    def _image(self, gray: UInt8[np.ndarray, "h w"]) -> Float[Tensor, "1 1 s s"]:
        return to_image(torch.from_numpy(letterbox(gray, self.image_size))[None].to(self.device))


@torch.no_grad()
def find_last_map(network: nn.Module, *inputs: Tensor) -> nn.Module:
    """The layer whose output is the last one with places, (b, c, h, w) of more than one pixel."""
    seen: list[nn.Module] = []

    def note(layer: nn.Module, _: object, output: object) -> None:
        if isinstance(output, Tensor) and output.ndim == 4 and output[0, 0].numel() > 1:
            seen.append(layer)

    leaves = [layer for layer in network.modules() if not list(layer.children())]
    hooks = [layer.register_forward_hook(note) for layer in leaves]
    network(*inputs)
    for hook in hooks:
        hook.remove()
    return seen[-1]
