"""Where a classifier looks, and what it predicts without a guide."""

from itertools import chain

import numpy as np
import torch
from captum.attr import LayerAttribution, LayerGradCam
from jaxtyping import Float, Float32, UInt8
from torch import Tensor, nn

from busi.core import InputError
from busi.data import letterbox, unletterbox
from busi.models import Ensemble, TwoStage, to_image


class Explainer:
    """Explains what the classifier says of an image.

    Args:
        two_stage: Both stages, on any device, in evaluation mode.
        image_size: Side of the letterboxed images, in pixels.
    """

    def __init__(self, two_stage: TwoStage, image_size: int) -> None:
        self.two_stage, self.image_size = two_stage, image_size
        empty = torch.zeros(1, 1, image_size, image_size, device=self.device)
        layers = find_last_maps(two_stage.classifier, empty, empty)
        self.grad_cams = [LayerGradCam(two_stage.classifier, layer) for layer in layers]

    @property
    def device(self) -> torch.device:
        """Where the networks are."""
        return next(self.two_stage.parameters()).device

    @torch.inference_mode()
    def predict_with_empty_guide(self, gray: UInt8[np.ndarray, "h w"]) -> Float[np.ndarray, " 3"]:
        """Probability of each class when the classifier is given an empty mask."""
        image = self._image(gray)
        return self.two_stage.classify(image, torch.zeros_like(image))[0].cpu().numpy()

    def compute_heatmap(self, gray: UInt8[np.ndarray, "h w"], label: int) -> Float32[np.ndarray, "h w"]:
        """Which pixels speak for a class: Grad-CAM, from 0 to 1; all 0 if none does.

        Source: Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based
        Localization", ICCV 2017, over the classifier's last feature map; of an ensemble, the mean over those
        of its members that have one.
        """
        image = self._image(gray)
        with torch.no_grad():
            guide = self.two_stage.guide(image)
        heat = torch.zeros_like(image[0, 0])
        for grad_cam in self.grad_cams:
            coarse = grad_cam.attribute((image, guide), target=label, relu_attributions=True)
            heat += LayerAttribution.interpolate(coarse, image.shape[-2:], "bilinear")[0, 0].detach()
        scaled = (heat / heat.max().clamp(min=1e-12)).cpu().numpy()
        return unletterbox(scaled, *gray.shape).clip(0, 1)

    def _image(self, gray: UInt8[np.ndarray, "h w"]) -> Float[Tensor, "1 1 s s"]:
        return to_image(torch.from_numpy(letterbox(gray, self.image_size))[None].to(self.device))


@torch.no_grad()
def find_last_maps(network: nn.Module, *inputs: Tensor) -> list[nn.Module]:
    """The last layer whose output, (b, c, h, w), has more than one pixel.

    Of an ensemble, those of all members that have one.

    Raises:
        InputError: If there is none.
    """
    seen: list[nn.Module] = []

    def note(layer: nn.Module, _: object, output: object) -> None:
        if isinstance(output, Tensor) and output.ndim == 4 and output[0, 0].numel() > 1:
            seen.append(layer)

    ensembles = (list(part.members) for part in network.modules() if isinstance(part, Ensemble))
    members = next(ensembles, [network])
    leaves = [[layer for layer in member.modules() if not list(layer.children())] for member in members]
    hooks = [layer.register_forward_hook(note) for layer in chain(*leaves)]
    network(*inputs)
    for hook in hooks:
        hook.remove()
    found = [next((layer for layer in reversed(seen) if layer in set(own)), None) for own in leaves]
    maps = [layer for layer in found if layer is not None]
    if not maps:
        raise InputError(
            "Grad-CAM needs a feature map, which this classifier has not: export it, and show the bundle"
        )
    return maps
