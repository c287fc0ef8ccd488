"""Bundles: a model as two files, its networks and what must be known of them. Nothing here needs PyTorch."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float32, UInt8

from busi.core import CLASSES, InputError, file_hash, write_json
from busi.models import Postprocess

FORMAT = 3
"""Of ``model.json``; a later one that older code cannot read has a higher number."""
GRAPH_FILE, INFO_FILE = "model.onnx", "model.json"
PRETRAINED = Path(__file__).resolve().with_name("pretrained")
"""The bundle that comes with busi; its README.md says what it was made of and what it reaches."""

Network = Callable[
    [UInt8[np.ndarray, "b s s"]], tuple[Float32[np.ndarray, "b s s"], Float32[np.ndarray, "b 3"]]
]
"""Letterboxed gray images -> lesion probability of each pixel, probability of each class."""


@dataclass(frozen=True)
class ModelInfo:
    """What is known of a model beside its networks.

    Attributes:
        image_size: Side of the letterboxed images, in pixels.
        postprocess: Turns lesion probabilities into a mask.
        temperature: Divides the logits; 1 where there was no validation fold to fit it on.
        quantiles: The largest ``1 - probability`` with which each class is in the conformal set; None if the
            model is not calibrated.
        level: Share of each class that the conformal sets are meant to contain.
        malignant_thresholds: Probability of malignant from which an image is predicted malignant, for each
            sensitivity or specificity that this reaches on the validation fold, e.g. ``sensitivity_95``.
        fingerprints: Of data, split and checkpoint.
        metrics: Of the test fold: value, and both ends of the 95 % interval, None where undefined.
        origin: The run: its name, data, guide, encoder, fold and settings.
    """

    image_size: int
    postprocess: Postprocess
    temperature: float
    quantiles: tuple[float, ...] | None
    level: float
    malignant_thresholds: dict[str, float | None]
    fingerprints: dict[str, str]
    metrics: dict[str, list[float | None]]
    origin: dict[str, Any]


class Model(NamedTuple):
    """A model that is loaded."""

    network: Network
    info: ModelInfo


def is_bundle(source: Path) -> bool:
    """Whether a folder holds, or should hold, a bundle."""
    return (source / INFO_FILE).exists() or (source / GRAPH_FILE).exists()


def write_model_info(folder: Path, info: ModelInfo, about_graph: dict[str, Any]) -> Path:
    """Write ``model.json`` beside the graph, which must be there.

    Args:
        folder: Of the bundle.
        info: Of the model.
        about_graph: Its precision, and how it was checked.
    """
    content = {
        "format": FORMAT,
        "classes": list(CLASSES),
        **asdict(info),
        "graph": {"file": GRAPH_FILE, "sha256": file_hash(folder / GRAPH_FILE), **about_graph},
    }
    return write_json(folder / INFO_FILE, content)


def read_model_info(folder: Path) -> ModelInfo:
    """Read ``model.json``.

    Raises:
        InputError: If it is missing, damaged or of another format, or the graph is not the one it describes.
    """
    path, graph = folder / INFO_FILE, folder / GRAPH_FILE
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if int(content["format"]) > FORMAT:
            raise InputError(f"{path} was written by a newer busi: update this one")
        fields: dict[str, Any] = {name: content.get(name) for name in ModelInfo.__dataclass_fields__}
        absent = [name for name, value in fields.items() if value is None and name != "quantiles"]
        if content["format"] != FORMAT or absent or content["classes"] != list(CLASSES):
            raise InputError(f"{path} lacks something or has other classes: export the bundle again")
        fields["postprocess"] = Postprocess(**fields["postprocess"])
        fields["quantiles"] = fields["quantiles"] and tuple(fields["quantiles"])
        described = content["graph"]["sha256"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is missing or damaged: export the bundle again") from error
    if not graph.is_file() or file_hash(graph) != described:
        raise InputError(f"{graph} is missing or not the one of {INFO_FILE}: export the bundle again")
    return ModelInfo(**fields)


def load_bundle(folder: Path) -> Model:
    """Open a bundle for prediction with ONNX Runtime.

    Raises:
        InputError: If it is damaged, or ONNX Runtime is not installed.
    """
    info = read_model_info(folder)
    return Model(open_graph(folder / GRAPH_FILE), info)


def open_graph(path: Path) -> Network:
    """Open an exported graph with ONNX Runtime, on the CPU.

    Raises:
        InputError: If it is damaged, or ONNX Runtime is not installed.
    """
    try:
        import onnxruntime
    except ModuleNotFoundError:
        raise InputError("a bundle needs ONNX Runtime: pip install onnxruntime") from None
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    # Threads that wait in a loop would take the CPU from the one that reads the next images.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # whatever the parser finds in a damaged file
        raise InputError(f"{path} is no graph that ONNX Runtime can open: export the bundle again") from error

    def run(
        letterboxed: UInt8[np.ndarray, "b s s"],
    ) -> tuple[Float32[np.ndarray, "b s s"], Float32[np.ndarray, "b 3"]]:
        mask_probs, class_probs = session.run(["mask_probs", "class_probs"], {"images": letterboxed})
        return mask_probs, class_probs

    return run
