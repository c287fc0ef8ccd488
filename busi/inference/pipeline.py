"""Both stages as one network, rebuilt from a classification run: what is predicted with and exported."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8
from torch import Tensor, nn

from busi.core import CLASSES, InputError, file_hash
from busi.inference.bundle import Facts, Network
from busi.inference.maps import default_device, resize_guide, round_guide, shrink
from busi.metrics import decide, operating_points
from busi.models import MaskRule
from busi.runs import (
    Checkpoint,
    Run,
    load_classifier,
    load_segmenter,
    mask_rule_of,
    open_run,
    read_checkpoint,
    read_columns,
)

LEVEL = 0.9
"""Share of each class that conformal sets are meant to contain."""


class Pipeline(nn.Module):
    """Letterboxed gray picture -> lesion probability of each pixel, probability of each class.

    Args:
        segmenter: Picture (b, 1, s, s) in [0, 1] -> logits.
        classifier: Picture and guide -> logits.
        temperature: By which the classifier's logits are divided.
        guide_size: Side of the square that the segmenter sees; the classifier's is a multiple of it.
    """

    def __init__(
        self, segmenter: nn.Module, classifier: nn.Module, temperature: float, guide_size: int
    ) -> None:
        super().__init__()
        self.segmenter, self.classifier = segmenter, classifier
        self.temperature, self.guide_size = temperature, guide_size

    def forward(self, squares: UInt8[Tensor, "b s s"]) -> tuple[Float[Tensor, "b s s"], Float[Tensor, "b 3"]]:
        """Probabilities of pixels and classes."""
        image = to_image(squares)
        mask_probs = self.segment(image)
        return mask_probs[:, 0], self.classify(image, round_guide(mask_probs))

    def segment(self, image: Float[Tensor, "b 1 s s"]) -> Float[Tensor, "b 1 s s"]:
        """Lesion probability of each pixel."""
        probs = self.segmenter(shrink(image, self.guide_size)).sigmoid()
        return resize_guide(probs[:, 0], image.shape[-1])[:, None]

    def guide(self, image: Float[Tensor, "b 1 s s"]) -> Float[Tensor, "b 1 s s"]:
        """What the classifier is given beside the picture."""
        return round_guide(self.segment(image))

    def classify(
        self, image: Float[Tensor, "b 1 s s"], guide: Float[Tensor, "b 1 s s"]
    ) -> Float[Tensor, "b 3"]:
        """Probability of each class, given any guide."""
        probs: Tensor = (self.classifier(image, guide) / self.temperature).softmax(dim=1)
        return probs


def to_image(squares: UInt8[Tensor, "b s s"]) -> Float[Tensor, "b 1 s s"]:
    """8-bit gray as a network sees it."""
    return squares[:, None].float() / 255


def load_pipeline(source: Path) -> tuple[Pipeline, Facts]:
    """Rebuild both networks from a run folder or a checkpoint file, in evaluation mode.

    The run's own validation fold gives temperature, conformal quantiles and thresholds. A checkpoint that is
    not the best one of a run folder around it has none: it is not calibrated.

    Raises:
        InputError: If the source is missing, unfinished, damaged, or has no two stages of one size.
    """
    run = find_run(source)
    checkpoint = read_checkpoint(run.best_checkpoint if run else source)
    cfg = checkpoint.config
    if checkpoint.card["stage"] != "cls":
        raise InputError(f"{source} is a segmentation run: give one of stage=cls, which carries both stages")
    if (inside := load_segmenter(checkpoint)) is None:
        raise InputError(
            f"{source} was trained with guide={cfg.guide} and has no segmentation model inside: "
            "give a run with guide=predicted or guide=crossfit"
        )
    segmenter, trained = inside
    if cfg.image_size % trained.image_size:
        raise InputError(
            f"{source} sees {cfg.image_size} px, its segmentation model {trained.image_size} px: to predict "
            "or export, image_size of stage=cls must be that of stage=seg or a multiple of it"
        )
    facts = gather_facts(run, checkpoint, mask_rule_of(checkpoint.card["parent"]))
    return Pipeline(
        segmenter, load_classifier(checkpoint), facts.temperature, trained.image_size
    ).eval(), facts


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


def gather_facts(run: Run | None, checkpoint: Checkpoint, mask_rule: MaskRule) -> Facts:
    """What is known of a classifier beside its networks; not calibrated without its run."""
    cfg, card = checkpoint.config, checkpoint.card
    name = run.folder.resolve().name if run else checkpoint.path.name
    facts = Facts(
        image_size=cfg.image_size,
        mask_rule=mask_rule,
        temperature=1.0,
        quantiles=None,
        level=LEVEL,
        malignant_thresholds={},
        fingerprints={
            "data": card["data"],
            "split": card["split"],
            "checkpoint": file_hash(checkpoint.path),
        },
        metrics={},
        origin={
            "name": name,
            "data": cfg.data.name,
            "guide": cfg.guide,
            "encoder": cfg.encoder,
            "fold": card["fold"],
        },
    )
    return facts if run is None else calibrate(facts, run)


def calibrate(facts: Facts, run: Run) -> Facts:
    """Add what the validation fold of the run decides, and what the run reached."""
    columns = read_columns(run.folder / "predictions.csv", "cls")
    val = columns["split"] == "val"
    if not val.any():
        raise InputError(f"{run.folder}/predictions.csv has no validation pictures: train this run again")
    labels = columns["label"][val]
    logits = np.stack([columns[f"logit_{name}"] for name in CLASSES], axis=1)[val]
    decisions = decide(logits, labels, LEVEL)
    probs = decisions.probs(logits)
    points = operating_points(labels, probs, labels, probs)
    return replace(
        facts,
        temperature=decisions.temperature,
        quantiles=decisions.quantiles,
        malignant_thresholds={
            name.removeprefix("threshold_at_"): x
            for name, x in points.items()
            if name.startswith("threshold_at_")
        },
        metrics=read_metrics(run),
        origin=facts.origin
        | {key: run.provenance[key] for key in ("recipe", "settings", "finished")}
        | ({"seeds": run.provenance["seeds"]} if run.members else {}),
    )


def read_metrics(run: Run) -> dict[str, list[float | None]]:
    """Test metrics of a run, and of the segmentation run that it was made from if that is still there."""
    found: dict[str, list[float | None]] = {}
    parent = run.provenance["parents"].get("seg_ckpt")
    folders = [run.folder, *([Path(parent).parent.parent] if parent else [])]
    for folder in folders:
        path = folder / "metrics.json"
        if not path.is_file():
            continue
        values: dict[str, float | None] = json.loads(path.read_text())
        for name, value in values.items():
            if name.startswith("test/") and f"{name}_low" in values:
                found[name] = [value, values[f"{name}_low"], values[f"{name}_high"]]
    return found


def open_pipeline(source: Path) -> tuple[Network, Facts]:
    """A pipeline as a function of arrays, on a GPU if there is one."""
    pipeline, facts = load_pipeline(source)
    return as_network(pipeline), facts


def as_network(pipeline: Pipeline) -> Network:
    """Wrap a pipeline as a function of arrays, on a GPU if there is one."""
    device = default_device()
    pipeline = pipeline.to(device).to(memory_format=torch.channels_last)

    @torch.inference_mode()
    def run(
        squares: UInt8[np.ndarray, "b s s"],
    ) -> tuple[Float32[np.ndarray, "b s s"], Float32[np.ndarray, "b 3"]]:
        mask_probs, class_probs = pipeline(torch.from_numpy(squares).to(device))
        return mask_probs.cpu().numpy(), class_probs.cpu().numpy()

    return run
