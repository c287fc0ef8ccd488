"""Bundles: a model as two files, its networks and what must be known of them. Nothing here needs PyTorch."""

import os
from pathlib import Path
from typing import NamedTuple

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
    info, sha256 = read_model_json(folder)
    return Model(open_graph(folder / GRAPH_FILE, info.image_size, sha256), info)
