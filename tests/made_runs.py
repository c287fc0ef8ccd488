"""Finished runs whose predictions are simulated: real folders, without a training."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import hydra
import numpy as np
from omegaconf import DictConfig, OmegaConf
from scipy.special import softmax

from busi.core.files import write_json
from busi.core.tables import write_table
from busi.core.types import CLASSES, MALIGNANT, Record
from busi.data.assignment import name_source_splits
from busi.data.cohort import Cohort
from busi.data.contents import Content
from busi.data.splits import fingerprint
from busi.runs.predictions import Predictions
from busi.runs.run import Run, start_run

Compose = Callable[..., DictConfig]
NUM_FOLDS = 3
POOL = {"busi": (30, 60, 45), "busbra": (0, 90, 60)}
"""Source -> number of images of each class."""
SHARPER = {"busi": 2.0, "busbra": 0.5}
"""Source -> how much too certain the simulated logits are."""


def make_cohort(
    fold: int, pool: Mapping[str, tuple[int, ...]], train_only: tuple[str, ...], hold_out: str | None
) -> Cohort:
    """Two images in each group, and each class spread over the folds of its source."""
    records: list[Record] = []
    groups, folds = [], []
    for source, counts in pool.items():
        for label, count in enumerate(counts):
            for i in range(count):
                name = f"{source} {CLASSES[label]} ({i})"
                records.append(Record(name, Path("x.png"), (), label, source=source))
                groups.append(len(records) // 2 if i % 2 else (len(records) + 1) // 2)
                folds.append(i // 2 % NUM_FOLDS)
    sources = [record.source for record in records]
    shape = [[name] for name in (*train_only, hold_out or "")]
    split_fingerprint = fingerprint([[record.id] for record in records] + shape)
    in_run, splits = name_source_splits(np.array(folds), sources, fold, NUM_FOLDS, None, train_only, hold_out)
    contents = [Content(pixel_hash=f"{i:032x}") for i in range(len(records))]
    return Cohort(
        records, contents, np.array(groups), in_run, splits, [""] * len(records), [], split_fingerprint
    )


def simulate_rows(cohort: Cohort, stage: str, seed: int, worse: float = 0.0) -> list[dict[str, object]]:
    """The rows of ``predictions.csv``; the logits are those of the true chances, made too certain.

    Args:
        cohort: The images.
        stage: ``seg`` or ``cls``.
        seed: Of the training.
        worse: How much more noise the logits have, and how much of the Dice is missing.
    """
    truth = np.random.default_rng(0)  # the images are the same in every run
    rows: list[dict[str, object]] = []
    chance = np.random.default_rng([seed, 1])
    labels = cohort.labels()
    marks = truth.normal(0, 1.2, (len(labels), 3)) + 2 * (labels[:, None] == np.arange(3))
    share = truth.uniform(0.01, 0.3, len(labels)) * (labels > 0)
    burned_in = truth.integers(0, 2, len(labels))
    noise = chance.normal(0, 0.4 + worse, (len(labels), 3))
    for i in cohort.indices("val", "test").tolist():
        record = cohort.records[i]
        logits = SHARPER.get(record.source, 1.0) * (marks[i] + noise[i])
        row: dict[str, object] = {
            "id": record.id,
            "source": record.source,
            "label": CLASSES[record.label],
            "group": int(cohort.groups[i]),
            "fold": int(cohort.folds[i]),
            "split": cohort.splits[i],
            "lesion_share": float(share[i]),
            "burned_in": int(burned_in[i]),
        }
        if stage == "cls":
            row["pred"] = CLASSES[int(logits.argmax())]
            row |= {f"logit_{name}": float(x) for name, x in zip(CLASSES, logits, strict=True)}
            row |= {f"prob_{name}": float(x) for name, x in zip(CLASSES, softmax(logits), strict=True)}
        else:
            dice = float(np.clip(0.5 - 0.1 * worse + 0.1 * logits[MALIGNANT], 0, 1)) if record.label else 1.0
            area = int(10_000 * share[i])
            row |= {"dice": dice, "iou": dice / 2, "hd95": 30 * (1 - dice), "area": area}
            row["pred_area"] = area if record.label else int(burned_in[i])
        rows.append(row)
    return rows


def make_run(
    folder: Path,
    cfg: DictConfig,
    *,
    fold: int = 0,
    seed: int = 0,
    pool: Mapping[str, tuple[int, ...]] = POOL,
    train_only: tuple[str, ...] = (),
    hold_out: str | None = None,
    shortcut: Mapping[str, Any] | None = None,
    worse: float = 0.0,
) -> Run:
    """A finished run folder.

    Args:
        folder: The new run folder.
        cfg: Of either stage, as it is composed.
        fold: The test fold.
        seed: Of the training.
        pool: Source -> number of images of each class.
        train_only: Sources that only train.
        hold_out: The source that tests alone.
        shortcut: Content of ``shortcut.json``.
        worse: See `simulate_rows`.
    """
    cfg = cfg.copy()
    read = {"_target_": "busi.data.read_busi", "_partial_": True}
    if len(pool) > 1:
        cfg.data.name, cfg.data.root = "pooled", None
        cfg.data.sources = {name: {"root": f"nowhere/{name}", "read": read} for name in pool}
    else:
        cfg.data.name, cfg.data.root, cfg.data.read = next(iter(pool)), "nowhere", read
    OmegaConf.update(cfg, "data.train_only", list(train_only))
    cfg.data.hold_out, cfg.data.fold, cfg.data.num_folds = hold_out, fold, NUM_FOLDS
    cfg.seed, cfg.run_dir = seed, str(folder)
    cohort = make_cohort(fold, pool, train_only, hold_out)
    run = start_run(folder, cfg, cohort, {})
    write_table(folder / "predictions.csv", simulate_rows(cohort, cfg.stage, 100 * seed + fold, worse))
    if shortcut is not None:
        write_json(folder / "shortcut.json", json.loads(json.dumps(shortcut)))
    facts: dict[str, object] = {"epoch": 0, "monitor": "val/x", "monitored": 0.5, "tested": True}
    return run.finish({}, **facts, seconds=1.0, device="cpu")


def record_run(folder: Path, cfg: DictConfig) -> Run:
    """The folder of a config's run, with its real data and without a training: no checkpoints.

    Args:
        folder: The new run folder.
        cfg: As it is composed.
    """
    from busi.training.fitting import resolve  # what is imported before the tests has no shape checks

    cfg = resolve(cfg, folder)
    cohort = hydra.utils.instantiate(cfg.data).cohort
    run = start_run(folder, cfg, cohort, {})
    rows = [row for row in simulate_rows(cohort, cfg.stage, cfg.seed) if cfg.test or row["split"] == "val"]
    write_table(folder / "predictions.csv", rows)
    facts: dict[str, object] = {"epoch": 0, "monitor": cfg.monitor, "monitored": 0.5, "tested": cfg.test}
    return run.finish({}, **facts, seconds=1.0, device="cpu")


def shuffle_test_labels(folds: Sequence[Predictions]) -> list[Predictions]:
    """The same predictions with the labels of the test images in another order."""
    rng = np.random.default_rng(0)
    shuffled = []
    for one in folds:
        labels = one.columns["label"].copy()
        test = one.columns["split"] == "test"
        labels[test] = rng.permutation(labels[test])
        shuffled.append(replace(one, columns={**one.columns, "label": labels}))
    return shuffled
