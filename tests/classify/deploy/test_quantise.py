from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from fundus_synth.classify.deploy.quantise import to_half, to_int8

_SHAPES = {"first": (8, 3, 3, 3), "apart": (8, 1, 3, 3), "mixed": (16, 8, 1, 1), "last.weight": (2, 16)}


@pytest.fixture(scope="module")
def network() -> onnx.ModelProto:
    """Levels over 255, three convolutions (the second of one channel each), mean over places, a linear layer."""
    random = np.random.default_rng(0)
    weights = [
        numpy_helper.from_array(random.normal(size=shape).astype(np.float32), name) for name, shape in _SHAPES.items()
    ]
    weights += [numpy_helper.from_array(np.float32(255), "top"), numpy_helper.from_array(np.array([2, 3]), "places")]
    nodes = [
        helper.make_node("Transpose", ["image"], ["bytes"], name="turn", perm=[0, 3, 1, 2]),
        helper.make_node("Cast", ["bytes"], ["levels"], name="cast", to=TensorProto.FLOAT),
        helper.make_node("Div", ["levels", "top"], ["shares"], name="div"),
        helper.make_node("Conv", ["shares", "first"], ["a"], name="conv first"),
        helper.make_node("Conv", ["a", "apart"], ["b"], name="conv apart", group=8),
        helper.make_node("Conv", ["b", "mixed"], ["c"], name="conv mixed"),
        helper.make_node("ReduceMean", ["c", "places"], ["features"], name="mean", keepdims=0),
        helper.make_node("Gemm", ["features", "last.weight"], ["probabilities"], name="gemm", transB=1),
    ]
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("image", TensorProto.UINT8, ["n", "s", "s", 3])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["n", 2])], weights,
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def _run(model: onnx.ModelProto, image: np.ndarray) -> np.ndarray:
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"image": image})[0]


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (2, 16, 16, 3)).astype(np.uint8)


def test_only_the_layers_that_bear_it_are_in_8_bits(network, image, tmp_path):
    small = to_int8(network, [image], tmp_path)
    kinds = {tensor.name: tensor.data_type for tensor in small.graph.initializer}
    assert kinds["mixed_quantized"] == TensorProto.INT8
    assert all(kinds[name] == TensorProto.FLOAT for name in ("first", "apart", "last.weight"))
    scales = {tensor.name: tensor.dims for tensor in small.graph.initializer}
    assert list(scales["mixed_scale"]) == [16]  # one a channel
    quantized = next(numpy_helper.to_array(t) for t in small.graph.initializer if t.name == "mixed_quantized")
    assert np.abs(quantized.astype(int)).max() <= 64  # 7 bits
    told, before = _run(small, image), _run(network, image)
    assert 0 < np.abs(told - before).max() < 0.05 * np.abs(before).max()


def test_halves_are_widened_before_they_are_used(network, image):
    half = to_half(network)
    kinds = {tensor.name: tensor.data_type for tensor in half.graph.initializer}
    assert "first" in kinds and kinds["first"] == TensorProto.FLOAT  # 216 numbers: not worth it
    large = onnx.ModelProto()
    large.CopyFrom(network)
    weight = next(tensor for tensor in large.graph.initializer if tensor.name == "mixed")
    values = np.tile(numpy_helper.to_array(weight), (4, 1, 1, 1))
    weight.CopyFrom(numpy_helper.from_array(values, "mixed"))
    last = next(tensor for tensor in large.graph.initializer if tensor.name == "last.weight")
    last.CopyFrom(numpy_helper.from_array(np.ones((2, 64), np.float32), "last.weight"))
    half = to_half(large)
    kinds = {tensor.name: tensor.data_type for tensor in half.graph.initializer}
    assert kinds["mixed.half"] == TensorProto.FLOAT16 and "mixed" not in kinds
    expected = onnx.ModelProto()
    expected.CopyFrom(large)
    rounded = next(tensor for tensor in expected.graph.initializer if tensor.name == "mixed")
    rounded.CopyFrom(numpy_helper.from_array(values.astype(np.float16).astype(np.float32), "mixed"))
    assert np.array_equal(_run(half, image), _run(expected, image))


def test_what_half_precision_cannot_hold_stays(network):
    large = onnx.ModelProto()
    large.CopyFrom(network)
    large.graph.initializer.append(numpy_helper.from_array(np.full(1000, 1e6, np.float32), "huge"))
    assert "huge" in {tensor.name for tensor in to_half(large).graph.initializer}
