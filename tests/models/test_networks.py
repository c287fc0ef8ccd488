"""Networks of this package, by their properties."""

import numpy as np
import pytest
import torch

from busi.models.described_views import DescribedViews
from busi.models.guided import EarlyGuide, LateGuide
from busi.models.places import find_place, look_closer
from busi.models.plain_unet import PlainUNet
from busi.models.two_views import TwoViews, describe_shape

ENCODER = "tf_efficientnet_lite0"


def test_plain_unet_has_the_31_million_parameters_of_the_original() -> None:
    num_parameters = sum(p.numel() for p in PlainUNet().parameters())
    assert num_parameters == pytest.approx(31.0e6, rel=0.01)


@pytest.mark.parametrize("size", [(32, 32), (64, 96)])
def test_plain_unet_keeps_the_size(size: tuple[int, int]) -> None:
    assert PlainUNet(4)(torch.rand(2, 1, *size)).shape == (2, 1, *size)


def test_plain_unet_sees_across_the_image() -> None:
    """A pixel far away changes the output: the deepest level is connected."""
    torch.manual_seed(0)
    network = PlainUNet(8).eval()
    image = torch.rand(1, 1, 64, 64)
    changed = image.clone()
    changed[..., 0, 0] += 100
    assert (network(image) != network(changed))[..., 40:, 40:].any()


@pytest.mark.parametrize(
    "network",
    [EarlyGuide(ENCODER), LateGuide(ENCODER), TwoViews(ENCODER, 32), DescribedViews(ENCODER, 32)],
)
def test_guide_changes_the_diagnosis(network: torch.nn.Module) -> None:
    image = torch.rand(2, 1, 64, 64)
    guide = torch.zeros_like(image)
    guide[..., 16:48, 16:48] = 1
    with torch.inference_mode():
        blank, guided = (network.eval()(image, x) for x in (torch.zeros_like(image), guide))
    assert blank.shape == (2, 3)
    assert not torch.equal(blank, guided)


def test_late_guide_over_the_whole_image_pools_it_all() -> None:
    network = LateGuide(ENCODER).eval()
    read: list[torch.Tensor] = []
    network.head.register_forward_hook(lambda _module, inputs, _output: read.append(inputs[0]))
    with torch.inference_mode():
        network(torch.rand(1, 1, 64, 64), torch.ones(1, 1, 64, 64))
    features = read[0][0]
    half = len(features) // 2
    torch.testing.assert_close(features[:half], features[half:-1])
    assert features[-1] == 1


def ellipse(x: float, y: float, width: float, height: float, size: int = 128) -> torch.Tensor:
    """A guide with half axes and center in units of the image's side."""
    steps = (torch.arange(size) + 0.5) / size
    inside = ((steps - x) / width).square() + ((steps - y) / height).square()[:, None] < 1
    return inside.float()[None, None]


def test_place_of_a_guide_is_its_weighted_mean_and_covariance() -> None:
    guide = torch.rand(3, 1, 32, 64) * ellipse(0.6, 0.4, 0.2, 0.3, 64)[..., ::2, :]
    rows, columns = np.mgrid[:32, :64]
    places = np.stack([(columns.ravel() + 0.5) / 64, (rows.ravel() + 0.5) / 32])
    for k, (center, covariance) in enumerate(zip(*find_place(guide), strict=True)):
        weights = guide[k].ravel().double().numpy() + 1e-4
        np.testing.assert_allclose(center.numpy(), np.average(places, axis=1, weights=weights), atol=1e-5)
        expected = np.cov(places, aweights=weights, ddof=0)
        np.testing.assert_allclose(covariance.numpy(), expected, atol=1e-5)


def test_closer_view_holds_the_lesion_in_its_middle_half() -> None:
    guide = ellipse(0.4, 0.6, 0.1, 0.08)
    close = look_closer(guide, *find_place(guide), 64)[0, 0]
    found = describe_shape(close[None, None])[0]
    torch.testing.assert_close(found[[3, 4, 8]], torch.tensor([0.5, 0.4, 0.5]), atol=0.04, rtol=0)


@pytest.mark.parametrize("guide", [torch.zeros(1, 1, 64, 64), torch.ones(1, 1, 64, 64)])
def test_without_a_place_the_closer_view_is_the_whole_image(guide: torch.Tensor) -> None:
    image = torch.rand(1, 1, 64, 64)
    torch.testing.assert_close(look_closer(image, *find_place(guide), 64), image, atol=1e-4, rtol=0)


def test_shape_of_an_ellipse_is_as_geometry_says() -> None:
    guide = ellipse(0.5, 0.3, 0.2, 0.1)
    side, largest, doubt, width, height, taller, tilt, evenness, depth = describe_shape(guide)[0].tolist()
    assert side**2 == pytest.approx(np.pi * 0.2 * 0.1, rel=0.02)
    assert (largest, doubt) == (1.0, 0.0)
    assert width == pytest.approx(0.4, abs=0.02)
    assert height == pytest.approx(0.2, abs=0.02)
    assert taller == pytest.approx(2 * np.log(0.1 / 0.2), abs=0.1)
    assert tilt == pytest.approx(0, abs=0.01)
    assert evenness == pytest.approx(1, abs=0.1)
    assert depth == pytest.approx(0.3, abs=0.01)


def test_a_broken_outline_is_less_even() -> None:
    whole = ellipse(0.5, 0.5, 0.2, 0.2)
    broken = whole * (torch.arange(128) % 4 < 2)
    assert describe_shape(broken)[0, 7] < 0.6 * describe_shape(whole)[0, 7]


def test_shape_of_nothing_is_finite() -> None:
    assert torch.isfinite(describe_shape(torch.zeros(2, 1, 32, 32))).all()
