"""An audit of a whole data set: what `busi.reporting.survey` measures, collected."""

import logging
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from busi.core import CLASSES, InputError, Record
from busi.data import Content, Problem, find_groups, fingerprint_data, map_threads, read_busi, read_contents
from busi.reporting.survey import (
    ImageSummary,
    clusters,
    metadata_baseline,
    random_split_leak,
    repeated_masks,
    summarize_image,
)

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Audit:
    """A data set as it was read and measured, position by position.

    Attributes:
        root: Its folder.
        records: Its images as files.
        contents: Their fingerprints and sizes.
        problems: Its unusable files.
        groups: Near-duplicate group of each image.
        summaries: Of each image.
        repeated: See `busi.reporting.survey.repeated_masks`.
    """

    root: Path
    records: list[Record]
    contents: list[Content]
    problems: list[Problem]
    groups: Int[np.ndarray, " n"]
    summaries: list[ImageSummary]
    repeated: list[tuple[int, int, float]]

    @cached_property
    def labels(self) -> Int[np.ndarray, " n"]:
        """Label of each image."""
        return np.array([record.label for record in self.records], np.int64)

    @cached_property
    def conflicts(self) -> list[list[int]]:
        """Clusters whose members have different labels."""
        return [members for members in clusters(self.groups) if len(set(self.labels[members])) > 1]


def examine(root: Path, cache_dir: Path) -> Audit:
    """Read, group and summarize the images of a folder in the BUSI layout.

    Raises:
        InputError: If the folder is missing, empty or of another layout, or no image is readable.
    """
    records, contents, problems = read_contents(read_busi(root), cache_dir)
    if not records:
        raise InputError(f"no image in {root} can be read: {len(problems)} files are damaged")
    groups = find_groups(records, contents, cache_dir)
    summaries = map_threads(summarize_image, records, "summarizing images")
    log.info("Comparing the annotations of near-duplicates")
    return Audit(root, records, contents, problems, groups, summaries, repeated_masks(records, groups))


def collect_findings(audit: Audit) -> dict[str, Any]:
    """What ``audit.json`` holds of a data set."""
    log.info("Measuring what a random split leaks")
    records, contents, labels, groups = audit.records, audit.contents, audit.labels, audit.groups
    shares = np.array([summary.lesion_share for summary in audit.summaries])
    burned_in = np.array([summary.burned_in for summary in audit.summaries])
    agreement = np.array([value for _, _, value in audit.repeated])
    sizes = {(content.height, content.width) for content in contents}
    present = [label for label in range(len(CLASSES)) if (labels == label).any()]
    leak = random_split_leak(labels, groups) if np.bincount(labels)[present].min() >= 2 else None
    return {
        "root": audit.root.name,
        "data": fingerprint_data(records, contents),
        "images": {CLASSES[label]: int((labels == label).sum()) for label in range(len(CLASSES))},
        "distinct_sizes": len(sizes),
        "height": [min(h for h, _ in sizes), max(h for h, _ in sizes)],
        "width": [min(w for _, w in sizes), max(w for _, w in sizes)],
        "modes": dict(Counter(summary.mode for summary in audit.summaries)),
        "mask_modes": dict(Counter(mode for summary in audit.summaries for mode in summary.mask_modes)),
        "unusable": [{"id": p.id, "file": p.file, "problem": p.kind} for p in audit.problems],
        "several_masks": [record.id for record in records if len(record.masks) > 1],
        "groups": int(groups.max()) + 1,
        "clusters": len(list(clusters(groups))),
        "images_with_a_near_duplicate": int((np.bincount(groups)[groups] > 1).sum()),
        "conflicts": [[records[i].id for i in members] for members in audit.conflicts],
        "lesion_share": {
            CLASSES[label]: [float(x) for x in np.quantile(shares[labels == label], [0.25, 0.5, 0.75])]
            for label in present
            if label
        },
        "burned_in": {CLASSES[label]: float(burned_in[labels == label].mean()) for label in present},
        "random_split_leak": None if leak is None else {"mean": leak[0], "sd": leak[1]},
        "metadata_baseline": metadata_baseline(audit.summaries, labels, groups),
        "majority": float(np.bincount(labels).max() / len(labels)),
        "repeated_masks": {
            "pairs": len(agreement),
            "mean_dice": float(agreement.mean()) if len(agreement) else None,
            "median_dice": float(np.median(agreement)) if len(agreement) else None,
            "below_half": int((agreement < 0.5).sum()),
        },
    }
