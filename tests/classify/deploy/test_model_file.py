from __future__ import annotations

import json
import struct

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from fundus_synth.classify.deploy import model_file
from fundus_synth.classify.deploy.answer import Rules
from fundus_synth.classify.deploy.conformal import ClassSets
from fundus_synth.classify.deploy.familiarity import Familiarity
from fundus_synth.classify.deploy.model_file import KEY, KIND, open_model
from fundus_synth.classify.deploy.onnx_contents import read_metadata
from fundus_synth.runtime.errors import UserError


def _facts(**changed) -> dict:
    sets = ClassSets((0.1, 0.1), (0.9, 0.9), (50, 50))
    facts = {
        "kind": KIND, "format": 1, "classes": ["normal", "anemic"], "target": "label", "head": "linear", "backbone": "x",
        "illumination": "none", "licence": "-", "precision": "fp32", "size": 8, "standard_size": 512,
        "rules": Rules(("normal", "anemic"), sets=sets).to_dict(),
    }  # fmt: skip
    return facts | changed


def _model(facts: dict | None = None, **attributes) -> onnx.ModelProto:
    """Two probabilities, 0.25 and 0.75, and the mean level of red, whatever the image."""
    told = helper.make_tensor("told", TensorProto.FLOAT, [1, 2], [0.25, 0.75])
    nodes = [
        helper.make_node("Cast", ["image"], ["levels"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["levels", "places"], ["features"], keepdims=0),
        helper.make_node("Identity", ["told"], ["probabilities"], **attributes),
    ]
    places = helper.make_tensor("places", TensorProto.INT64, [2], [1, 2])
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("image", TensorProto.UINT8, ["n", "s", "s", 3])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [None, 2]),
         helper.make_tensor_value_info("features", TensorProto.FLOAT, [None, 3])], [told, places],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    model.metadata_props.add(key=KEY, value=json.dumps(_facts() if facts is None else facts))
    return model


@pytest.fixture
def put(tmp_path):
    def write(content: onnx.ModelProto | bytes):
        path = tmp_path / "m.onnx"
        path.write_bytes(content if isinstance(content, bytes) else content.SerializeToString())
        return path

    return write


def test_a_good_file_is_opened_and_looks(put):
    model = open_model(put(_model()))
    assert (model.classes, model.standard_size, model.gives_probabilities) == (("normal", "anemic"), 512, True)
    seen = model.look(np.full((1, 8, 8, 3), 7, np.uint8))
    assert seen.told.tolist() == [[0.25, 0.75]] and seen.features.tolist() == [[7, 7, 7]] and seen.maps is None


def test_metadata_are_those_that_onnx_reads(put):
    model = _model()
    model.metadata_props.add(key="naïve", value="Ωα")
    assert read_metadata(model.SerializeToString()) == {item.key: item.value for item in model.metadata_props}


def _external(model: onnx.ModelProto) -> None:
    tensor = model.graph.initializer[0]
    tensor.ClearField("float_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../etc/passwd")


def _external_constant(model: onnx.ModelProto) -> None:
    constant = helper.make_node("Constant", [], ["c"], value=helper.make_tensor("c", TensorProto.FLOAT, [1], [1.0]))
    constant.attribute[0].t.data_location = TensorProto.EXTERNAL
    model.graph.node.append(constant)


def _custom(model: onnx.ModelProto) -> None:
    model.graph.node[2].domain = "evil.ops"


def _function(model: onnx.ModelProto) -> None:
    model.functions.add(name="f", domain="")


def _inner_graph(model: onnx.ModelProto) -> None:
    inner = helper.make_graph([], "inner", [], [])
    model.graph.node.append(helper.make_node("If", ["c"], ["d"], then_branch=inner, else_branch=inner))


def _sparse(model: onnx.ModelProto) -> None:
    model.graph.sparse_initializer.add()


@pytest.mark.parametrize(
    ("change", "message"),
    [(_external, "tensors in other files"), (_external_constant, "tensors in other files"), (_custom, "operators of 'evil.ops'"),
     (_function, "functions"), (_inner_graph, "graphs or sparse tensors inside"), (_sparse, "sparse tensors")],
)  # fmt: skip
def test_what_reaches_beyond_the_file_is_refused(put, change, message):
    model = _model()
    change(model)
    with pytest.raises(UserError, match=f"is not used: .*{message}"):
        open_model(put(model))


@pytest.mark.parametrize(
    ("changed", "message"),
    [({"kind": "other"}, "not a model of fundus-synth"), ({"format": 2}, "has format 2, expected 1"),
     ({"classes": []}, "incomplete metadata"), ({"size": "8"}, "incomplete metadata"), ({"standard_size": 10**9}, "incomplete"),
     ({"rules": None}, "rules that are incomplete"), ({"rules": {}}, "rules that are incomplete"),
     ({"classes": ["a", "b"]}, "rules about other classes"), ({"illumination": None}, "incomplete metadata")],
)  # fmt: skip
def test_facts_that_are_not_those_of_an_export_are_refused(put, changed, message):
    with pytest.raises(UserError, match=message):
        open_model(put(_model(_facts(**changed))))


