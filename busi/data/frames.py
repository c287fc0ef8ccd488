"""One image of a file, and the spacing of its pixels."""

from typing import NamedTuple

import numpy as np

from busi.core import UInt8


class Spacing(NamedTuple):
    """Distance between neighboring pixels, in mm."""

    rows: float
    columns: float


class Frame(NamedTuple):
    """One image of a file.

    Attributes:
        gray: The image.
        spacing: None where the file does not say.
    """

    gray: UInt8[np.ndarray, "h w"]
    spacing: Spacing | None
