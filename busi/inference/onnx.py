"""The networks of a model as one ONNX graph: written, cleaned, and stored in a lower precision."""

import logging
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8

from busi.core import InputError, Record
from busi.data import letterbox, read_gray
from busi.models import OneStage, TwoStage

for package in ("onnxscript", "onnx_ir", "torch.onnx"):
    logging.getLogger(package).setLevel(logging.WARNING)

EXACT = ("Gemm", "Div", "Softmax", "Sigmoid")
"""Operations that stay in float32: the last layer of the classifier, and those that make probabilities."""
NUM_CALIBRATING = 128
"""Images that give an 8-bit graph the ranges of its activations."""
BATCH_SIZE = 8


def write_graph(networks: TwoStage | OneStage, image_size: int, path: Path) -> None:
    """Write a model as an ONNX graph that takes any number of images.

    Args:
        networks: In evaluation mode.
        image_size: Side of the letterboxed images, in pixels.
        path: The file.

    Raises:
        InputError: If a package is missing, or PyTorch cannot write this model.
    """
    # A batch of one would be taken for a constant.
    example = torch.zeros(2, image_size, image_size, dtype=torch.uint8)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the exporter about itself
            program = torch.onnx.export(
                networks,
                (example,),
                dynamo=True,
                input_names=["images"],
                output_names=["mask_probs", *(["class_probs"] if isinstance(networks, TwoStage) else [])],
                dynamic_shapes=({0: torch.export.Dim("batch")},),
                custom_translation_table={torch.ops.aten.sum.dim_IntList: _sum_by_axis},
                verbose=False,
            )
    except ModuleNotFoundError as error:
        raise InputError(f"export needs the package {error.name}: pip install '.[export]'") from error
    if program is None:
        raise InputError("PyTorch made no graph of this model")
    program.save(path, external_data=False)
    forget_origin(path)


def _sum_by_axis(x: Any, dim: Sequence[int], keepdim: bool = False, dtype: int | None = None) -> Any:
    """Nodes of a sum over one axis after another.

    Over several axes at once, ONNX Runtime adds up all pixels of an image in one float, which loses the small
    ones: the sum of a rounded guide was off by 0.03 %.
    """
    from onnxscript import opset18

    del dtype  # that of x
    for axis in sorted((axis % len(x.shape) for axis in dim), reverse=True):
        axes: Any = opset18.Constant(value_ints=[axis])
        x = opset18.ReduceSum(x, axes, keepdims=int(keepdim))
    return x


def forget_origin(path: Path) -> None:
    """Remove the notes of the exporter on each node: lines of code, and folders of this machine."""
    import onnx

    model = onnx.load(path)
    for part in (model, model.graph, *model.graph.node, *model.graph.value_info, *model.graph.initializer):
        del part.metadata_props[:]
        part.ClearField("doc_string")
    onnx.save(model, path)


def write_f16(path: Path) -> None:
    """Store the weights of a graph as 16-bit floats, in place; they are cast when it is opened."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    model = onnx.load(path)
    casts = []
    for tensor in model.graph.initializer:
        weights = numpy_helper.to_array(tensor)
        if weights.dtype == np.float32 and weights.ndim > 1:
            name = tensor.name
            tensor.CopyFrom(numpy_helper.from_array(weights.astype(np.float16), f"{name}_f16"))
            casts.append(helper.make_node("Cast", [tensor.name], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    onnx.checker.check_model(model)
    onnx.save(model, path)


def write_int8(path: Path, records: Sequence[Record], image_size: int) -> None:
    """Quantize a graph to 8-bit integers, in place.

    Args:
        path: The graph.
        records: Training images, which give each activation its range.
        image_size: Side of the letterboxed images, in pixels.
    """
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    chosen = np.random.default_rng(0).permutation(len(records))[:NUM_CALIBRATING]
    batches = letterbox_batches([records[i] for i in chosen], image_size)

    class Reader(CalibrationDataReader):
        def get_next(self) -> dict[str, UInt8[np.ndarray, "b s s"]] | None:
            letterboxed = next(batches, None)
            return None if letterboxed is None else {"images": letterboxed}

    prepared = path.with_suffix(".prepared.onnx")
    logging.disable(logging.WARNING)  # a line for every channel whose scale it adapts
    try:
        quant_pre_process(path, prepared, skip_symbolic_shape=True)
        exact = name_exact(onnx.load(prepared).graph.node)
        quantize_static(
            prepared,
            path,
            Reader(),
            nodes_to_exclude=exact,
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
    finally:
        logging.disable(logging.NOTSET)
    prepared.unlink()


def name_exact(nodes: Sequence[Any]) -> list[str]:
    """Names of the nodes that stay in float32: `EXACT`, and all from which no convolution gets anything.

    Probabilities in steps of 1/256 would be none, and what is measured on masks is cheap.

    Args:
        nodes: Of a graph, each after those that it needs.
    """
    exact, needed = [], set[str]()
    for node in reversed(nodes):
        if node.op_type == "Conv" or needed & set(node.output):
            needed.update(node.input)
        elif node.op_type not in EXACT:
            exact.append(node.name)
    return exact + [node.name for node in nodes if node.op_type in EXACT]


def letterbox_batches(records: Sequence[Record], image_size: int) -> Iterator[UInt8[np.ndarray, "b s s"]]:
    """Letterbox images, a batch at a time."""
    for start in range(0, len(records), BATCH_SIZE):
        batch = records[start : start + BATCH_SIZE]
        yield np.stack([letterbox(read_gray(record.image), image_size) for record in batch])
