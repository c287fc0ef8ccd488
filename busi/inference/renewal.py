"""A bundle written again with another ``model.json``: its graph stays as it is, byte by byte."""

import shutil
from dataclasses import replace
from pathlib import Path

from busi.core import InputError, construct, file_hash, whole_folder, writing_to
from busi.data import Cohort, compose_data
from busi.inference.model_card import write_texts
from busi.inference.model_info import AGAIN, GRAPH_FILE, ModelInfo, read_model_json, write_model_info


def copy_bundle(source: Path, output: Path, info: ModelInfo, replace: bool = False) -> None:
    """Write a bundle with the graph of another one, and with a model card of its own.

    The temperature of the model is inside the graph. If `info` has another one, ``model.json`` says both, and
    whoever opens the bundle brings the probabilities from one to the other.

    Args:
        source: The other bundle.
        output: A new folder; appears once the bundle is whole.
        info: What ``model.json`` says of the model.
        replace: Whether it takes the place of what is there, which may be `source` itself.

    Raises:
        InputError: If the graph is not the one that its ``model.json`` describes, or `output` cannot be
            written.
    """
    old, graph = read_model_json(source)
    about = {name: value for name, value in graph.items() if name not in ("file", "sha256", "temperature")}
    if (inside := graph.get("temperature", old.temperature)) != info.temperature:
        about["temperature"] = inside
    with writing_to(output), whole_folder(output, replace) as folder:
        shutil.copyfile(source / GRAPH_FILE, folder / GRAPH_FILE)
        if file_hash(folder / GRAPH_FILE) != graph["sha256"]:
            raise InputError(f"{source / GRAPH_FILE} is not the graph that its model.json describes: {AGAIN}")
        write_model_info(folder, info, about)
        write_texts(folder, info, about)


def renew_bundle(source: Path, output: Path) -> ModelInfo:
    """Write a bundle of an older busi again, so that it says which images it has seen.

    These are the training and validation images of its fold. Its data must be at hand; the fingerprints in
    ``model.json`` prove that it is the same, and split as it was then.

    Args:
        source: The bundle.
        output: A new folder.

    Raises:
        InputError: If the bundle says so already, or its data or its split is another or not at hand.
    """
    info, _ = read_model_json(source)
    if info.seen is not None:
        raise InputError(f"{source} is a bundle already, and says what it has seen: give a run to export")
    renewed = replace(info, seen=find_seen(info, source))
    copy_bundle(source, output, renewed)
    return renewed


def find_seen(info: ModelInfo, source: Path) -> tuple[str, ...]:
    """Find the images that trained or chose the model of a bundle, by fingerprints of data and split.

    Returns:
        Their pixel hashes.

    Raises:
        InputError: See `renew_bundle`.
    """
    config = compose_data(info.origin["data"]) | {"fold": info.origin["fold"], "augmentation": None}
    cohort: Cohort = construct(config, "data").cohort
    found = {"data": cohort.data_fingerprint, "split": cohort.split_fingerprint}
    if other := [name for name, value in found.items() if info.fingerprints[name] != value]:
        raise InputError(
            f"{config['root']} is not the data that {source} was made of (another fingerprint of its "
            f"{' and '.join(other)}): export its run again"
        )
    return tuple(sorted({cohort.contents[i].pixel_hash for i in cohort.indices("train", "val")}))
