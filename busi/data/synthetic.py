"""Synthetic data: images like breast ultrasound, in the layout of BUSI, for demonstration and tests.

Nothing that is measured on them means anything medically.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image

from busi.core import BENIGN, CLASSES, MALIGNANT, NORMAL, InputError, whole_folder, writing_cache
from busi.data.class_folders import read_busi
from busi.data.records import Reading

Rng = np.random.Generator


@dataclass(frozen=True)
class Sample:
    """One synthetic image.

    Attributes:
        image: B-mode gray values.
        masks: One mask a lesion; none for a normal image.
    """

    image: UInt8[np.ndarray, "h w"]
    masks: list[Bool[np.ndarray, "h w"]]


def read_synthetic(
    root: Path, num_benign: int, num_malignant: int, num_normal: int, height: int, seed: int
) -> Reading:
    """Write the data below `root` unless it is there, in a folder named after the arguments, and read it.

    Args:
        root: Parent of the folder.
        num_benign: Images of the class, at least 10.
        num_malignant: Images of the class, at least 10.
        num_normal: Images of the class, at least 10.
        height: Typical height in pixels, at least 64; sizes vary around it.
        seed: Equal arguments give equal files.

    Raises:
        InputError: If an argument is too small.
    """
    counts = (num_normal, num_benign, num_malignant)
    key = hashlib.sha256(json.dumps([*counts, height, seed]).encode()).hexdigest()[:12]
    return read_busi(make_synthetic(root / key, counts, height, seed))


def make_synthetic(folder: Path, counts: tuple[int, int, int], height: int, seed: int) -> Path:
    """Write a data set into `folder`, whole or not at all; leave an existing one as it is.

    Of every class, each seventh image is a near-duplicate of the one before it: cropped, scaled, with
    another gain and perhaps with calipers. The last of them in benign is a near-duplicate of a malignant
    image, a label conflict. See `read_synthetic` for the arguments; `counts` are in the order of `CLASSES`.
    """
    if min(counts) < 10 or height < 64:
        raise InputError(
            f"data=synthetic needs at least 10 images a class and 64 pixels of height, got {counts}, {height}"
        )
    if folder.is_dir():
        return folder
    with writing_cache(folder.parent):
        try:
            with whole_folder(folder) as part:
                for label, name in enumerate(CLASSES):
                    (part / name).mkdir()
                    for number in range(1, counts[label] + 1):
                        sample = make_sample(label, number, counts, height, seed)
                        _write(part / name, f"{name} ({number})", sample)
        except OSError:
            # Another process may have been faster with the same files.
            if not folder.is_dir():
                raise
    return folder


def make_sample(label: int, number: int, counts: tuple[int, int, int], height: int, seed: int) -> Sample:
    """Make one image from its place in the data set."""
    rng = np.random.default_rng([seed, label, number])
    last_near_duplicate = counts[label] - counts[label] % 7
    if label == BENIGN and number == last_near_duplicate:
        return make_near_duplicate(make_sample(MALIGNANT, 1, counts, height, seed), rng)
    if number % 7 == 0:
        return make_near_duplicate(make_sample(label, number - 1, counts, height, seed), rng)
    return draw_sample(label, rng, height)


def draw_sample(label: int, rng: Rng, height: int) -> Sample:
    """Draw an original image of a class."""
    height = round(height * rng.uniform(0.85, 1.15))
    width = round(height * rng.uniform(0.95, 1.5))
    echo = draw_tissue(rng, height, width)
    num_lesions = 0 if label == NORMAL else 1 + (rng.random() < 0.06)
    masks: list[Bool[np.ndarray, "h w"]] = []
    for i in range(num_lesions):
        side = rng.uniform(0.25, 0.75) if num_lesions == 1 else (0.27 + 0.46 * i)
        mask = draw_outline(label, rng, height, width, side, 1.0 if num_lesions == 1 else 0.6)
        echo = put_lesion(echo, mask, label, rng)
        masks.append(mask)
    image = make_speckle(echo, rng)
    if masks and rng.random() < (0.2 if label == BENIGN else 0.15):
        image = draw_calipers(image, masks[0])
    return Sample(image, masks)


def draw_tissue(rng: Rng, height: int, width: int) -> Float[np.ndarray, "{height} {width}"]:
    """Echogenicity in decibel: skin, fat with bright septa, gland, fascia and muscle; weaker with depth."""
    depth = np.linspace(0, 1, height)[:, None]
    bend = 0.03 * np.sin(np.linspace(0, rng.uniform(2, 7), width) + rng.uniform(0, 6))[None]
    level = depth + bend + 0.02 * make_noise(rng, height, width, width / 12)
    fat_end, gland_end = rng.uniform(0.18, 0.32), rng.uniform(0.6, 0.8)
    echo = np.where(level < fat_end, -20.0, np.where(level < gland_end, -12.0, -19.0))
    echo += 3.5 * make_noise(rng, height, width, height / 14)
    # Lobules of fat within the gland look a little like lesions.
    lobules = make_noise(rng, height, width, height / 9) + 0.6 * make_noise(rng, height, width, height / 30)
    echo -= 7.0 * np.clip(lobules - 1.3, 0, 1)
    septa = np.abs(make_noise(rng, height, width, height / 16) + 0.35 * make_noise(rng, height, width, 3.0))
    echo += 9.0 * np.exp(-((septa / 0.07) ** 2)) * (level > 0.05)
    for edge in (fat_end, gland_end):
        echo += 9.0 * np.exp(-(((level - edge) / 0.012) ** 2))
    echo += 14.0 * np.exp(-(((level - 0.03) / 0.015) ** 2))
    sides = 1.5 * np.linspace(-1, 1, width)[None] ** 2
    return echo - rng.uniform(9, 16) * depth**1.5 - sides


def draw_outline(
    label: int, rng: Rng, height: int, width: int, side: float, scale: float
) -> Bool[np.ndarray, "{height} {width}"]:
    """Outline of a lesion: oval, smooth and wide if benign; lobed, spiculated and tall if malignant.

    One in eight has the margin of the other class, so that no single cue decides.
    """
    atypical = rng.random() < 0.125
    malignant = (label == MALIGNANT) != atypical
    area = height**2 * scale * (rng.uniform(0.025, 0.14) if label == MALIGNANT else rng.uniform(0.012, 0.09))
    aspect = rng.uniform(0.6, 1.05) if label == MALIGNANT else rng.uniform(1.25, 2.1)
    angle = np.linspace(0, 2 * np.pi, 361)[:-1]
    radius = np.ones_like(angle)
    for frequency in range(2, 18 if malignant else 4):
        size = (0.22 if malignant else 0.06) / frequency**0.6
        radius += size * rng.normal() * np.cos(frequency * angle + rng.uniform(0, 6.3))
    radius = np.clip(radius, 0.45, 1.8) * np.sqrt(area / np.pi)
    center = np.array([side * width, rng.uniform(0.38, 0.55) * height])
    points = center + np.stack(
        [radius * np.cos(angle) * aspect**0.5, radius * np.sin(angle) / aspect**0.5], 1
    )
    canvas = np.zeros((height, width), np.uint8)
    cv2.fillPoly(canvas, [points.round().astype(np.int32)], (1,))
    return canvas.astype(bool)


def put_lesion(
    echo: Float[np.ndarray, "h w"], mask: Bool[np.ndarray, "h w"], label: int, rng: Rng
) -> Float[np.ndarray, "h w"]:
    """Darken the lesion, and what lies behind it (malignant) or brighten that (benign)."""
    height, width = mask.shape
    soft = cv2.GaussianBlur(mask.astype(np.float64), (0, 0), height / (60 if label == MALIGNANT else 150))
    dark = rng.uniform(8, 15) if label == MALIGNANT else rng.uniform(7, 16)
    inside = 2.5 * make_noise(rng, height, width, height / 40) - dark - echo * 0.4 - 7.0
    behind = (np.cumsum(mask, axis=0) > 0) & ~mask
    strength = np.cumsum(mask, axis=0)[-1] / max(1, mask.sum(axis=0).max())
    fade = np.exp(-np.linspace(0, 0.8, height))[:, None]
    change = -rng.uniform(10, 20) if label == MALIGNANT else rng.uniform(4, 10)
    shade = cv2.GaussianBlur(behind * strength[None] * fade, (0, 0), height / 50)
    changed: Float[np.ndarray, "h w"] = echo + soft * inside + change * shade * (1 - soft)
    return changed


def make_speckle(echo: Float[np.ndarray, "h w"], rng: Rng) -> UInt8[np.ndarray, "h w"]:
    """Turn echogenicity into B-mode gray values: Rayleigh speckle, log-compressed over 50 dB.

    The envelope of many random scatterers is the modulus of a complex Gaussian field, smoothed by the
    point spread, wider across than along the beam (Wagner, Smith, Sandrik, Lopez, "Statistics of speckle
    in ultrasound B-scans", IEEE Trans. Sonics Ultrason. 30, 1983).
    """
    field = rng.normal(size=(2, *echo.shape))
    spread = [cv2.GaussianBlur(part, (0, 0), sigmaX=1.7, sigmaY=0.8) for part in field]
    envelope = np.hypot(*spread)
    decibel = echo + 20 * np.log10(envelope / envelope.mean() + 1e-3)
    gray = np.clip((decibel + 48) / 50, 0, 1) * 255
    shown: UInt8[np.ndarray, "h w"] = cv2.GaussianBlur(gray, (0, 0), 0.5).round().astype(np.uint8)
    return shown


def draw_calipers(image: UInt8[np.ndarray, "h w"], mask: Bool[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w"]:
    """Burn two crosses and a dotted line across a lesion into an image, as a sonographer would."""
    drawn = image.copy()
    rows, columns = np.nonzero(mask)
    row = int(rows.mean())
    left, right = int(columns.min()), int(columns.max())
    for column in (left, right):
        cv2.drawMarker(drawn, (column, row), (235,), cv2.MARKER_CROSS, 9, 1)
    drawn[row, left:right:4] = 235
    return drawn


def make_near_duplicate(sample: Sample, rng: Rng) -> Sample:
    """The same frame exported again: cropped, scaled, with another gain and perhaps calipers."""
    height, width = sample.image.shape
    top, left = (int(rng.integers(0, max(1, size // 14))) for size in (height, width))
    crop = np.s_[
        top : height - int(rng.integers(0, height // 14)), left : width - int(rng.integers(0, width // 14))
    ]
    scale = rng.uniform(0.85, 1.2)
    image = cv2.resize(sample.image[crop], None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    size = (image.shape[1], image.shape[0])
    masks = [
        cv2.resize(mask[crop].astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0
        for mask in sample.masks
    ]
    gained = np.clip(image * rng.uniform(0.85, 1.15) + rng.uniform(-8, 8), 0, 255).astype(np.uint8)
    if masks and rng.random() < 0.5:
        gained = draw_calipers(gained, masks[0])
    return Sample(gained, masks)


def make_noise(rng: Rng, height: int, width: int, size: float) -> Float[np.ndarray, "{height} {width}"]:
    """Smooth noise of mean 0 and deviation 1, with blobs of about `size` pixels, wider than tall."""
    noise = cv2.GaussianBlur(rng.normal(size=(height, width)), (0, 0), sigmaX=1.6 * size, sigmaY=0.6 * size)
    scaled: Float[np.ndarray, "h w"] = (noise - noise.mean()) / noise.std()
    return scaled


def _write(folder: Path, stem: str, sample: Sample) -> None:
    Image.fromarray(sample.image).save(folder / f"{stem}.png")
    # A normal image of BUSI has a mask file too, all zero.
    for i, mask in enumerate(sample.masks or [np.zeros(sample.image.shape, bool)]):
        Image.fromarray(mask).save(folder / f"{stem}_mask{f'_{i}' if i else ''}.png")
