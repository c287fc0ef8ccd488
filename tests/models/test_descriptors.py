"""Descriptors of a lesion, by what geometry and a radiologist's words say of drawn ones."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from busi.inference.graph import open_graph
from busi.inference.onnx import write_graph
from busi.models.described_views import DescribedViews
from busi.models.descriptors import DESCRIPTORS, describe_lesion, dilate, erode
from busi.models.two_stage import Segmenter, TwoStage
from tests.inference.test_onnx import Same

SIZE = 256
Y, X = np.mgrid[:SIZE, :SIZE].astype(np.float32)


def outline(
    width: float = 40, height: float = 30, waves: int = 0, depth: float = 0.0, x: float = 128, y: float = 100
) -> np.ndarray:
    """A mask with these half axes in pixels, whose radius swings so often by a share of itself."""
    angle = np.arctan2((Y - y) / height, (X - x) / width)
    radius = np.hypot((Y - y) / height, (X - x) / width)
    mask: np.ndarray = radius < 1 + depth * np.sin(waves * angle)
    return mask.astype(np.float32)


def tissue(mask: np.ndarray, dark: float = 0.3, below: float = 0.0, blur: float = 1.0) -> np.ndarray:
    """Speckle with a dark lesion, and a change of the gray levels below it."""
    gray = 0.5 + 0.03 * np.random.default_rng(0).standard_normal(mask.shape).astype(np.float32)
    under = (np.cumsum(mask, axis=0) > 0) & (mask == 0)
    smooth: np.ndarray = cv2.GaussianBlur(gray - dark * mask + below * under, (0, 0), blur)
    return smooth.clip(0.01, 1)


def describe(image: np.ndarray, mask: np.ndarray) -> dict[str, float]:
    numbers = describe_lesion(*(torch.from_numpy(one.copy())[None, None] for one in (image, mask)))
    return dict(zip(DESCRIPTORS, numbers[0].tolist(), strict=True))


@pytest.mark.parametrize(("width", "height"), [(40, 40), (50, 25), (24, 40)])
def test_shape_of_an_ellipse_is_as_geometry_says(width: float, height: float) -> None:
    mask = outline(width, height)
    found = describe(tissue(mask), mask)
    assert found["size"] == pytest.approx(np.log(np.pi * width * height / SIZE**2), abs=0.02)
    assert found["orientation"] == pytest.approx(2 * np.log(height / width), abs=0.02)
    assert found["elongation"] == pytest.approx(abs(2 * np.log(height / width)), abs=0.02)
    assert found["evenness"] == pytest.approx(1, abs=0.02)
    # Ramanujan's approximation of the circumference.
    around = np.pi * (3 * (width + height) - np.sqrt((3 * width + height) * (width + 3 * height)))
    assert found["compactness"] == pytest.approx(4 * np.pi * np.pi * width * height / around**2, rel=0.06)
    assert found["closed"] == pytest.approx(1, abs=0.01)
    assert found["present"] == 1


def test_wavy_outline_is_less_compact_and_changed_more_by_closing_and_opening() -> None:
    even, wavy = outline(), outline(waves=9, depth=0.25)
    smooth, rough = describe(tissue(even), even), describe(tissue(wavy), wavy)
    assert rough["compactness"] < 0.7 * smooth["compactness"]
    assert rough["closed_wide"] > smooth["closed_wide"] + 0.05
    assert rough["opened_wide"] < smooth["opened_wide"] - 0.1
    assert rough["opened"] < smooth["opened"] - 0.01
    assert rough["evenness"] < smooth["evenness"]


def test_closing_and_opening_are_those_of_opencv() -> None:
    mask = torch.rand(1, 1, 64, 48)
    kernel = np.ones((9, 9), np.uint8)
    for found, own in ((dilate(mask, 9), cv2.dilate), (erode(mask, 9), cv2.erode)):
        np.testing.assert_allclose(found[0, 0].numpy(), own(mask[0, 0].numpy(), kernel), atol=1e-6)


def test_echoes_are_as_drawn() -> None:
    mask = outline()
    plain, dark = describe(tissue(mask, dark=0.1), mask), describe(tissue(mask), mask)
    bright = describe(tissue(mask, dark=-0.3), mask)
    assert 0 < plain["contrast"] < dark["contrast"]
    assert bright["contrast"] < 0 < bright["brightness"]
    for name in ("margin_contrast", "margin_gradient"):
        assert bright[name] < 0 < plain[name] < dark[name]
    assert dark["brightness"] < plain["brightness"] < 0


def test_blurred_margin_is_less_steep() -> None:
    mask = outline()
    sharp, blurred = (describe(tissue(mask, blur=blur), mask) for blur in (1, 6))
    assert 0 < blurred["margin_gradient"] < 0.5 * sharp["margin_gradient"]
    assert blurred["margin_contrast"] < 0.9 * sharp["margin_contrast"]


def test_texture_is_that_of_the_lesion_and_of_what_is_around_it() -> None:
    mask = outline()
    noise = 0.1 * np.random.default_rng(2).standard_normal(mask.shape).astype(np.float32)
    plain, coarse = tissue(mask), tissue(mask) + noise * mask
    smooth, rough = describe(plain, mask), describe(coarse, mask)
    assert rough["texture"] > 1.5 * smooth["texture"]
    assert rough["texture_around"] < 1.2 * smooth["texture_around"]
    assert rough["margin_spread"] > smooth["margin_spread"]


@pytest.mark.parametrize("level", [0.0, 0.05])
def test_black_inside_the_image_is_seen(level: float) -> None:
    """A cyst without echoes, and a complete shadow."""
    mask = outline()
    image = tissue(mask)
    cyst = np.where(mask > 0, np.float32(level), image)
    found = describe(cyst, mask)
    assert -4 < found["brightness"] < -1
    assert found["texture"] < 0.3
    under = (np.cumsum(mask, axis=0) > 0) & (mask == 0)
    shadow = describe(np.where(under, np.float32(level), image), mask)
    assert shadow["shadow"] < describe(np.where(under, np.float32(0.3), image), mask)["shadow"] < -0.3


def test_what_lies_outside_of_the_image_says_nothing() -> None:
    """A lesion that the border cuts has no tissue below it; black borders are no tissue."""
    mask = outline(40, 30, y=240)
    image = tissue(mask)
    assert describe(image, mask)["shadow"] == pytest.approx(0, abs=0.05)
    framed, framed_mask = (np.pad(one[:, 60:200], ((0, 0), (58, 58))) for one in (image, mask))
    assert describe(framed, framed_mask)["shadow"] == pytest.approx(0, abs=0.05)
    whole = outline()
    framed, framed_mask = (np.pad(one[:, 78:178], ((0, 0), (78, 78))) for one in (tissue(whole), whole))
    expected, found = (describe(*pair) for pair in ((tissue(whole), whole), (framed, framed_mask)))
    for name in ("contrast", "margin_contrast", "shadow"):
        assert found[name] == pytest.approx(expected[name], rel=0.25, abs=0.1)


def test_shadow_and_enhancement_are_told_apart() -> None:
    mask = outline()
    shadow, none, enhanced = (describe(tissue(mask, below=change), mask) for change in (-0.2, 0, 0.2))
    assert shadow["shadow"] < -0.3
    assert none["shadow"] == pytest.approx(0, abs=0.1)
    assert enhanced["shadow"] > 0.3
    assert shadow["posterior"] < none["posterior"] < enhanced["posterior"]


@pytest.mark.parametrize(
    "change",
    [
        lambda image, mask: (0.4 * image + 0.2, mask),
        lambda image, mask: (image[:, ::-1], mask[:, ::-1]),
        lambda image, mask: (image, 0.5 + 0.5 * mask - 0.3 * (mask == 0)),
    ],
    ids=["contrast", "mirrored", "unsure"],
)
def test_contrast_side_and_certainty_change_nothing(
    change: Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]],
) -> None:
    mask = outline(waves=5, depth=0.2)
    image = tissue(mask, below=0.1)
    expected, found = describe(image, mask), describe(*change(image, mask))
    assert found == pytest.approx(expected, abs=0.03)


@pytest.mark.parametrize("size", [6, 22])
def test_of_several_parts_the_fullest_is_described(size: float) -> None:
    mask, other = outline(30, 30, x=150), outline(size, size, x=40, y=210)
    image = tissue(mask)
    assert describe(image, np.maximum(mask, other)) == pytest.approx(describe(image, mask), abs=0.01)


def test_nothing_is_zeros_and_every_guide_is_finite() -> None:
    image = torch.rand(5, 1, 64, 96)
    guide = torch.stack([torch.full((1, 64, 96), one) for one in (0.0, 0.4, 1.0, 0.5, 0.0)])
    guide[4, 0, 20:23, 20:23] = 1
    found = describe_lesion(image, guide)
    assert (found[:2] == 0).all()
    assert torch.isfinite(found).all()
    assert torch.isfinite(describe_lesion(torch.zeros_like(image), guide)).all()
    assert found[2:, -1].tolist() == [1, 1, 1]
    assert found.abs().max() < 20
    assert found[:, DESCRIPTORS.index("compactness")].max() <= 1


def test_a_step_of_some_pixels_changes_little() -> None:
    """Guides are rounded: another engine may give a pixel the step beside its own."""
    smooth = cv2.GaussianBlur(outline(waves=5, depth=0.2), (0, 0), 4)
    image = tissue(outline(waves=5, depth=0.2), below=-0.1)
    generator = np.random.default_rng(1)
    expected = describe(image, smooth)
    for _ in range(5):
        steps = generator.choice([-1, 0, 1], smooth.shape, p=[0.01, 0.98, 0.01]).astype(np.float32) / 255
        assert describe(image, (smooth + steps).clip(0, 1)) == pytest.approx(expected, abs=2e-3)


def test_each_of_the_two_learns_alone_and_their_mean_answers() -> None:
    torch.manual_seed(0)
    network = DescribedViews("resnet10t", 32, dropout=0.0)
    image, guide = torch.rand(4, 1, 64, 64), torch.zeros(4, 1, 64, 64)
    guide[:, :, 20:40, 10:50] = 1
    names = {name for name, _ in network.named_parameters()}
    own = {name for name in names if name.startswith("members.1.linear")}
    for head, expected in zip(network.train()(image, guide), (names - own, own), strict=True):
        network.zero_grad()
        head.square().sum().backward(retain_graph=True)
        moved = {name for name, one in network.named_parameters() if one.grad is not None and one.grad.any()}
        assert moved <= expected
        assert {name for name in expected if "head" in name or "linear" in name} <= moved
    answer = network.eval()(image, guide)
    torch.testing.assert_close(sum(one(image, guide) for one in network.members) / 2, answer)


def test_graph_describes_as_the_network_does(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = TwoStage(Segmenter(Same(), 128), DescribedViews("test_efficientnet", 32), 1.0).eval()
    letterboxed = np.stack([255 * outline(w, 20, waves=3, depth=0.2)[64:192, 64:192] for w in (15, 30)])
    letterboxed = cv2.GaussianBlur(letterboxed.transpose(1, 2, 0), (0, 0), 2).transpose(2, 0, 1)
    images = np.ascontiguousarray(letterboxed).astype(np.uint8)
    write_graph(network, 128, tmp_path / "model.onnx")
    with torch.inference_mode():
        expected = [one.numpy() for one in network(torch.from_numpy(images))]
    for found, one in zip(open_graph(tmp_path / "model.onnx", 128)(images), expected, strict=True):
        np.testing.assert_allclose(found, one, atol=1e-4)
