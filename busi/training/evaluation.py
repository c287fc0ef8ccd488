"""A finished run, frozen, on another data set."""

import logging
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from omegaconf import OmegaConf

from busi.core import InputError, expand, read_table, write_json, write_table, write_text, writing_to
from busi.data import BUSIDataModule, build_external_cohort, describe_cohort, read_busi, read_csv
from busi.guides import StoredGuide
from busi.inference import default_device
from busi.runs import (
    Checkpoint,
    Run,
    Variant,
    describe_missing,
    load_classifier,
    load_segmenter,
    open_run,
    postprocess_of,
    read_best,
    read_predictions,
    read_run_columns,
    read_seen,
    settings_fingerprint,
)
from busi.training.predicting import Row, predict_classes, predict_masks

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Evaluation:
    """What a frozen run predicted of another data set.

    Attributes:
        variant: The predictions, ready for a report.
        title: Which run, on which data.
        about: How the images were kept apart from those that the run has seen.
    """

    variant: Variant
    title: str
    about: str


def evaluate(folder: Path, source: str, output: Path, on_bad: str, cache_dir: Path) -> Evaluation:
    """Predict all images of a data set that a run has not seen, with the run's own calibration.

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
    data, missing = open_data(run, source, on_bad, expand(cache_dir))
    with writing_to(output):
        variant = predict_unseen(run, data, output)
    return Evaluation(variant, f"{run.folder} on {data.root}", about(run, data, missing))


def predict_unseen(run: Run, data: BUSIDataModule, output: Path) -> Variant:
    """Predict the images of a data module whose cohort leaves out what the run has seen.

    Writes ``predictions.csv`` (the run's own validation images, which calibrate it, and the test images),
    ``split.csv``, ``config.yaml`` and, for segmentation, ``maps/``.
    """
    checkpoint = read_best(run)
    cfg = checkpoint.config
    read_run_columns(run)  # before hours of work: can the run be reported at all?
    cfg.data.root, cfg.data.name = str(data.root), data.root.name
    cfg.data.read = {"_target_": f"busi.data.{data.read.__name__}"}
    write_text(output / "config.yaml", OmegaConf.to_yaml(cfg))
    write_table(output / "split.csv", data.cohort.rows())
    predict = predict_run_masks if cfg.stage == "seg" else predict_run_classes
    rows: list[Row] = [
        dict(row) for row in read_table(run.folder / "predictions.csv") if row["split"] == "val"
    ]
    write_table(output / "predictions.csv", [*rows, *predict(checkpoint, data, output)])
    provenance = {
        **run.provenance,
        "data": data.cohort.data_fingerprint,
        "split": data.cohort.split_fingerprint,
        "settings": settings_fingerprint(cfg),
        "files": {},
        "tested": True,
        "evaluated": str(run.folder),
    }
    evaluated = Run(output, provenance)
    return Variant(evaluated.variant, ((read_predictions(evaluated),),))


def open_data(run: Run, source: str, on_bad: str, cache_dir: Path) -> tuple[BUSIDataModule, str]:
    """Open the data that ``--data`` names, without the images that the run has seen.

    Returns:
        The data, and what cannot be known of it, as a sentence; empty if all is known.

    Raises:
        InputError: If it is missing or empty, has unusable files, or the run has seen all of it.
    """
    cfg = run.config
    root = os.environ.get("BUSI_ROOT", "") if source == "busi" else source
    if not root:
        raise InputError("--data busi needs the environment variable BUSI_ROOT: set it, or give the folder")
    checkpoint, path = read_best(run), expand(root)
    read = read_csv if path.is_file() else read_busi
    reading, seen = read(path), read_seen(checkpoint, cache_dir)
    cohort, number = build_external_cohort(
        reading,
        known=(seen.records, seen.contents),
        seen=seen.hashes,
        fold=cfg.data.fold,
        need_masks=cfg.stage == "seg" or cfg.guide.name == "ground_truth",
        on_bad=on_bad,
        cache_dir=cache_dir,
    )
    log.info("%s", describe_cohort(cohort))
    if missing := describe_missing(number, len(seen.hashes)):
        log.warning("%s: %s", run.folder, missing)
    data = BUSIDataModule(
        path,
        read=read,
        image_size=cfg.image_size,
        batch_size=cfg.data.batch_size,
        cache_dir=cache_dir,
        guide=StoredGuide(checkpoint, ["test"]) if cfg.stage == "cls" else None,
        cohort=cohort,
    )
    return data, missing


def predict_run_masks(checkpoint: Checkpoint, data: BUSIDataModule, output: Path) -> list[Row]:
    """Masks of a segmentation run."""
    segmenter = load_segmenter(checkpoint)
    assert segmenter is not None
    postprocess = postprocess_of(checkpoint.metadata)
    write_json(output / "postprocess.json", asdict(postprocess))
    cases = predict_masks(segmenter.to(default_device()), postprocess, data, ["test"], output)
    return [row for row, _, _ in cases]


def predict_run_classes(checkpoint: Checkpoint, data: BUSIDataModule, output: Path) -> list[Row]:
    """Classes of a classification run, guided as its validation images were."""
    del output
    data.setup()
    return predict_classes(load_classifier(checkpoint).to(default_device()), data, ["test"])


def about(run: Run, data: BUSIDataModule, missing: str) -> str:
    """How the images were kept apart from those that the run has seen."""
    seen = data.cohort.reasons.count("seen")
    return (
        f"The run {run.folder} as it was trained. Temperature, thresholds and conformal sets come from its "
        f"own validation fold. {seen} images were left out: the run was trained or validated on them, or on "
        f"near-duplicates or altered versions of them (e.g. flipped, inverted, turned). {missing}".rstrip()
    )
