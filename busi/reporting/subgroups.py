"""Which images belong to which subgroup."""

import numpy as np
from jaxtyping import Bool

from busi.figures import Cell
from busi.reporting.pooling import Columns, rows_by_source

Groups = dict[str, Bool[np.ndarray, " n"]]
"""Name -> which images belong."""


def split_by_size(columns: Columns) -> Groups:
    """Thirds of the lesions by the share of the image that they cover; empty without lesions."""
    share = columns["lesion_share"]
    lesion = share > 0
    if not lesion.any():
        return {}
    low, high = np.quantile(share[lesion], [1 / 3, 2 / 3])
    return {
        f"small lesions, up to {low:.1%}": lesion & (share <= low),
        "medium lesions": lesion & (share > low) & (share <= high),
        f"large lesions, above {high:.1%}": lesion & (share > high),
    }


def split_by_burned_in(columns: Columns) -> Groups:
    """Images that seem to have burned-in annotations (calipers, text), and those that do not."""
    burned_in = columns["burned_in"] == 1
    return {
        "images with burned-in annotations": burned_in,
        "images without burned-in annotations": ~burned_in,
    }


def count_header(columns: Columns) -> list[str]:
    """The column of a table of subgroups that says how many sources have one; none for one source."""
    return ["sources"] if len(rows_by_source(columns)) > 1 else []


def count_cells(columns: Columns, kept: Bool[np.ndarray, " n"]) -> list[Cell]:
    """How many sources have images of a subgroup, of `count_header`."""
    return [len(set(columns["source"][kept].tolist())) for _ in count_header(columns)]
