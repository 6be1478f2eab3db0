"""Smaller model files: weights in half precision or 8 bits, or weights and activations in 8 bits.

All change the ONNX graph of `export`. Half precision and 8-bit weights are for storage only: the weights are widened when the
file is loaded, and all is computed in single precision, so that the answer does not depend on what a phone can do. Weights and
activations in 8 bits are Jacob et al. (CVPR 2018), one scale a channel for weights, with ranges of activations seen in
calibration images.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

_WORTH_HALVING = 256  # numbers in a tensor
_LARGEST_HALF = 65504.0
_QUANTISED = ("Conv", "Gemm", "MatMul")
_LAST_LAYER = "last."


def to_half(model: ModelProto) -> ModelProto:
    """The same graph with its larger weights stored in half precision."""
    from onnx import TensorProto, helper, numpy_helper

    halved = type(model)()
    halved.CopyFrom(model)
    graph, casts = halved.graph, []
    for tensor in graph.initializer:
        values = numpy_helper.to_array(tensor)
        if (
            tensor.data_type != TensorProto.FLOAT
            or values.size < _WORTH_HALVING
            or np.abs(values).max() > _LARGEST_HALF
        ):
            continue
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}.half"))
        casts.append(helper.make_node("Cast", [tensor.name], [name], name=f"widen {name}", to=TensorProto.FLOAT))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    return halved


def to_int8_weights(model: ModelProto) -> ModelProto:
    """The same graph with the weights of convolutions and linear layers stored in 8 bits, one scale an output channel, symmetric;
    but for the layers that cost most (see `_kept`)."""
    from onnx import helper, numpy_helper

    smaller = type(model)()
    smaller.CopyFrom(model)
    graph, kept = smaller.graph, set(_kept(model))
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    used = Counter(name for node in graph.node for name in node.input)
    widened = []
    for node in graph.node:
        tensor = tensors.get(node.input[1]) if node.op_type in _QUANTISED and node.name not in kept else None
        if tensor is None or used[tensor.name] > 1 or not numpy_helper.to_array(tensor).size >= _WORTH_HALVING:
            continue
        name, values = tensor.name, numpy_helper.to_array(tensor)
        axis = _output_axis(node, values.ndim)
        others = tuple(other for other in range(values.ndim) if other != axis)
        scale = np.maximum(np.abs(values).max(axis=others, keepdims=True) / 127, np.finfo(np.float32).tiny)
        whole = np.clip(np.rint(values / scale), -127, 127).astype(np.int8)
        tensor.CopyFrom(numpy_helper.from_array(whole, f"{name}.int8"))
        graph.initializer.append(numpy_helper.from_array(scale.ravel().astype(np.float32), f"{name}.scale"))
        widened.append(
            helper.make_node(
                "DequantizeLinear", [f"{name}.int8", f"{name}.scale"], [name], name=f"widen {name}", axis=axis
            )
        )
    nodes = [*widened, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    return smaller


def _output_axis(node: NodeProto, dimensions: int) -> int:
    """The axis of a node's weights that counts its output channels."""
    if node.op_type == "Conv":
        return 0
    turned = node.op_type == "Gemm" and any(part.name == "transB" and part.i for part in node.attribute)
    return 0 if turned else dimensions - 1


def to_int8(model: ModelProto, images: Iterable[np.ndarray], folder: Path) -> ModelProto:
    """The same graph with convolutions and linear layers in 8 bits, but for those that cost most (see `_kept`).

    Weights take 7 bits of the 8: processors without VNNI instructions add two products in 16 bits, and with 8 the sum
    overflows on some of them, so that the same file would give different answers on different machines.

    Args:
        images: for the ranges of activations: uint8 (n, side, side, 3) batches of training images.
        folder: for files in between.
    """
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Reader(CalibrationDataReader):
        def __init__(self):
            self.batches: Iterator[np.ndarray] = iter(images)

        def get_next(self) -> dict | None:
            batch = next(self.batches, None)
            return None if batch is None else {"image": batch}

    source, target = folder / "float.onnx", folder / "int8.onnx"
    onnx.save(model, source)
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)  # it recommends to fuse what `export` has fused
    try:
        quantize_static(
            str(source), str(target), Reader(), quant_format=QuantFormat.QDQ, per_channel=True, reduce_range=True,
            activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8, op_types_to_quantize=list(_QUANTISED),
            nodes_to_exclude=_kept(model),
        )  # fmt: skip
    finally:
        logging.disable(before)
    return onnx.load(str(target))


def _kept(model: ModelProto) -> list[str]:
    """Names of the nodes that stay as they are: what comes before the first convolution (shrinking the image), that convolution,
    those of one channel each, products without weights, and the last layer. They hold few weights, and cost most in 8 bits."""
    nodes = model.graph.node
    shapes = {tensor.name: tensor.dims for tensor in model.graph.initializer}
    first = next((node for node in nodes if node.op_type == "Conv"), None)
    before = _ancestors(model, first)
    return [
        node.name
        for node in nodes
        if node is first
        or node.name in before
        or (node.op_type in _QUANTISED and not shapes.keys() & set(node.input))
        or (node.op_type == "Conv" and shapes[node.input[1]][1] == 1)
        or any(name.startswith(_LAST_LAYER) for name in node.input)
    ]


def _ancestors(model: ModelProto, node: NodeProto | None) -> set[str]:
    """Names of the nodes whose results reach `node`."""
    makers = {name: maker for maker in model.graph.node for name in maker.output}
    found: set[str] = set()
    waiting = [] if node is None else list(node.input)
    while waiting:
        maker = makers.get(waiting.pop())
        if maker is not None and maker.name not in found:
            found.add(maker.name)
            waiting.extend(maker.input)
    return found
