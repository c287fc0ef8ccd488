"""Networks of this package, by their properties."""

import pytest
import torch

from busi.models.guided import EarlyGuide, LateGuide
from busi.models.unet_plain import PlainUNet

ENCODER = "tf_efficientnet_lite0"


def test_plain_unet_has_the_31_million_parameters_of_the_original() -> None:
    num_parameters = sum(p.numel() for p in PlainUNet().parameters())
    assert num_parameters == pytest.approx(31.0e6, rel=0.01)


@pytest.mark.parametrize("size", [(32, 32), (64, 96)])
def test_plain_unet_keeps_the_size(size: tuple[int, int]) -> None:
    assert PlainUNet(4)(torch.rand(2, 1, *size)).shape == (2, 1, *size)


def test_plain_unet_sees_across_the_picture() -> None:
    """A pixel far away changes the output: the deepest level is connected."""
    torch.manual_seed(0)
    network = PlainUNet(8).eval()
    image = torch.rand(1, 1, 64, 64)
    changed = image.clone()
    changed[..., 0, 0] += 100
    assert (network(image) != network(changed))[..., 40:, 40:].any()


@pytest.mark.parametrize("network", [EarlyGuide(ENCODER), LateGuide(ENCODER)])
def test_guide_changes_the_diagnosis(network: torch.nn.Module) -> None:
    image = torch.rand(2, 1, 64, 64)
    guide = torch.zeros_like(image)
    guide[..., 16:48, 16:48] = 1
    with torch.inference_mode():
        blank, guided = (network.eval()(image, x) for x in (torch.zeros_like(image), guide))
    assert blank.shape == (2, 3)
    assert not torch.equal(blank, guided)


def test_late_guide_over_the_whole_picture_pools_it_all() -> None:
    network = LateGuide(ENCODER).eval()
    read: list[torch.Tensor] = []
    network.head.register_forward_hook(lambda _module, inputs, _output: read.append(inputs[0]))
    with torch.inference_mode():
        network(torch.rand(1, 1, 64, 64), torch.ones(1, 1, 64, 64))
    features = read[0][0]
    half = len(features) // 2
    torch.testing.assert_close(features[:half], features[half:-1])
    assert features[-1] == 1
