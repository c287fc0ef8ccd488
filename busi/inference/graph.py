"""Graphs opened with ONNX Runtime: what their files may hold, and what they may answer."""

import hashlib
import logging
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from busi.core import CLASSES, Float32, InputError, Shaped, UInt8
from busi.inference import products
from busi.inference.model_info import AGAIN, read_part

log = logging.getLogger(__name__)

Network = Callable[
    [UInt8[np.ndarray, "b s s"]], tuple[Float32[np.ndarray, "b s s"], Float32[np.ndarray, "b c"]]
]
"""Letterboxed gray images -> lesion probability of each pixel, probability of each class that it tells."""

MAX_BYTES = 2**30
"""Of a graph."""
DOMAINS = (b"", b"ai.onnx", b"com.microsoft")
"""Of operators: those of ONNX, and those that ONNX Runtime adds to quantized graphs."""
ENDLESS = (b"Loop",)
"""Operators that may never end."""
MESSAGES = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {},
}
"""Which fields of an ONNX message hold which messages. Source: onnx.proto."""
OPERATOR, DOMAIN, EXTERNAL_DATA, DATA_LOCATION = 4, 7, 13, 14
"""Fields of a node, and of a tensor."""
ROUNDING = 1e-3
"""What the sum of class probabilities may differ from 1."""


def open_graph(
    path: Path, image_size: int, *, sha256: str | None = None, own: bool = False, classes: bool = True
) -> Network:
    """Open an exported graph with ONNX Runtime, on the CPU.

    Of a batch each core takes an image at a time: cores that share one wait for each other, and larger pieces
    do not fit the caches. Fewer images than cores are run at once, by all cores.

    Args:
        path: Of the file, which may come from anywhere.
        image_size: Side of the letterboxed images, in pixels.
        sha256: Of the file; None to open any.
        own: Whether it is a part of busi, as trusted as its code. It is not searched for what a stranger's
            graph may hold: that takes as long as predicting an image.
        classes: Whether it tells classes, beside masks.

    Raises:
        InputError: If the file is missing, damaged, another one, or no graph of the kind that busi writes, or
            ONNX Runtime is missing. The network raises it for answers that are no probabilities.
    """
    try:
        import onnxruntime
    except ModuleNotFoundError:
        raise InputError("a bundle needs ONNX Runtime: pip install onnxruntime") from None
    content = read_part(path, MAX_BYTES)
    if sha256 not in (None, hashlib.sha256(content).hexdigest()):
        raise InputError(f"{path} is not the graph that its model.json describes: {AGAIN}")
    if not own:
        check_content(content, path)
    cores = os.cpu_count() or 1
    careful = b"QuantizeLinear" in content and products.overflow()
    if careful:
        words = "int8 may be slower than float32 on this processor: export with --precision f32"
        log.warning("%s: %s", path, words)

    @cache
    def open_session(num_threads: int) -> onnxruntime.InferenceSession:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4  # what it finds becomes the one line below
        options.intra_op_num_threads = num_threads
        # Threads that wait in a loop would take the CPU from the one that reads the next images.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # Products of unsigned weights are added in 32 bits.
        options.add_session_config_entry("session.x64quantprecision", str(int(careful)))
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])

    try:
        session = open_session(0)  # as many as there are cores
    except Exception as error:  # whatever it finds in a damaged file
        raise InputError(f"ONNX Runtime cannot open {path} ({_first_line(error)}): {AGAIN}") from error
    check_signature(session, path, image_size, classes)
    outputs = ["mask_probs", "class_probs"] if classes else ["mask_probs"]
    pool = ThreadPoolExecutor(cores)

    def run_all(letterboxed: UInt8[np.ndarray, "b s s"]) -> Iterator[list[Shaped[np.ndarray, "..."]]]:
        if len(letterboxed) < cores:
            return iter([session.run(outputs, {"images": letterboxed})])
        single = session if cores == 1 else open_session(1)
        ones = np.split(letterboxed, len(letterboxed))
        return pool.map(lambda one: single.run(outputs, {"images": one}), ones)

    def run(
        letterboxed: UInt8[np.ndarray, "b s s"],
    ) -> tuple[Float32[np.ndarray, "b s s"], Float32[np.ndarray, "b c"]]:
        try:
            parts = zip(*run_all(letterboxed), strict=True)
            mask_probs, *rest = (np.concatenate(part) for part in parts)
            class_probs = rest[0] if rest else np.empty((len(letterboxed), 0), np.float32)
        except Exception as error:
            raise InputError(f"ONNX Runtime cannot run {path} ({_first_line(error)}): {AGAIN}") from error
        check_probs(mask_probs, class_probs, letterboxed.shape, len(rest) * len(CLASSES), str(path))
        return mask_probs, class_probs

    return run


