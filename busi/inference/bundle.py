"""What a model that predicts must know of itself, and bundles: that, and the network, as two files.

Nothing here needs PyTorch.
"""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8

from busi.core import CLASSES, InputError, file_hash, write_json
from busi.models import MaskRule

FORMAT = 2
"""Of ``model.json``; a later one that older code cannot read has a higher number."""
GRAPH, FACTS = "model.onnx", "model.json"
PRETRAINED = Path(__file__).resolve().with_name("pretrained")
"""The bundle that comes with the package; its README.md says what it was made of and what it reaches."""

Network = Callable[
    [UInt8[np.ndarray, "b s s"]], tuple[Float32[np.ndarray, "b s s"], Float32[np.ndarray, "b 3"]]
]
"""Letterboxed gray pictures -> lesion probability of each pixel, probability of each class."""


@dataclass(frozen=True)
class Facts:
    """What is known of a model beside its network.

    Attributes:
        image_size: Side of the square that the network sees, in pixels.
        mask_rule: What makes a mask of lesion probabilities.
        temperature: By which the logits are divided; 1 where there was no validation fold to fit it on.
        quantiles: Of each class, the largest ``1 - probability`` with which it is in the conformal set; None
            if the model is not calibrated.
        level: Share of each class that the conformal sets are meant to contain.
        malignant_thresholds: Probabilities of malignant from which a picture is called so to reach a
            sensitivity or specificity on the validation fold, e.g. ``sensitivity_95``.
        fingerprints: Of data, split and checkpoint.
        metrics: Of the test fold: value, and both ends of the 95 % interval, None where undefined.
        origin: The run: its name, guide, settings, versions.
    """

    image_size: int
    mask_rule: MaskRule
    temperature: float
    quantiles: tuple[float, ...] | None
    level: float
    malignant_thresholds: dict[str, float | None]
    fingerprints: dict[str, str]
    metrics: dict[str, list[float | None]]
    origin: dict[str, Any]


def is_bundle(source: Path) -> bool:
    """Whether a folder holds, or should hold, a bundle."""
    return (source / FACTS).exists() or (source / GRAPH).exists()


def write_facts(folder: Path, facts: Facts, about_graph: dict[str, Any]) -> Path:
    """Write ``model.json`` beside the graph, which must be there."""
    content = {
        "format": FORMAT,
        "classes": list(CLASSES),
        **asdict(facts),
        "graph": {"file": GRAPH, "sha256": file_hash(folder / GRAPH), **about_graph},
    }
    return write_json(folder / FACTS, content)


def read_facts(folder: Path) -> Facts:
    """Read ``model.json``.

    Raises:
        InputError: If it is missing, damaged or of another format, or the graph is not the one it describes.
    """
    path = folder / FACTS
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        newer = int(content["format"]) > FORMAT
        fields: dict[str, Any] = {name: content.get(name) for name in Facts.__dataclass_fields__}
        if not newer and content["format"] == FORMAT:
            fields["mask_rule"] = MaskRule(**content["mask_rule"])
        described = content["graph"]["sha256"]
        sound = content["classes"] == list(CLASSES) and not any(
            fields[name] is None for name in fields if name != "quantiles"
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is missing or damaged: export the bundle again") from error
    if newer:
        raise InputError(f"{path} was written by a newer busi: update this one")
    if not sound:
        raise InputError(f"{path} lacks something or has other classes: export the bundle again")
    if not (folder / GRAPH).is_file() or file_hash(folder / GRAPH) != described:
        raise InputError(f"{folder / GRAPH} is missing or not the one of {FACTS}: export the bundle again")
    if fields["quantiles"] is not None:
        fields["quantiles"] = tuple(fields["quantiles"])
    return Facts(**fields)


def load_bundle(folder: Path) -> tuple[Network, Facts]:
    """Open a bundle for prediction with ONNX Runtime.

    Raises:
        InputError: If it is damaged, or ONNX Runtime is not installed.
    """
    facts = read_facts(folder)
    return open_graph(folder / GRAPH), facts


def open_graph(path: Path) -> Network:
    """Open an exported graph with ONNX Runtime, on the processor."""
    try:
        import onnxruntime
    except ModuleNotFoundError:
        raise InputError("a bundle needs ONNX Runtime: pip install onnxruntime") from None
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    # Threads that wait in a loop would take the processor from the one that reads the next pictures.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # whatever the parser finds in a damaged file
        raise InputError(f"{path} is no graph that ONNX Runtime can open: export the bundle again") from error

    def run(
        squares: UInt8[np.ndarray, "b s s"],
    ) -> tuple[Float32[np.ndarray, "b s s"], Float32[np.ndarray, "b 3"]]:
        mask_probs, class_probs = session.run(["mask_probs", "class_probs"], {"squares": squares})
        return mask_probs, class_probs

    return run