def _haemoglobin(maps: int) -> onnx.ModelProto:
    """A number, whatever the image, and so many maps."""
    facts = _facts(
        classes=["hemoglobin_g_dl"], target="hemoglobin", rules=Rules(("hemoglobin_g_dl",), half_width=1.0).to_dict()
    )
    model = _model(facts)
    model.graph.initializer[0].CopyFrom(helper.make_tensor("told", TensorProto.FLOAT, [1, 1], [12.5]))
    model.graph.node[2].output[0] = "value"
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("value", TensorProto.FLOAT, [None, 1]))
    model.graph.initializer.append(helper.make_tensor("cams", TensorProto.FLOAT, [1, maps, 2, 2], [0.5] * 4 * maps))
    model.graph.node.append(helper.make_node("Identity", ["cams"], ["maps"]))
    model.graph.output.append(helper.make_tensor_value_info("maps", TensorProto.FLOAT, [None, maps, 2, 2]))
    return model


def test_a_number_with_maps_is_read(put):
    seen = open_model(put(_haemoglobin(1))).look(np.zeros((1, 8, 8, 3), np.uint8))
    assert seen.told.tolist() == [[12.5]] and seen.maps.shape == (1, 1, 2, 2)
    with pytest.raises(UserError, match="returns something else"):
        open_model(put(_haemoglobin(2))).look(np.zeros((1, 8, 8, 3), np.uint8))


def test_rules_about_other_features_are_told(put):
    known = Familiarity(
        np.zeros((1, 4), np.float32), np.eye(4, dtype=np.float32)[:1], np.ones(1, np.float32), 1.0, 1.0, 0.9
    )
    sets = ClassSets((0.1, 0.1), (0.9, 0.9), (50, 50))
    facts = _facts(rules=Rules(("normal", "anemic"), sets=sets, familiarity=known).to_dict())
    with pytest.raises(UserError, match="returns something else"):
        open_model(put(_model(facts))).look(np.zeros((1, 8, 8, 3), np.uint8))


def test_fields_that_other_readers_would_see_are_not_hidden_behind_wide_tags():
    """onnxruntime cuts tags to 32 bits: this one is field 13 of a tensor, external data."""
    hidden = bytes([0xEA, 0x80, 0x80, 0x80, 0x10, 0])
    assert (0xEA & 0x7F) >> 3 == 13
    message = _model().SerializeToString()
    tensor = _field(5, _model().graph.initializer[0].SerializeToString() + hidden)
    with pytest.raises(ValueError, match="damaged"):
        read_metadata(message + _field(7, tensor))


def _field(number: int, content: bytes) -> bytes:
    """A field of bytes, of fewer than 16384."""
    return bytes([number << 3 | 2, len(content) & 0x7F | 0x80, len(content) >> 7]) + content


def test_other_files_are_refused(put, tmp_path, monkeypatch):
    with pytest.raises(UserError, match="cannot be read"):
        open_model(tmp_path / "none.onnx")
    for content in (b"", b"not a model", b"\x80\x04\x95", bytes(1000), b"PK\x03\x04" + bytes(64)):
        with pytest.raises(UserError, match="is not used"):
            open_model(put(content))
    plain = _model()
    del plain.metadata_props[:]
    with pytest.raises(UserError, match="not a model of fundus-synth"):
        open_model(put(plain))
    plain.metadata_props.add(key=KEY, value="{")
    with pytest.raises(UserError, match="damaged metadata"):
        open_model(put(plain))
    monkeypatch.setattr(model_file, "MAX_BYTES", 100)
    with pytest.raises(UserError, match="is larger than"):
        open_model(put(_model()))


def test_a_network_that_cannot_run_is_a_user_error(put):
    image = np.zeros((1, 8, 8, 3), np.uint8)
    broken = _model()
    broken.graph.node[0].op_type = "NoSuchOperator"
    with pytest.raises(UserError, match="cannot be loaded"):
        open_model(put(broken)).look(image)
    floats = _model()
    floats.graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT
    with pytest.raises(UserError, match="does not take uint8 images|cannot be loaded"):
        open_model(put(floats)).look(image)
    infinite = _model()
    infinite.graph.initializer[0].float_data[0] = float("nan")
    with pytest.raises(UserError, match="returns something else"):
        open_model(put(infinite)).look(image)
    with pytest.raises(UserError, match="returns something else"):
        open_model(put(_model())).look(np.zeros((2, 8, 8, 3), np.uint8))
    with pytest.raises(UserError, match="its network failed"):
        open_model(put(_model())).look(image[0])


@given(st.data())
@settings(deadline=None, max_examples=200)
def test_damage_is_told_and_never_raises_anything_else(data):
    content = bytearray(_model().SerializeToString())
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(content)))
    for damaged in (bytes(content), bytes(content[:cut])):
        try:
            read_metadata(damaged)
        except (ValueError, UnicodeDecodeError):
            pass


def test_lengths_that_reach_beyond_the_end_are_damage():
    with pytest.raises(ValueError, match="damaged"):
        read_metadata(struct.pack("<BBB", 7 << 3 | 2, 0xFF, 0x7F))
    with pytest.raises(ValueError, match="damaged"):
        read_metadata(b"\xff" * 20)
