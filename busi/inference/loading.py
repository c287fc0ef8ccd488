"""The networks of a run of either stage, rebuilt, with what is known of them."""

import contextlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float32, UInt8

from busi.core import CLASSES, InputError, file_hash
from busi.data import logit_shift
from busi.inference.graph import Network, check_probs
from busi.inference.maps import default_device
from busi.inference.model_info import ModelInfo
from busi.metrics import COVERAGE, calibrate
from busi.models import OneStage, Postprocess, TwoStage
from busi.runs import (
    Checkpoint,
    Run,
    describe_unknown,
    learned_classes,
    load_classifier,
    load_segmenter,
    name_earlier_data,
    open_run,
    postprocess_of,
    read_best,
    read_checkpoint,
    read_run_columns,
    read_trained,
    seen_hashes,
)


def load_networks(source: Path) -> tuple[TwoStage | OneStage, ModelInfo]:
    """Rebuild the networks of a run folder or a checkpoint file, in evaluation mode.

    A segmentation run gives masks alone. A classification run carries both stages; its own validation fold
    gives temperature, conformal quantiles and thresholds. A checkpoint that is not the best one of a run
    folder around it has none: it is not calibrated.

    Raises:
        InputError: If the source is missing, unfinished or damaged, or a classifier has no masks of its own
            or of a size that does not divide its own.
    """
    run = find_run(source)
    checkpoint = read_best(run) if run else read_checkpoint(source)
    cfg, metadata = checkpoint.config, checkpoint.metadata
    segmenter = load_segmenter(checkpoint)
    if segmenter is not None and metadata["stage"] == "seg":
        info = gather_model_info(run, checkpoint, postprocess_of(metadata))
        return OneStage(segmenter).eval(), info
    if segmenter is None:
        raise InputError(
            f"{source} was trained with guide={cfg.guide.name} and has no segmentation model inside: "
            "give a run with guide=predicted or guide=crossfit"
        )
    if cfg.image_size % segmenter.image_size:
        raise InputError(
            f"{source} sees {cfg.image_size} px, its segmentation model {segmenter.image_size} px: to "
            "predict or export, image_size of stage=cls must be that of stage=seg or a multiple of it"
        )
    info = gather_model_info(run, checkpoint, postprocess_of(metadata["upstream"]))
    return TwoStage(segmenter, load_classifier(checkpoint), info.temperature).eval(), info


def find_run(source: Path) -> Run | None:
    """The finished run that a folder, or its best checkpoint, belongs to; None for any other checkpoint.

    Raises:
        InputError: If there is nothing, or a folder that holds no finished run.
    """
    if source.is_dir():
        run = open_run(source)
        if not run.finished:
            raise InputError(f"{source} is not finished: {run.how_to_finish}")
        return run
    if not source.is_file():
        raise InputError(f"{source} does not exist: give a run folder, a .ckpt file, or an exported bundle")
    folder = source.resolve().parent.parent
    if source.name == "best.ckpt" and (folder / "provenance.json").is_file():
        run = open_run(folder)
        return run if run.finished else None
    return None


def gather_model_info(run: Run | None, checkpoint: Checkpoint, postprocess: Postprocess) -> ModelInfo:
    """What is known of a model beside its networks; a classifier is not calibrated without its run."""
    cfg, metadata = checkpoint.config, checkpoint.metadata
    has_classes = metadata["stage"] == "cls"
    name = run.folder.resolve().name if run else checkpoint.path.name
    info = ModelInfo(
        image_size=cfg.image_size,
        postprocess=postprocess,
        temperature=1.0,
        quantiles=None,
        level=COVERAGE,
        malignant_thresholds={},
        fingerprints={
            "data": metadata["data"],
            "split": metadata["split"],
            "checkpoint": file_hash(checkpoint.path),
        },
        metrics={},
        origin={
            "name": name,
            "data": cfg.data.name,
            "guide": cfg.guide.name if cfg.get("guide") else "none",
            "encoder": cfg.encoder,
            "fold": metadata["fold"],
        }
        | ({"sources": list(map(str, cfg.data.sources))} if cfg.data.sources else {})
        | ({"started_from": earlier} if (earlier := name_earlier_data(checkpoint)) else {})
        | ({"unknown": unknown} if (unknown := describe_unknown(checkpoint)) else {}),
        seen=tuple(sorted(seen_hashes(checkpoint))),
        classes=CLASSES if has_classes else (),
    )
    if run is None:
        return info
    origin = {key: run.provenance[key] for key in ("recipe", "settings", "finished")}
    origin |= {"seeds": run.provenance["seeds"]} if run.members else {}
    info = replace(info, metrics=read_metrics(run), origin=info.origin | origin)
    return add_calibration(info, run) if has_classes else info


