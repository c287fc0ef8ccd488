"""Where a classifier looks, and what it predicts without a guide."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from busi import Predictor
from busi.inference.bundle import Model
from busi.inference.explain import Explainer, find_last_maps
from busi.inference.loading import as_network, load_networks
from busi.models.described_views import DescribedViews
from busi.models.ensemble import Ensemble
from busi.models.two_stage import Segmenter, TwoStage
from tests.inference.test_predictor import make_image


class Spot(nn.Module):
    """A classifier whose logit of a class is the mean of one channel of its only map."""

    def __init__(self) -> None:
        super().__init__()
        self.map = nn.Conv2d(2, 3, 1, bias=False)
        self.map.weight.data = torch.tensor([[0.0, 1.0], [1.0, 0.0], [-1.0, 0.0]])[..., None, None]

    def forward(self, image: torch.Tensor, guide: torch.Tensor) -> torch.Tensor:
        return self.map(torch.cat([image, guide], dim=1)).mean(dim=(2, 3))  # type: ignore[no-any-return]


class Right(nn.Module):
    """A segmenter that finds a lesion in the right half of every image."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        columns = torch.arange(image.shape[-1]) >= image.shape[-1] // 2
        return torch.where(columns, 20.0, -20.0) * self.weight + 0 * image


def test_heatmap_shows_the_feature_map() -> None:
    explainer = Explainer(TwoStage(Segmenter(Right(), 32), Spot(), 1.0).eval(), 32)
    gray = np.zeros((32, 32), np.uint8)
    gray[4:12, 6:20] = 200
    assert np.allclose(explainer.compute_heatmap(gray, 1), gray / 200, atol=1e-6)
    assert not explainer.compute_heatmap(gray, 2).any()
    right = explainer.compute_heatmap(gray, 0)
    assert np.allclose(right[:, 16:], 1)
    assert np.allclose(right[:, :16], 0, atol=1e-6)


def test_a_member_without_maps_is_passed_over() -> None:
    network = DescribedViews("resnet10t", 32).eval()
    layers = find_last_maps(network, torch.rand(1, 1, 64, 64), torch.rand(1, 1, 64, 64))
    assert len(layers) == 1
    assert layers[0] in set(network.encoder.modules())


def test_last_map_is_the_one_before_pooling() -> None:
    network = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)
    )
    assert find_last_maps(network, torch.zeros(1, 1, 8, 8)) == [network[1]]


def test_heatmap_of_an_ensemble_is_the_mean_of_its_members() -> None:
    """One member finds class 1 by the image, one by the guide."""
    image, guide = Spot(), Spot()
    guide.map.weight.data = guide.map.weight.data[[1, 0, 2]]
    gray = np.zeros((32, 32), np.uint8)
    gray[4:12, 6:20] = 200
    one, other, both = (
        Explainer(TwoStage(Segmenter(Right(), 32), network, 1.0).eval(), 32).compute_heatmap(gray, 1)
        for network in (image, guide, Ensemble([image, guide]))
    )
    expected = gray / 255 + other  # the image's own scale, before each map is brought to 1
    assert np.allclose(one, gray / 200, atol=1e-6)
    assert np.allclose(both, expected / expected.max(), atol=1e-6)


@pytest.mark.parametrize(("height", "width"), [(40, 70), (1, 2), (500, 300)])
def test_a_trained_run_is_explained_at_the_size_of_the_image(trained: Path, height: int, width: int) -> None:
    two_stage, info = load_networks(trained)
    assert isinstance(two_stage, TwoStage)
    explainer, gray = Explainer(two_stage, info.image_size), make_image(height, width)
    heat = explainer.compute_heatmap(gray, 1)
    assert heat.shape == (height, width)
    assert 0 <= heat.min() <= heat.max() <= 1
    without = explainer.predict_with_empty_guide(gray)
    assert without.sum() == pytest.approx(1, abs=1e-6)
    with torch.no_grad():
        for bias in two_stage.segmenter.parameters():
            bias.zero_()
        # The last layer's bias is the only thing left: no pixel is lesion.
        list(two_stage.segmenter.parameters())[-1].fill_(-50)
    assert list(Predictor(Model(as_network(two_stage), info))(gray).probs.values()) == pytest.approx(
        without, abs=1e-6
    )
