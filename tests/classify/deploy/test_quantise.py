from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from fundus_synth.classify.deploy.quantise import to_half, to_int8, to_int8_weights

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


def _with(network: onnx.ModelProto, **weights: np.ndarray) -> onnx.ModelProto:
    """The same network with other weights."""
    other = onnx.ModelProto()
    other.CopyFrom(network)
    for tensor in other.graph.initializer:
        if (values := weights.get(tensor.name.replace(".", "_"))) is not None:
            tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float32), tensor.name))
    return other


@pytest.fixture(scope="module")
def large(network) -> onnx.ModelProto:
    """With 512 weights in the third convolution, channel k of them k times as large."""
    values = np.random.default_rng(2).normal(size=(64, 8, 1, 1)) * np.arange(1, 65)[:, None, None, None]
    return _with(network, mixed=values, last_weight=np.ones((2, 64)))


def _weights(model: onnx.ModelProto, name: str) -> np.ndarray:
    return next(numpy_helper.to_array(tensor) for tensor in model.graph.initializer if tensor.name == name)


def test_halves_are_widened_before_they_are_used(network, large, image):
    half = to_half(network)
    kinds = {tensor.name: tensor.data_type for tensor in half.graph.initializer}
    assert "first" in kinds and kinds["first"] == TensorProto.FLOAT  # 216 numbers: not worth it
    half = to_half(large)
    kinds = {tensor.name: tensor.data_type for tensor in half.graph.initializer}
    assert kinds["mixed.half"] == TensorProto.FLOAT16 and "mixed" not in kinds
    expected = _with(large, mixed=_weights(large, "mixed").astype(np.float16))
    assert np.array_equal(_run(half, image), _run(expected, image))


def test_weights_in_8_bits_have_a_scale_a_channel_and_are_widened_before_they_are_used(large, image):
    small = to_int8_weights(large)
    onnx.checker.check_model(small, full_check=True)
    whole, scale, before = _weights(small, "mixed.int8"), _weights(small, "mixed.scale"), _weights(large, "mixed")
    assert whole.dtype == np.int8 and scale.shape == (64,)
    np.testing.assert_allclose(scale, np.abs(before).max(axis=(1, 2, 3)) / 127, rtol=1e-6)
    widened = whole * scale[:, None, None, None]
    assert np.all(np.abs(widened - before) <= 0.5001 * scale[:, None, None, None])
    assert {"first", "apart", "last.weight"} <= {tensor.name for tensor in small.graph.initializer}
    np.testing.assert_allclose(_run(small, image), _run(_with(large, mixed=widened), image), rtol=1e-5)


@pytest.mark.parametrize(
    ("node", "shape", "axis"),
    [("Gemm", (40, 20), 1), ("Gemm turned", (20, 40), 0), ("MatMul", (40, 20), 1)],
)
def test_weights_in_8_bits_of_linear_layers(node, shape, axis):
    larger = 1 + np.arange(20)[:, None] if axis == 0 else 1 + np.arange(20)
    values = (np.random.default_rng(3).normal(size=shape) * larger).astype(np.float32)
    how = {"transB": 1} if node.endswith("turned") else {}
    layer = helper.make_node(node.split()[0], ["x", "w"], ["y"], name="layer", **how)
    graph = helper.make_graph(
        [layer], "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 40])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 20])], [numpy_helper.from_array(values, "w")],
    )  # fmt: skip
    small = to_int8_weights(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9))
    scale = _weights(small, "w.scale")
    np.testing.assert_allclose(scale, np.abs(values).max(axis=1 - axis) / 127, rtol=1e-6)
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(small.SerializeToString(), providers=["CPUExecutionProvider"])
    identity = session.run(None, {"x": np.eye(40, dtype=np.float32)})[0]
    expected = values.T if axis == 0 else values
    assert np.all(np.abs(identity - expected) <= 0.5001 * scale)


def test_what_half_precision_cannot_hold_stays(network):
    large = onnx.ModelProto()
    large.CopyFrom(network)
    large.graph.initializer.append(numpy_helper.from_array(np.full(1000, 1e6, np.float32), "huge"))
    assert "huge" in {tensor.name for tensor in to_half(large).graph.initializer}
