"""Altered versions: whatever augmentation makes of an image is recognized, and other images are not."""

import io
import os
import zlib
from collections.abc import Callable
from pathlib import Path

import cv2
import hydra
import numpy as np
import pytest
from hydra.utils import instantiate
from jaxtyping import UInt8
from PIL import Image

from busi.core.files import conf_dir
from busi.data.altered import INVERTED, MIRRORED, find_altered
from busi.data.described import describe_image
from busi.data.duplicates import match_points
from busi.data.files import read_gray
from busi.data.geometry import letterbox
from busi.data.groups import published_groups
from busi.data.images import pixel_hash
from busi.data.kept_searches import KeptSearches
from busi.data.levels import to_gray
from tests.data.conftest import burn_in, scan

GrayImage = UInt8[np.ndarray, "_ _"]
Change = Callable[[GrayImage], GrayImage]


def mirror(image: GrayImage) -> GrayImage:
    return np.ascontiguousarray(image[:, ::-1])


def invert(image: GrayImage) -> GrayImage:
    return 255 - image


def affine(degrees: float = 0.0, scale: float = 1.0, shear: float = 0.0) -> Change:
    """Turned and scaled about the center and sheared, at the same size."""

    def change(image: GrayImage) -> GrayImage:
        height, width = image.shape
        matrix = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, scale)
        slant = np.tan(np.radians(shear))
        sheared = np.array([[1, slant, -slant * height / 2], [0, 1, 0], [0, 0, 1]])
        return np.asarray(cv2.warpAffine(image, matrix @ sheared, (width, height)), np.uint8)

    return change


def gain(factor: float, offset: float) -> Change:
    return lambda image: np.asarray((image * factor + offset).clip(0, 255), np.uint8)


def gamma(power: float) -> Change:
    return lambda image: np.asarray(255 * (image / 255.0) ** power, np.uint8)


def crop(share: float) -> Change:
    def change(image: GrayImage) -> GrayImage:
        top, left = (round(length * share) for length in image.shape)
        return np.ascontiguousarray(image[top:-top, left:-left])

    return change


def zoom(factor: float) -> Change:
    return lambda image: np.asarray(
        cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA), np.uint8
    )


def jpeg(image: GrayImage) -> GrayImage:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=50)
    return to_gray(Image.open(file))


def blur(image: GrayImage) -> GrayImage:
    return np.asarray(cv2.GaussianBlur(image, (0, 0), 1.5), np.uint8)


def wide(image: GrayImage) -> GrayImage:
    """Written with 16 bits, and read again."""
    file = io.BytesIO()
    Image.fromarray(image.astype(np.uint16) * 257).save(file, "PNG")
    return to_gray(Image.open(file))


def squeeze(image: GrayImage) -> GrayImage:
    return np.asarray(cv2.resize(image, (256, 256), interpolation=cv2.INTER_AREA), np.uint8)


def square(image: GrayImage) -> GrayImage:
    return letterbox(image, 256)


def chain(*changes: Change) -> Change:
    def change(image: GrayImage) -> GrayImage:
        for one in changes:
            image = one(image)
        return image

    return change


def augment(name: str) -> Change:
    """An augmentation of training; its seed comes from the image."""

    def change(image: GrayImage) -> GrayImage:
        with hydra.initialize_config_dir(str(conf_dir() / "augmentation"), version_base="1.3"):
            augmentation = instantiate(hydra.compose(name))
        letterboxed = square(image)
        empty = np.zeros_like(letterboxed)
        seed = zlib.crc32(image.tobytes())
        return np.asarray(augmentation(np.stack([letterboxed, empty, empty]), seed)[0], np.uint8)

    return change


CHANGES = {
    "same": lambda image: image,
    "mirrored": mirror,
    "inverted": invert,
    "mirrored, inverted": chain(mirror, invert),
    "turned by 5": affine(5),
    "turned by -5": affine(-5),
    "turned by 10": affine(10),
    "turned by -10": affine(-10),
    "turned by 30": affine(30),
    "turned by 90": lambda image: np.ascontiguousarray(np.rot90(image)),
    "upside down": lambda image: np.ascontiguousarray(image[::-1]),
    "scaled to 0.9": affine(scale=0.9),
    "scaled to 1.1": affine(scale=1.1),
    "half the size": zoom(0.5),
    "sheared": affine(shear=8),
    "squeezed": squeeze,
    "brighter": gain(1.3, 20),
    "more contrast": gain(1.5, -64),
    "gamma 0.6": gamma(0.6),
    "gamma 1.6": gamma(1.6),
    "cropped": crop(0.1),
    "JPEG": jpeg,
    "blurred": blur,
    "16 bits": wide,
    "letterboxed": square,
    "burned in": burn_in,
    "mirrored, turned": chain(mirror, affine(5)),
    "inverted, turned": chain(invert, affine(-5)),
    "mirrored, brighter, cropped": chain(mirror, gain(1.3, 20), crop(0.1)),
    "mirrored, inverted, turned, JPEG": chain(mirror, invert, affine(-10), jpeg),
    "augmented, light": augment("light"),
    "augmented, strong": augment("strong"),
    "augmented, scanner": augment("scanner"),
}
"""What is done to an image, by name: whatever augmentation does, and what export and editing do."""


