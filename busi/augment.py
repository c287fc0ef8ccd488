"""Augmentation: named albumentations transforms, seeded sample by sample.

No option flips vertically: sound travels down, and the shadow or brightness below a lesion is a cue.
"""

from collections.abc import Mapping

import albumentations as A  # noqa: N812  the name that its users know
import cv2
import numpy as np
from jaxtyping import UInt8

from busi.types import InputError

# A loader worker is one process a core already.
cv2.setNumThreads(0)

if int(A.__version__.split(".")[0]) != 2 or not hasattr(A, "ToFloat"):
    raise InputError(
        f"albumentations {A.__version__} is not the MIT release 2.0.8 that busi is built on (its successor "
        "AlbumentationsX has another licence and the same import name): run `make install` again"
    )


class Augmentation:
    """A sequence of named transforms, applied to picture, annotation and guide alike.

    Args:
        transforms: Name -> albumentations transform, in order of application. The names are those
            of the config: ``augmentation.flip.p=0`` or ``~augmentation.flip`` on the command line.
    """

    def __init__(self, **transforms: A.BasicTransform | Mapping[str, object]) -> None:
        self.compose = A.Compose(list(transforms.values()), additional_targets={"guide": "mask"})

    def __call__(self, squares: UInt8[np.ndarray, "3 s s"], seed: int) -> UInt8[np.ndarray, "3 s s"]:
        """Augment one sample: picture, annotation {0, 1} and guide (8-bit) as three channels.

        The result depends on the sample and `seed` alone, not on the loader worker that runs it.
        """
        self.compose.set_random_seed(seed)
        image, mask, guide = np.array(squares)
        done = self.compose(image=image, mask=mask, guide=guide)
        return np.stack([done["image"], done["mask"], done["guide"]])
