"""An audit of a whole data set: what `busi.reporting.survey` and `census` measure, collected."""

import logging
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from busi.core import CLASSES, InputError, Record
from busi.data import (
    Content,
    DataSet,
    Problem,
    find_groups,
    fingerprint_data,
    join_patients,
    list_problems,
    map_threads,
    read_contents,
)
from busi.reporting.census import check_published_folds, count_classes, count_patients, describe_spacing
from busi.reporting.survey import (
    ImageSummary,
    clusters,
    metadata_baseline,
    random_split_leak,
    repeated_masks,
    summarize_image,
)

log = logging.getLogger(__name__)

Findings = dict[str, Any]
"""What ``audit.json`` holds."""


@dataclass(frozen=True)
class Audit:
    """A data set as it was read and measured, position by position.

    Attributes:
        data: Its name, and where it is.
        records: Its images as files.
        contents: Their fingerprints and sizes.
        problems: Its unusable files.
        near_duplicates: Group of near-duplicates of each image.
        groups: The same, and images of one patient too.
        summaries: Of each image.
        repeated: See `busi.reporting.survey.repeated_masks`.
    """

    data: DataSet
    records: list[Record]
    contents: list[Content]
    problems: list[Problem]
    near_duplicates: Int[np.ndarray, " n"]
    groups: Int[np.ndarray, " n"]
    summaries: list[ImageSummary]
    repeated: list[tuple[int, int, float]]

    @cached_property
    def labels(self) -> Int[np.ndarray, " n"]:
        """Label of each image."""
        return np.array([record.label for record in self.records], np.int64)

    @cached_property
    def positions(self) -> dict[str, int]:
        """Position of each image by its id."""
        return {record.id: i for i, record in enumerate(self.records)}

    def find_conflicts(self) -> list[list[str]]:
        """Ids of near-duplicates with different labels, cluster by cluster."""
        return [
            [self.records[i].id for i in members]
            for members in clusters(self.near_duplicates)
            if len(set(self.labels[members])) > 1
        ]


def examine(data: DataSet, cache_dir: Path) -> Audit:
    """Read, group and summarize the images of a data set.

    Raises:
        InputError: If it cannot be read, or no image of it can be used.
    """
    records, contents, problems = read_contents(data.open(), cache_dir)
    if not records:
        raise InputError(f"no image of {data.root} can be used: {list_problems(problems)}")
    near_duplicates = find_groups(records, contents, cache_dir)
    groups = join_patients(near_duplicates, records)
    summaries = map_threads(summarize_image, records, "summarizing images")
    log.info("Comparing the annotations of near-duplicates")
    repeated = repeated_masks(records, near_duplicates)
    return Audit(data, records, contents, problems, near_duplicates, groups, summaries, repeated)


def collect_findings(audit: Audit) -> Findings:
    """What ``audit.json`` holds of a data set."""
    log.info("Measuring what a random split leaks")
    records, contents, labels = audit.records, audit.contents, audit.labels
    found = audit.near_duplicates
    shares = np.array([summary.lesion_share for summary in audit.summaries])
    burned_in = np.array([summary.burned_in for summary in audit.summaries])
    agreement = np.array([value for _, _, value in audit.repeated])
    annotated = np.array([bool(record.masks) for record in records])
    sizes = {(content.height, content.width) for content in contents}
    present = [label for label in range(len(CLASSES)) if (labels == label).any()]
    return {
        "name": audit.data.name,
        "root": audit.data.root.name,
        "data": fingerprint_data(records, contents),
        "images": {name: int((labels == label).sum()) for label, name in enumerate(CLASSES)},
        "distinct_sizes": len(sizes),
        "height": [min(h for h, _ in sizes), max(h for h, _ in sizes)],
        "width": [min(w for _, w in sizes), max(w for _, w in sizes)],
        "modes": dict(Counter(summary.mode for summary in audit.summaries)),
        "mask_modes": dict(Counter(mode for summary in audit.summaries for mode in summary.mask_modes)),
        "spacing": describe_spacing(records),
        "unusable": [{"id": p.id, "file": p.file, "problem": p.kind} for p in audit.problems],
        "several_masks": [record.id for record in records if len(record.masks) > 1],
        "not_annotated": [record.id for record in records if not record.annotated],
        "sources": count_classes(records, "source"),
        "scanners": count_classes(records, "scanner"),
        "birads": count_classes(records, "birads"),
        "groups": int(found.max()) + 1,
        "clusters": len(list(clusters(found))),
        "images_with_a_near_duplicate": int((np.bincount(found)[found] > 1).sum()),
        "conflicts": audit.find_conflicts(),
        "patients": count_patients(records, found),
        "groups_of_class": {
            name: len(np.unique(audit.groups[labels == label])) for label, name in enumerate(CLASSES)
        },
        "published_folds": check_published_folds(records, found),
        "lesion_share": {
            CLASSES[label]: [float(x) for x in np.quantile(shares[chosen], [0.25, 0.5, 0.75])]
            for label in present
            if label and (chosen := annotated & (labels == label)).any()
        },
        "burned_in": {CLASSES[label]: float(burned_in[labels == label].mean()) for label in present},
        "random_split_leak": random_split_leak(labels, found),
        "metadata_baseline": metadata_baseline(audit.summaries, labels, audit.groups),
        "majority": float(np.bincount(labels).max() / len(labels)),
        "repeated_masks": {
            "pairs": len(agreement),
            "mean_dice": float(agreement.mean()) if len(agreement) else None,
            "median_dice": float(np.median(agreement)) if len(agreement) else None,
            "below_half": int((agreement < 0.5).sum()),
        },
    }
