"""One look at a whole data set: what `busi.reporting.survey` measures, collected."""

import logging
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from busi.core import CLASSES, InputError, Record
from busi.data import Content, Problem, find_groups, fingerprint, map_threads, read_busi, read_contents
from busi.reporting.survey import (
    Portrait,
    clusters,
    metadata_baseline,
    portray,
    random_split_leak,
    repeated_masks,
)

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Audit:
    """Everything that was found out about a data set, position by position."""

    root: Path
    records: list[Record]
    contents: list[Content]
    problems: list[Problem]
    groups: Int[np.ndarray, " n"]
    portraits: list[Portrait]
    repeated: list[tuple[int, int, float]]
    facts: dict[str, Any]

    @property
    def labels(self) -> Int[np.ndarray, " n"]:
        """Label of each picture."""
        return np.array([record.label for record in self.records], np.int64)

    @property
    def conflicts(self) -> list[list[int]]:
        """Clusters whose members carry different labels."""
        return [members for members in clusters(self.groups) if len(set(self.labels[members])) > 1]


def examine(root: Path, cache_dir: Path) -> Audit:
    """Read, group and describe the pictures of a folder in the BUSI layout."""
    began = time.monotonic()
    records, contents, problems = read_contents(read_busi(root), cache_dir)
    if not records:
        raise InputError(f"no picture in {root} can be read: {len(problems)} files are damaged")
    groups = find_groups(records, contents, cache_dir)
    portraits = map_threads(portray, records, "looking at pictures")
    log.info("Comparing annotations that were drawn twice, and what a random split would leak")
    labels = np.array([record.label for record in records], np.int64)
    shares, marked = (
        np.array(x) for x in ([p.lesion_share for p in portraits], [p.marked for p in portraits])
    )
    repeated = repeated_masks(records, groups)
    agreement = np.array([value for _, _, value in repeated])
    sizes = {(content.height, content.width) for content in contents}
    present = [label for label in range(len(CLASSES)) if (labels == label).any()]
    leak = random_split_leak(labels, groups) if np.bincount(labels)[present].min() >= 2 else None
    shared = np.bincount(groups)[groups] > 1
    conflicts = [members for members in clusters(groups) if len(set(labels[members])) > 1]
    facts: dict[str, Any] = {
        "root": root.name,
        "data": fingerprint(
            [[r.id, r.label, c.pixel_hash, c.mask_hash] for r, c in zip(records, contents, strict=True)]
        ),
        "pictures": {CLASSES[label]: int((labels == label).sum()) for label in range(len(CLASSES))},
        "distinct_sizes": len(sizes),
        "height": [min(h for h, _ in sizes), max(h for h, _ in sizes)],
        "width": [min(w for _, w in sizes), max(w for _, w in sizes)],
        "modes": dict(Counter(portrait.mode for portrait in portraits)),
        "mask_modes": dict(Counter(mode for portrait in portraits for mode in portrait.mask_modes)),
        "unusable": [{"id": p.id, "file": p.file, "problem": p.kind} for p in problems],
        "several_masks": [record.id for record in records if len(record.masks) > 1],
        "groups": int(groups.max()) + 1,
        "clusters": len(list(clusters(groups))),
        "pictures_with_a_copy": int(shared.sum()),
        "conflicts": [[records[i].id for i in members] for members in conflicts],
        "lesion_share": {
            CLASSES[label]: [float(x) for x in np.quantile(shares[labels == label], [0.25, 0.5, 0.75])]
            for label in present
            if label
        },
        "marked": {CLASSES[label]: float(marked[labels == label].mean()) for label in present},
        "random_split_leak": None if leak is None else {"mean": leak[0], "sd": leak[1]},
        "metadata_baseline": metadata_baseline(portraits, labels, groups),
        "majority": float(np.bincount(labels).max() / len(labels)),
        "repeated_masks": {
            "pairs": len(repeated),
            "mean_dice": float(agreement.mean()) if repeated else None,
            "median_dice": float(np.median(agreement)) if repeated else None,
            "below_half": int((agreement < 0.5).sum()),
        },
    }
    facts["seconds"] = round(time.monotonic() - began, 1)
    return Audit(root, records, contents, problems, groups, portraits, repeated, facts)
