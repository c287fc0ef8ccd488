"""Which pictures belong to which subgroup."""

import numpy as np
from jaxtyping import Bool

from busi.reporting.pooling import Table

Groups = dict[str, Bool[np.ndarray, " n"]]
"""Name -> which pictures belong."""


def split_by_size(table: Table) -> Groups:
    """Thirds of the lesions by the share of the picture that they cover; empty without lesions."""
    share = table["lesion_share"]
    lesion = share > 0
    if not lesion.any():
        return {}
    low, high = np.quantile(share[lesion], [1 / 3, 2 / 3])
    return {
        f"small lesions, up to {low:.1%}": lesion & (share <= low),
        "medium lesions": lesion & (share > low) & (share <= high),
        f"large lesions, above {high:.1%}": lesion & (share > high),
    }


def split_by_marks(table: Table) -> Groups:
    """Pictures that seem to carry callipers or text, and those that do not."""
    marked = table["marked"] == 1
    return {"marked pictures": marked, "unmarked pictures": ~marked}