def add_calibration(info: ModelInfo, run: Run) -> ModelInfo:
    """Add what the validation fold of the run decides.

    A model is not told where an image is from. So it is calibrated on what it answers then, under the prior
    of an unknown source, where ``predictions.csv`` has that of the source of each image.
    """
    columns = read_run_columns(run)
    val = columns["split"] == "val"
    if not val.any():
        raise InputError(f"{run.folder}/predictions.csv has no validation images: train this run again")
    labels = columns["label"][val]
    logits = np.stack([columns[f"logit_{name}"] for name in CLASSES], axis=1)[val]
    balance, trained = run.config.data.get("balance", "none"), read_trained(run)
    logits = logits - logit_shift(balance, *trained, columns["source"][val].tolist())
    calibration = calibrate(logits, labels, COVERAGE, learned_classes(run))
    tested = columns["source"][columns["split"] == "test"].tolist()
    if logit_shift(balance, *trained, tested).any():
        info = replace(info, origin=info.origin | {"told_source": balance})
    return replace(
        info,
        temperature=calibration.temperature,
        quantiles=calibration.quantiles,
        malignant_thresholds=calibration.thresholds,
    )


def read_metrics(run: Run) -> dict[str, list[float | None]]:
    """Test metrics of a run, and of the segmentation run inside if that is there, and of the same fold."""
    paths = [run.file("metrics.json")]
    if upstream := run.provenance["upstream"].get("segmentation"):
        with contextlib.suppress(InputError):
            other = find_run(Path(upstream))
            if other and all(other.provenance[name] == run.provenance[name] for name in ("split", "fold")):
                paths.append(other.file("metrics.json"))
    found: dict[str, list[float | None]] = {}
    for path in paths:
        values = read_values(path)
        for name in values:
            if name.startswith("test/") and f"{name}_low" in values:
                found[name] = [values[f"{name}{end}"] for end in ("", "_low", "_high")]
    return found


def read_values(path: Path) -> dict[str, float | None]:
    """Read ``metrics.json``.

    Raises:
        InputError: If it is missing or damaged.
    """
    try:
        content = json.loads(path.read_text())
        return {str(name): None if value is None else float(value) for name, value in content.items()}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise InputError(f"{path} is missing or damaged: train this run again") from error


def as_network(networks: TwoStage | OneStage, device: torch.device | None = None) -> Network:
    """Wrap the networks as a function of arrays, on a device: `default_device` without one."""
    device = device or default_device()
    networks = networks.to(device).to(memory_format=torch.channels_last)

    @torch.inference_mode()
    def run(
        letterboxed: UInt8[np.ndarray, "b s s"],
    ) -> tuple[Float32[np.ndarray, "b s s"], Float32[np.ndarray, "b c"]]:
        mask_probs, *rest = (one.cpu().numpy() for one in networks(torch.from_numpy(letterboxed).to(device)))
        class_probs = rest[0] if rest else np.empty((len(letterboxed), 0), np.float32)
        check_probs(mask_probs, class_probs, letterboxed.shape, len(rest) * len(CLASSES), "the model")
        return mask_probs, class_probs

    return run
