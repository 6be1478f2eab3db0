"""What an ONNX file holds, read without building anything from it: so that a file that a user was given is checked before use.

An ONNX file is a protocol buffer (onnx/onnx.proto); only the fields below are looked into. Refused is what a model file of ours
never holds and what could reach beyond it: tensors in other files, operators of other libraries, functions, and graphs inside
of nodes.
"""

from __future__ import annotations

from collections.abc import Iterator

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_FIXED = {_FIXED64: 8, _FIXED32: 4}
_STANDARD = (b"", b"ai.onnx")  # domains of the operators that every runtime knows

# Numbers of fields in onnx.proto.
_MODEL_GRAPH, _MODEL_METADATA, _MODEL_TRAINING, _MODEL_FUNCTIONS = 7, 14, 20, 25
_GRAPH_NODE, _GRAPH_INITIALIZER, _GRAPH_SPARSE = 1, 5, 15
_NODE_ATTRIBUTE, _NODE_DOMAIN = 5, 7
_ATTRIBUTE_TENSOR, _ATTRIBUTE_GRAPH, _ATTRIBUTE_TENSORS, _ATTRIBUTE_GRAPHS = 5, 6, 10, 11
_ATTRIBUTE_SPARSE = (22, 23)
_TENSOR_EXTERNAL, _TENSOR_LOCATION = 13, 14


def read_metadata(content: bytes) -> dict[str, str]:
    """The metadata of an ONNX file whose contents are harmless.

    Raises:
        ValueError: it is damaged, is something else, or holds what it must not; the message says which.
    """
    metadata: dict[str, str] = {}
    graphs = 0
    for number, value in _fields(memoryview(content)):
        if number in (_MODEL_TRAINING, _MODEL_FUNCTIONS):
            raise ValueError("it holds functions or a training graph")
        if number == _MODEL_GRAPH:
            graphs += 1
            _check_graph(_message(value))
        elif number == _MODEL_METADATA:
            pair = {key: bytes(_message(text)).decode("utf-8") for key, text in _fields(_message(value))}
            metadata[pair.get(1, "")] = pair.get(2, "")
    if not graphs:
        raise ValueError("it holds no graph")
    return metadata


def _check_graph(graph: memoryview) -> None:
    for number, value in _fields(graph):
        if number == _GRAPH_NODE:
            _check_node(_message(value))
        elif number == _GRAPH_INITIALIZER:
            _check_tensor(_message(value))
        elif number == _GRAPH_SPARSE:
            raise ValueError("it holds sparse tensors")


def _check_node(node: memoryview) -> None:
    for number, value in _fields(node):
        if number == _NODE_DOMAIN and bytes(_message(value)) not in _STANDARD:
            raise ValueError(f"it asks for operators of {bytes(_message(value)).decode('utf-8', 'replace')[:60]!r}")
        if number == _NODE_ATTRIBUTE:
            for inner, item in _fields(_message(value)):
                if inner in (_ATTRIBUTE_GRAPH, _ATTRIBUTE_GRAPHS, *_ATTRIBUTE_SPARSE):
                    raise ValueError("it holds graphs or sparse tensors inside of nodes")
                if inner in (_ATTRIBUTE_TENSOR, _ATTRIBUTE_TENSORS):
                    _check_tensor(_message(item))


def _check_tensor(tensor: memoryview) -> None:
    for number, value in _fields(tensor):
        if number == _TENSOR_EXTERNAL or (number == _TENSOR_LOCATION and value != 0):
            raise ValueError("it keeps tensors in other files")


def _message(value: memoryview | int) -> memoryview:
    if isinstance(value, int):
        raise ValueError("it is damaged, or no ONNX file")
    return value


def _fields(message: memoryview) -> Iterator[tuple[int, memoryview | int]]:
    """(number, value) of every field: a whole number, or the bytes of anything else."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        if tag >> 32:  # readers in C++ cut it to 32 bits, and would find another field
            raise ValueError("it is damaged, or no ONNX file")
        number, kind = tag >> 3, tag & 7
        if kind == _VARINT:
            value, at = _varint(message, at)
            yield number, value
            continue
        if kind == _BYTES:
            length, at = _varint(message, at)
        elif kind in _FIXED:
            length = _FIXED[kind]
        else:
            raise ValueError("it is damaged, or no ONNX file")
        if number == 0 or at + length > len(message):
            raise ValueError("it is damaged, or no ONNX file")
        yield number, message[at : at + length]
        at += length


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    """A whole number of seven bits a byte, and where the next one begins."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(message):
            break
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("it is damaged, or no ONNX file")
