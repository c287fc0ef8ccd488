"""The features that the shortcut probe reads, and pools that it cannot probe."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from busi.core.types import CLASSES
from busi.models.described_views import DescribedViews
from busi.models.encoders import Normalized
from busi.models.ensemble import Ensemble
from busi.models.guided import EarlyGuide, LateGuide
from busi.models.two_views import TwoViews
from busi.training.features import watch_features
from busi.training.probe import choose_parts, measure_shortcut

ENCODER = "test_efficientnet"


def early() -> nn.Module:
    return EarlyGuide(ENCODER)


def ensemble() -> nn.Module:
    return Ensemble([Normalized(EarlyGuide(ENCODER), tta="flip"), Normalized(LateGuide(ENCODER))])


def nested() -> nn.Module:
    return Ensemble([early(), DescribedViews(ENCODER, 32)])


@pytest.mark.parametrize(
    ("make", "heads"),
    [
        (early, {"head.1": 1}),
        (lambda: LateGuide(ENCODER), {"head.1": 1}),
        (lambda: TwoViews(ENCODER, 32), {"head.1": 1}),
        (lambda: DescribedViews(ENCODER, 32), {"members.0.head.1": 1 / 2, "members.1.linear": 1 / 2}),
        (lambda: Normalized(TwoViews(ENCODER, 32), tta="flip"), {"network.head.1": 1}),
        (ensemble, {"members.0.network.head.1": 1 / 2, "members.1.network.head.1": 1 / 2}),
        (nested, {
            "members.0.head.1": 1 / 2,
            "members.1.members.0.head.1": 1 / 4,
            "members.1.members.1.linear": 1 / 4,
        }),
    ],
)  # fmt: skip
def test_logits_are_the_last_layer_of_the_features(
    make: Callable[[], nn.Module], heads: Mapping[str, float]
) -> None:
    """What the last layers make of the features is what the network says, but for their biases."""
    torch.manual_seed(0)
    network = make().eval()
    image, guide = torch.rand(2, 5, 1, 64, 64)
    with torch.inference_mode(), watch_features(network) as features:
        logits = torch.cat([network(image[:3], guide[:3]), network(image[3:], guide[3:])]).numpy()
    found = features.stack()
    assert found is not None
    parts = [share * network.get_parameter(f"{name}.weight") for name, share in heads.items()]
    weights = torch.cat(parts, dim=1).detach().numpy()
    rest = logits - found @ weights.T
    np.testing.assert_allclose(rest, np.broadcast_to(rest[0], rest.shape), atol=1e-5)
    with torch.inference_mode():
        network(image, guide)
    assert len(features.rows) == 2  # watched no more


class Squashed(nn.Module):
    """Ends in something else than its linear layer."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, image: Tensor, guide: Tensor) -> Tensor:
        del guide
        return self.layer(image[:, 0, :2, 0]).tanh()  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    "layer", [nn.Linear(2, 3), nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 4)), nn.LayerNorm(2)]
)
def test_classifier_without_a_last_linear_layer_has_no_features(layer: nn.Module) -> None:
    torch.manual_seed(0)
    image = torch.rand(6, 1, 8, 8)
    with torch.inference_mode(), watch_features(network := Squashed(layer).eval()) as features:
        network(image, image)
    assert features.stack() is None


def make_columns(counts: dict[str, tuple[int, int]], seed: int = 0) -> dict[str, Any]:
    """Rows of sources with so many validation and test images; a third of each class, in groups of two."""
    rng = np.random.default_rng(seed)
    source, split = [], []
    for name, (num_val, num_test) in counts.items():
        source += [name] * (num_val + num_test)
        split += ["val"] * num_val + ["test"] * num_test
    number = np.arange(len(source))
    return {
        "source": np.array(source),
        "split": np.array(split),
        "group": number // 2,
        "label": number % 3,
        "pred": rng.choice(CLASSES, len(source)),
    }


def probe(counts: dict[str, tuple[int, int]], with_features: bool = True) -> dict[str, Any]:
    columns = make_columns(counts)
    rng = np.random.default_rng(1)
    number = np.unique(columns["source"], return_inverse=True)[1]
    features = rng.normal(size=(len(number), 4)) + 2 * number[:, None]
    pixels = rng.normal(size=(len(number), 3))
    return measure_shortcut(columns, pixels, features if with_features else None, 50)


def test_source_with_too_few_images_is_left_out_in_words() -> None:
    content = probe({"a": (60, 60), "b": (40, 40), "tiny": (3, 2)})
    assert content["left_out"] == {"tiny": "3 images to fit on, 2 to judge; 10 of each needed"}
    assert content["design"] == "val_to_test"
    assert content["probes"]["all"]["sources"] == ["a", "b"]
    assert content["probes"]["all"]["num_judged"] == 100
    assert content["probes"]["normal"]["features"]["auroc"][0] > 0.9
    assert content["normals"].keys() == {"a", "b", "tiny"}


def test_pool_with_one_large_source_is_skipped_in_words() -> None:
    content = probe({"a": (60, 60), "tiny": (3, 2)})
    assert "two sources" in content["skipped"]
    assert "tiny: 3 images to fit on, 2 to judge" in content["skipped"]
    assert content["probes"] == {}
    assert content["normals"]["a"]["num_lesions"] == 40


def test_features_tell_what_is_in_them_and_pixels_and_labels_what_is_in_those() -> None:
    probes = probe({"a": (60, 60), "b": (45, 45), "c": (30, 30)})["probes"]
    assert probes["all"]["chance"] == {"balanced_accuracy": pytest.approx(1 / 3), "auroc": 0.5}
    assert probes["all"]["features"]["auroc"][0] > 0.95
    for name in ("pixels", "label"):
        low, high = probes["all"][name]["auroc"][1:]
        assert low <= 0.5 <= high
    assert "label" not in probes["benign"]


def test_without_features_the_rest_is_there_and_the_reason() -> None:
    content = probe({"a": (60, 60), "b": (45, 45)}, with_features=False)
    assert content["no_features"] == "the classifier does not end in a linear layer"
    assert content["probes"]["all"].keys() >= {"pixels", "label"}
    assert "features" not in content["probes"]["all"]


@pytest.mark.parametrize(
    "counts", [{"a": (60, 0), "b": (0, 300)}, {"a": (60, 0), "b": (40, 0), "c": (0, 90)}]
)
def test_sources_that_do_not_share_splits_are_halved_by_groups(counts: dict[str, tuple[int, int]]) -> None:
    columns = make_columns(counts)
    design, fitted = choose_parts(columns["source"], columns["split"] == "val", columns["group"])
    assert design == "halves"
    for group in np.unique(columns["group"]):
        assert len(set(fitted[columns["group"] == group])) == 1
    for name, sizes in counts.items():
        assert fitted[columns["source"] == name].mean() == pytest.approx(0.5, abs=0.05)
        assert sum(sizes) == (columns["source"] == name).sum()
    assert probe(counts)["probes"]["all"]["sources"] == list(counts)
