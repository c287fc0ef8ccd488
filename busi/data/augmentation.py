"""Augmentation: named albumentations transforms, seeded sample by sample.

No option flips vertically: sound travels down, and the shadow or brightness below a lesion is a cue.
"""

from collections.abc import Mapping

import albumentations as A  # noqa: N812  the name that its users know
import cv2
import numpy as np
from jaxtyping import UInt8
from torch import nn

from busi.core import InputError

# A loader worker is one process a core already.
cv2.setNumThreads(0)

if int(A.__version__.split(".")[0]) != 2 or not hasattr(A, "ToFloat"):
    raise InputError(
        f"albumentations {A.__version__} is not the MIT release 2.0.8 that busi is built on (its successor "
        "AlbumentationsX has another license and the same import name): run `make install` again"
    )


class DepthGain(A.ImageOnlyTransform):
    """Makes some depths brighter and others darker, as the sliders of a scanner's time-gain compensation do.

    Args:
        strength: Largest gain, and largest damping, of a slider, as a share of the gray level; below 1.
        num_sliders: Over the whole depth; between two the gain changes evenly.
        p: Chance that an image is changed.
    """

    def __init__(self, strength: float = 0.3, num_sliders: int = 4, p: float = 0.5) -> None:
        super().__init__(p=p)
        self.strength, self.num_sliders = strength, num_sliders

    def apply(self, img: UInt8[np.ndarray, "h w"], **params: object) -> UInt8[np.ndarray, "h w"]:
        """Change an image."""
        del params
        sliders = self.random_generator.uniform(1 - self.strength, 1 + self.strength, self.num_sliders)
        gain = np.interp(np.linspace(0, 1, len(img)), np.linspace(0, 1, self.num_sliders), sliders)
        return np.asarray((img * gain[:, None]).clip(0, 255), np.uint8)


class Speckle(A.ImageOnlyTransform):
    """Multiplies an image with noise whose grains are as large as those of another transducer may be.

    Args:
        strength: Largest standard deviation of the logarithm of a grain's gray level.
        grain: Largest size of a grain, as a share of the side of the image.
        p: Chance that an image is changed.
    """

    def __init__(self, strength: float = 0.25, grain: float = 0.015, p: float = 0.5) -> None:
        super().__init__(p=p)
        self.strength, self.grain = strength, grain

    def apply(self, img: UInt8[np.ndarray, "h w"], **params: object) -> UInt8[np.ndarray, "h w"]:
        """Change an image."""
        del params
        rng, (height, width) = self.random_generator, img.shape
        size = max(1.0, rng.uniform(0, self.grain) * max(height, width))
        noise = rng.standard_normal((round(height / size), round(width / size)), np.float32)
        noise = cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)
        grains = np.exp(rng.uniform(0, self.strength) * noise)
        return np.asarray((img * grains).clip(0, 255), np.uint8)


class Calipers(A.ImageOnlyTransform):
    """Draws calipers anywhere: two crosses, and often a dotted line between them.

    In BUSI they are burned into many images with a lesion, and into none without: a shortcut.

    Args:
        max_pairs: Largest number of pairs of crosses.
        p: Chance that an image is changed.
    """

    def __init__(self, max_pairs: int = 2, p: float = 0.3) -> None:
        super().__init__(p=p)
        self.max_pairs = max_pairs

    def apply(self, img: UInt8[np.ndarray, "h w"], **params: object) -> UInt8[np.ndarray, "h w"]:
        """Change an image."""
        del params
        rng, drawn = self.random_generator, img.copy()
        half = max(1, round(rng.uniform(0.01, 0.02) * len(img)))
        gray = int(rng.integers(190, 256))
        for _ in range(int(rng.integers(1, self.max_pairs + 1))):
            ends = rng.uniform(0.1, 0.9, (2, 2)) * img.shape[::-1]
            dotted = rng.random() < 0.5
            for x, y in ends.round().astype(int).tolist():
                cv2.line(drawn, (x - half, y), (x + half, y), gray)
                cv2.line(drawn, (x, y - half), (x, y + half), gray)
            if dotted:
                steps = np.arange(0, 1, 2 * half / max(1.0, np.hypot(*(ends[1] - ends[0]))))
                dots = (ends[0] + steps[:, None] * (ends[1] - ends[0])).round().astype(int)
                drawn[dots[:, 1], dots[:, 0]] = gray
        return drawn


class Augmentation:
    """A sequence of named transforms, applied to image, annotation and guide alike.

    Args:
        transforms: Name -> albumentations transform, in order of application. The names are those
            of the config: ``augmentation.flip.p=0`` or ``~augmentation.flip`` on the command line.

    Raises:
        InputError: If a transform is of kornia.
    """

    def __init__(self, **transforms: A.BasicTransform | Mapping[str, object] | nn.Module) -> None:
        for name, one in transforms.items():
            if type(one).__module__.startswith("kornia."):
                raise InputError(
                    f"augmentation.{name}: {type(one).__name__} of kornia augments whole batches: take "
                    "it with augmentation=strong_gpu"
                )
        self.compose = A.Compose(list(transforms.values()), additional_targets={"guide": "mask"})

    def __call__(self, letterboxed: UInt8[np.ndarray, "3 s s"], seed: int) -> UInt8[np.ndarray, "3 s s"]:
        """Augment one sample: image, annotation {0, 1} and guide (8-bit) as three channels.

        The result depends on the sample and `seed` alone, not on the loader worker that runs it.
        """
        self.compose.set_random_seed(seed)
        image, mask, guide = np.array(letterboxed)
        done = self.compose(image=image, mask=mask, guide=guide)
        for name, before in (("image", image), ("mask", mask), ("guide", guide)):
            after = done[name]
            if after.shape != before.shape or after.dtype != np.uint8:
                raise InputError(
                    f"augmentation: it makes of the {name} {after.shape} {after.dtype}, and must leave it "
                    f"{before.shape} uint8: a transform gives back what it was given, changed"
                )
        return np.stack([done["image"], done["mask"], done["guide"]])
