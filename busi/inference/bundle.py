"""Bundles: a model as two files, its networks and what must be known of them. Nothing here needs PyTorch."""

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np

from busi.core import Float32, UInt8
from busi.inference.graph import Network, open_graph
from busi.inference.model_info import GRAPH_FILE, INFO_FILE, ModelInfo, read_model_json

PRETRAINED = Path(__file__).resolve().with_name("pretrained")
"""The bundle that comes with busi; its README.md says what it was made of and what it reaches."""


class Model(NamedTuple):
    """A model that is loaded."""

    network: Network
    info: ModelInfo


def is_bundle(source: Path) -> bool:
    """Whether a folder holds, or should hold, a bundle."""
    return any(os.path.lexists(source / name) for name in (INFO_FILE, GRAPH_FILE))


def load_bundle(folder: Path) -> Model:
    """Open a bundle, which may come from anywhere, for prediction with ONNX Runtime.

    Raises:
        InputError: If it is damaged, or ONNX Runtime is not installed.
    """
    info, graph = read_model_json(folder)
    network = open_graph(
        folder / GRAPH_FILE,
        info.image_size,
        sha256=graph["sha256"],
        own=folder == PRETRAINED,
        classes=info.has_classes,
    )
    power = graph.get("temperature", info.temperature) / info.temperature
    as_it_is = power == 1 and info.biases is None
    return Model(network if as_it_is else rescale(network, power, info.added_biases), info)


def rescale(network: Network, power: float, biases: tuple[float, ...]) -> Network:
    """Give class probabilities another calibration than the one that is inside a graph.

    Args:
        network: With its own.
        power: Of each probability: the temperature inside divided by the other one.
        biases: Of the other one.
    """
    factors = np.exp(np.array(biases))

    def run(
        letterboxed: UInt8[np.ndarray, "b s s"],
    ) -> tuple[Float32[np.ndarray, "b s s"], Float32[np.ndarray, "b c"]]:
        mask_probs, class_probs = network(letterboxed)
        raised = class_probs.astype(np.float64) ** power * factors
        return mask_probs, (raised / raised.sum(axis=1, keepdims=True)).astype(np.float32)

    return run
