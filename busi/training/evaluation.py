"""A finished run, frozen, on another data set."""

import logging
import os
from dataclasses import asdict, dataclass
from pathlib import Path

import hydra
from omegaconf import OmegaConf

from busi.core import InputError, conf_dir, read_table, write_json, write_table, write_whole, writing_to
from busi.data import BUSIDataModule, Reading, build_external_cohort, describe_cohort
from busi.guides import guide_judged
from busi.inference import default_device
from busi.runs import (
    Arm,
    Checkpoint,
    Run,
    find_records,
    load_classifier,
    load_network,
    mask_rule_of,
    open_run,
    read_checkpoint,
    read_columns,
    read_predictions,
)
from busi.training.scoring import Row, predict_classes, predict_masks

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Evaluation:
    """What a frozen run predicted of another data set.

    Attributes:
        arm: The predictions, as a report takes them.
        title: Which run, on which data.
        about: How the pictures were kept apart from what the run has seen.
    """

    arm: Arm
    title: str
    about: str


def evaluate(folder: Path, source: str, output: Path, on_bad: str, cache_dir: Path) -> Evaluation:
    """Predict all pictures of a data set that a run has not seen, with the run's own decisions.

    Args:
        folder: The run folder.
        source: A folder in the layout of BUSI, a CSV manifest, or ``busi`` for ``$BUSI_ROOT``.
        output: See `predict_unseen`.
        on_bad: ``error``, or ``skip`` to go on without unusable files.
        cache_dir: Where decoded data is kept.

    Raises:
        InputError: If the run is not finished, the data is missing, empty or has been seen altogether, or
            `output` holds a run or cannot be written.
    """
    run = open_run(folder)
    if not run.finished:
        raise InputError(f"{run.folder} is not finished: {run.how_to_finish}")
    if (output / "provenance.json").exists():
        raise InputError(f"{output} holds a run: give another --output")
    data = open_data(run, source, on_bad, cache_dir.expanduser())
    with writing_to(output):
        arm = predict_unseen(run, data, output)
    return Evaluation(arm, f"{run.folder} on {data.root}", about(run, data))


def predict_unseen(run: Run, data: BUSIDataModule, output: Path) -> Arm:
    """Predict the pictures of a data module whose cohort leaves out what the run has seen.

    Writes ``predictions.csv`` (the run's validation pictures, which decide, and the test pictures),
    ``split.csv``, ``config.yaml`` and, for segmentation, ``maps/``.
    """
    checkpoint = read_checkpoint(run.best_checkpoint)
    cfg = checkpoint.config
    predictions = run.folder / "predictions.csv"
    read_columns(predictions, cfg.stage)  # before hours of work: can the run be reported at all?
    reader = data.read.func  # type: ignore[attr-defined]
    cfg.data.root, cfg.data.name = str(data.root), data.root.name
    cfg.data.read = {"_target_": f"{reader.__module__}.{reader.__qualname__}"}
    write_whole(output / "config.yaml", lambda part: part.write_text(OmegaConf.to_yaml(cfg)))
    write_table(output / "split.csv", data.cohort.rows())
    predict = predict_run_masks if cfg.stage == "seg" else predict_run_classes
    rows: list[Row] = [dict(row) for row in read_table(predictions) if row["split"] == "val"]
    write_table(output / "predictions.csv", [*rows, *predict(checkpoint, data, output)])
    facts = {"data": data.cohort.data_fingerprint, "split": data.cohort.split_fingerprint, "tested": True}
    tried = Run(output, {**run.provenance, **facts, "evaluated": str(run.folder)})
    return Arm(tried.arm, ((read_predictions(tried),),))


def open_data(run: Run, source: str, on_bad: str, cache_dir: Path) -> BUSIDataModule:
    """Open what the argument ``--data`` names, without what the run has seen.

    Raises:
        InputError: If it is missing or empty, has unusable files, or the run has seen all of it.
    """
    cfg = run.config
    root = os.environ.get("BUSI_ROOT", "") if source == "busi" else source
    if not root:
        raise InputError("--data busi needs the environment variable BUSI_ROOT: set it, or give the folder")
    with hydra.initialize_config_dir(config_dir=str(conf_dir()), version_base="1.3"):
        overrides = [f"data={'csv' if Path(root).is_file() else 'busi'}", "augmentation=none"]
        packaged = hydra.compose("train", overrides=overrides)
    packaged.data.root, packaged.cache_dir = root, str(cache_dir)
    packaged.image_size, packaged.data.batch_size = cfg.image_size, cfg.data.batch_size
    data: BUSIDataModule = hydra.utils.instantiate(packaged.data)
    data.cohort = build_external_cohort(
        data.read(data.root),
        known=known_reading(run),
        seen=seen_hashes(read_checkpoint(run.best_checkpoint)),
        fold=cfg.data.fold,
        need_masks=cfg.stage == "seg" or cfg.guide == "annotated",
        on_bad=on_bad,
        cache_dir=cache_dir,
    )
    log.info("%s", describe_cohort(data.cohort))
    return data


def known_reading(run: Run) -> Reading:
    """The data that a run was trained on; nothing, with a warning, if it is no longer there."""
    try:
        return list(find_records(run).values()), []
    except InputError as error:
        log.warning(
            "The data of %s is not there (%s): of what it has seen, only identical pictures are recognised",
            run.folder,
            error,
        )
        return [], []


def seen_hashes(checkpoint: Checkpoint) -> set[str]:
    """Pixel hashes of the pictures that trained or chose a run, or the segmentation model inside it."""
    cards = [card for card in (checkpoint.card, checkpoint.card["parent"]) if card]
    return {name for card in cards for split in ("train", "val") for name in card[split]}


def predict_run_masks(checkpoint: Checkpoint, data: BUSIDataModule, output: Path) -> list[Row]:
    """Masks of a segmentation run."""
    network = load_network(checkpoint).to(default_device())
    rule = mask_rule_of(checkpoint.card)
    write_json(output / "mask_rule.json", asdict(rule))
    return [row for row, _, _ in predict_masks(network, rule, data, ["test"], output)]


def predict_run_classes(checkpoint: Checkpoint, data: BUSIDataModule, output: Path) -> list[Row]:
    """Classes of a classification run, guided as its validation pictures were."""
    del output
    guide_judged(data, checkpoint, ["test"])
    return predict_classes(load_classifier(checkpoint).to(default_device()), data, ["test"])


def about(run: Run, data: BUSIDataModule) -> str:
    """How the pictures were kept apart from what the run has seen."""
    seen = data.cohort.reasons.count("seen")
    return (
        f"The run {run.folder} as it was trained; its temperature, thresholds and conformal sets come from "
        f"its own validation fold. {seen} pictures that had trained or chosen it, or are near-duplicates of "
        "such, were left out."
    )