@pytest.fixture(scope="module")
def known() -> list[GrayImage]:
    return [scan(seed) for seed in range(8)]


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_changed_images_are_recognized_and_others_are_not(known: list[GrayImage], change: Change) -> None:
    strange = [scan(seed) for seed in (20, 21)]
    images = [change(image) for image in (known[2], *strange, known[5])]
    assert find_altered(images, known) == [(0, 2), (3, 5)]


@pytest.mark.parametrize(
    ("change", "order"),
    [(mirror, MIRRORED), (invert, INVERTED), (chain(mirror, invert), INVERTED[MIRRORED])],
    ids=["mirrored", "inverted", "both"],
)
def test_features_in_another_order_are_those_of_the_changed_image(
    known: list[GrayImage], change: Change, order: np.ndarray
) -> None:
    # Of an image that keeps its size when it is described, so that nothing else changes.
    image = describe_image(known[0], upright=False).small
    there, here = (describe_image(one, upright=False) for one in (image, change(image)))
    points, others = match_points(here, there._replace(features=there.features[:, order]))
    if change is not invert:
        points = np.array([image.shape[1] - 1, 0]) + points * np.array([-1, 1])
    near = np.linalg.norm(points - others, axis=1) < 1.5
    assert near.mean() > 0.9
    assert near.sum() > 150


def test_equal_text_and_shading_are_no_versions() -> None:
    images = [burn_in(scan(seed)) for seed in range(12)]
    changed = [affine(5)(mirror(image)) for image in images[6:]]
    assert find_altered(changed, images[:6]) == []


def test_the_answer_is_the_same_with_what_was_kept_and_for_any_order(
    known: list[GrayImage], tmp_path: Path
) -> None:
    changes = list(CHANGES.values())[:-3]
    images = [change(known[i % len(known)]) for i, change in enumerate(changes)]
    pairs = find_altered(images, known)
    assert pairs == [(i, i % len(known)) for i in range(len(changes))]
    of_images, of_known = (
        KeptSearches(tmp_path, [pixel_hash(image) for image in some], upright=False)
        for some in (images, known)
    )
    assert find_altered(images, known, (of_images, of_known)) == pairs
    gone = np.zeros((0, 0), np.uint8)  # cannot be described
    again = find_altered([gone] * len(images), [gone] * len(known), (of_images, of_known))
    assert again == pairs
    assert KeptSearches(tmp_path, of_known.names).read_description(0) is None
    turned = find_altered(images[::-1], known)
    assert sorted((len(images) - 1 - i, j) for i, j in turned) == pairs


def test_flat_tiny_and_few_images() -> None:
    image = scan(0)
    flat = [np.zeros((1, 1), np.uint8), np.full((40, 60), 7, np.uint8), np.full((5, 300), 255, np.uint8)]
    strip = np.random.default_rng(1).integers(0, 255, (3, 900), np.uint8)
    assert find_altered([], []) == find_altered([image], []) == find_altered([], [image]) == []
    assert find_altered([*flat, image], flat) == []
    assert find_altered([*flat, strip, mirror(image)], [image]) == [(4, 0)]
    small = zoom(0.15)(image)
    assert small.shape == (63, 75)
    assert find_altered([mirror(small), small[:12, :12].copy()], [small, *flat]) == [(0, 0)]


def sample(root: Path) -> tuple[list[GrayImage], list[int]]:
    """All images of BUSI, and their frozen groups."""
    paths = [path for path in sorted(root.glob("*/*.png")) if "_mask" not in path.name]
    images, groups = [read_gray(path) for path in paths], published_groups()
    return images, [groups[pixel_hash(image)] for image in images]


@pytest.mark.slow
@pytest.mark.real
def test_changed_images_of_busi_are_recognized_and_no_other_image_is() -> None:
    """The numbers of docs/explanation/protocol.md; no image of BUSI is an altered version of another."""
    if "BUSI_ROOT" not in os.environ:
        pytest.skip("BUSI_ROOT is not set: the BUSI files are needed")
    images, groups = sample(Path(os.environ["BUSI_ROOT"]))
    chosen = np.random.default_rng(0).permutation(len(images))[:28].tolist()
    changed = [change(images[i]) for change in CHANGES.values() for i in chosen]
    counts = dict.fromkeys(CHANGES, 0)
    for k in {k for k, j in find_altered(changed, images) if groups[j] == groups[chosen[k % 28]]}:
        counts[list(CHANGES)[k // 28]] += 1
    print(counts)
    assert counts.pop("augmented, scanner") >= 24
    assert set(counts.values()) == {28}
    pairs = find_altered(images, images)
    assert {(i, i) for i in range(len(images))} <= set(pairs)
    assert all(groups[i] == groups[j] for i, j in pairs)
