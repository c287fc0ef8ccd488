"""Transforms that albumentations does not have."""

import albumentations as A  # noqa: N812
import numpy as np
import pytest
from scipy import ndimage

from busi.core.types import InputError
from busi.data.augmentation import Augmentation, Calipers, DepthGain, Speckle

GRAY = np.full((64, 64), 100, np.uint8)


def augment(transform: A.BasicTransform, seed: int, gray: np.ndarray = GRAY) -> np.ndarray:
    done = Augmentation(one=transform)(np.stack([gray, gray % 2, gray]), seed)
    np.testing.assert_array_equal(done[1:], [gray % 2, gray])  # annotation and guide stay as they are
    return np.asarray(done[0])


@pytest.mark.parametrize("transform", [DepthGain(p=1.0), Speckle(p=1.0), Calipers(p=1.0)])
def test_seed_alone_decides(transform: A.BasicTransform) -> None:
    first, again, other = (augment(transform, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    assert (augment(type(transform)(p=0.0), 1) == GRAY).all()


def test_gain_changes_with_depth_alone_and_stays_within_its_strength() -> None:
    for seed in range(20):
        changed = augment(DepthGain(0.3, p=1.0), seed).astype(int)
        assert (changed == changed[:, :1]).all()
        assert changed.min() >= 69
        assert changed.max() <= 130
        assert np.abs(np.diff(changed[:, 0])).max() <= 5  # even


def test_speckle_keeps_black_and_the_mean() -> None:
    assert (augment(Speckle(p=1.0), 0, np.zeros((64, 64), np.uint8)) == 0).all()
    means = [augment(Speckle(0.25, p=1.0), seed).mean() for seed in range(50)]
    assert np.mean(means) == pytest.approx(100, rel=0.05)


def test_calipers_are_a_few_bright_crosses() -> None:
    for seed in range(20):
        changed = augment(Calipers(p=1.0), seed)
        drawn = changed != GRAY
        assert 0 < drawn.mean() < 0.1
        assert changed[drawn].min() >= 190
        widths = [box[1].stop - box[1].start for box in ndimage.find_objects(ndimage.label(drawn)[0])]
        assert max(widths) >= 2  # an arm of a cross; dots are single pixels


class Halved(A.ImageOnlyTransform):
    """Gives back something else than it was given."""

    def apply(self, img: np.ndarray, **_: object) -> np.ndarray:
        return img[::2] / 2


def test_transform_that_changes_size_or_type_is_named() -> None:
    words = r"it makes of the image \(32, 64\) float64, and must leave it \(64, 64\) uint8"
    with pytest.raises(InputError, match=words):
        augment(Halved(p=1.0), 0)