def check_content(content: bytes, path: Path) -> None:
    """Refuse a graph that reads other files, may never end, or needs operators of somebody else.

    Raises:
        InputError: If it is such a graph, or none.
    """
    from google.protobuf.message import DecodeError

    try:
        for kind, fields in walk(content, "model"):
            if kind == "tensor" and (EXTERNAL_DATA in fields or any(fields.get(DATA_LOCATION, ()))):
                raise InputError(f"{path} reads weights from other files: export its run again")
            if kind == "node":
                operators, domains = fields.get(OPERATOR, []), fields.get(DOMAIN, [])
                if others := [one for one in domains if one not in DOMAINS]:
                    raise InputError(f"{path} has operators of {others[-1]!r}: give a bundle of busi.export")
                if endless := [one for one in operators if one in ENDLESS]:
                    raise InputError(f"{path} has the operator {endless[-1]!r}: give a bundle of busi.export")
    except (DecodeError, TypeError, RecursionError) as error:
        raise InputError(f"{path} is no ONNX graph, or not a whole one: {AGAIN}") from error


def walk(content: bytes, kind: str) -> Iterator[tuple[str, dict[int, list[Any]]]]:
    """Messages of an ONNX file, outer ones first: the kind of each, and its fields by number."""
    from google.protobuf.empty_pb2 import Empty  # not needed for the model that comes with busi
    from google.protobuf.unknown_fields import UnknownFieldSet

    message, fields = Empty(), dict[int, list[Any]]()
    message.ParseFromString(content)  # as no message that is known: all fields stay as they are
    for field in UnknownFieldSet(message):
        fields.setdefault(field.field_number, []).append(field.data)
    yield kind, fields
    for number, inner in MESSAGES[kind].items():
        for part in fields.get(number, []):
            yield from walk(part, inner)


def check_signature(session: Any, path: Path, image_size: int, classes: bool) -> None:
    """Compare inputs and outputs of an open graph with those that busi writes.

    Raises:
        InputError: If names, types or sizes differ.
    """
    square = [image_size, image_size]
    expected = {
        "images": ("tensor(uint8)", square),
        "mask_probs": ("tensor(float)", square),
    }
    if classes:
        expected["class_probs"] = ("tensor(float)", [len(CLASSES)])
    found = {one.name: one for one in (*session.get_inputs(), *session.get_outputs())}
    for name, (type_name, sizes) in expected.items():
        one = found.pop(name, None)
        if one is None:
            raise InputError(f"{path} has no {name}: give a bundle of busi.export")
        batch, *others = one.shape or [1]
        # A size that is a name is not fixed: it is checked when the graph has run.
        fixed = {k: size for k, size in enumerate(others) if isinstance(size, int)}
        same = len(others) == len(sizes) and all(sizes[k] == size for k, size in fixed.items())
        if one.type != type_name or isinstance(batch, int) or not same:
            raise InputError(
                f"{path}: {name} is {one.type} {one.shape}, not {type_name} {['batch', *sizes]}: {AGAIN}"
            )
    if found:
        raise InputError(f"{path} also has {', '.join(map(repr, found))}: give a bundle of busi.export")


def check_probs(
    mask_probs: Shaped[np.ndarray, "..."],
    class_probs: Shaped[np.ndarray, "..."],
    shape: tuple[int, ...],
    num_classes: int,
    name: str,
) -> None:
    """Refuse what is no probability.

    Args:
        mask_probs: What a network says of each pixel.
        class_probs: What it says of each image.
        shape: Of the images that it was given, (b, s, s).
        num_classes: That it tells, which may be 0.
        name: Of the model.

    Raises:
        InputError: If shapes are wrong, a value is not from 0 to 1, or those of an image do not add up to 1.
    """
    again = f"it is damaged. Train the run again, or {AGAIN}"
    if mask_probs.shape != shape or class_probs.shape != (shape[0], num_classes):
        raise InputError(f"{name} answers {mask_probs.shape} and {class_probs.shape} of {shape}: {again}")
    for what, probs in (("lesion", mask_probs), ("class", class_probs)):
        if probs.size and not (probs.min() >= 0 and probs.max() <= 1 + 1e-6):  # so that NaN is refused, too
            found = f"from {probs.min():.3g} to {probs.max():.3g}"
            raise InputError(f"{name} gives {what} probabilities {found}: {again}")
    sums = class_probs.sum(axis=1)
    if num_classes and not np.abs(sums - 1).max() <= ROUNDING:
        raise InputError(f"{name} gives class probabilities that add up to {sums.max():.3g}: {again}")


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0][:200]
