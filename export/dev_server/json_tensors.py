"""The body of a REST predict request to arrays, by TensorFlow Serving's rules and in its words.

The signature gives each input its type, the JSON value its shape. Two differences are known:
nesting deeper than Python's recursion limit is refused, where the C++ server goes on, and so are
tensors of very many axes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2

from export.dev_server.json_values import invalid, is_base64, leaves, show
from export.dev_server.tensor_protos import check_rank
from export.errors import ServingError

Infos = Mapping[str, meta_graph_pb2.TensorInfo]

# What Python's parser says -> what the server's parser says.
_PARSE_ERRORS = {
    "Expecting property name": "Missing a name for object member.",
    "Expecting ':' delimiter": "Missing a colon after a name of object member.",
    "Expecting ',' delimiter": "Missing a comma or closing bracket after an element.",
    "Unterminated string": "Missing a closing quotation mark in string.",
    "Invalid \\escape": "Invalid escape character in string.",
    "Invalid control character": "Invalid encoding in string.",
}


class Tensors(NamedTuple):
    """The inputs of a request, and whether it, and so its answer, is in row form."""

    inputs: dict[str, np.ndarray]
    row: bool


def parse(body: bytes) -> dict[str, Any]:
    """The object at the start of a body; bytes that are no UTF-8 survive, the rest is ignored."""
    text = body.decode("utf-8", "surrogateescape").lstrip("\ufeff \t\r\n")
    if not text:
        raise invalid("JSON Parse error: The document is empty")
    try:
        document, _ = json.JSONDecoder(object_pairs_hook=_first_of_each).raw_decode(text)
    except json.JSONDecodeError as error:
        words = (said for start, said in _PARSE_ERRORS.items() if error.msg.startswith(start))
        raise invalid(
            f"JSON Parse error: {next(words, 'Invalid value.')} at offset: {error.pos}"
        ) from error
    except RecursionError as error:
        raise invalid("JSON Parse error: the document is nested too deeply") from error
    except ValueError as error:  # an integer of thousands of digits
        raise invalid("JSON Parse error: Number too big to be stored in double.") from error
    if not isinstance(document, dict):
        raise invalid(f"JSON Value: {show(document)} Is not object")
    return document


def _first_of_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object; of keys that are there twice, the server finds the first."""
    found = dict(pairs)
    return found if len(found) == len(pairs) else {**found, **dict(reversed(pairs))}


def signature_name(document: Mapping[str, Any]) -> str:
    """The signature a request asks for; empty for the default."""
    name = document.get("signature_name", "")
    if not isinstance(name, str):
        raise invalid(
            f"JSON Value: {show(document)} not formatted correctly. "
            "'signature_name' key must be a string value."
        )
    return name


def tensors(document: Mapping[str, Any], infos: Infos) -> Tensors:
    """The inputs of a request in row form (`instances`) or in column form (`inputs`).

    Args:
        document: a parsed body.
        infos: the inputs of the signature.
    """
    if not infos:
        raise invalid(
            f"Failed to get input map for signature: {signature_name(document) or 'DEFAULT'}"
        )
    if "instances" in document and "inputs" in document:
        raise invalid(
            f"JSON Value: {show(document)} Not formatted correctly expecting only one of "
            "'inputs' or 'instances' keys to exist "
        )
    try:
        if "inputs" in document:
            return Tensors(_columns(document["inputs"], infos), row=False)
        if "instances" not in document:
            raise invalid("Missing 'inputs' or 'instances' key")
        instances = document["instances"]
        if not isinstance(instances, list):
            raise invalid(f"JSON Value: {show(document)} Expecting 'instances' to be an list/array")
        if not instances:
            raise invalid(f"JSON Value: {show(document)} No values in 'instances' array")
        return Tensors(_rows(instances, infos), row=True)
    except RecursionError as error:
        raise invalid("JSON Parse error: the document is nested too deeply") from error


def _columns(value: Any, infos: Infos) -> dict[str, np.ndarray]:
    if not isinstance(value, dict) or is_base64(value):
        if len(infos) > 1:
            raise invalid(
                "inputs is a plain value/list, but expecting an object as multiple input tensors "
                "required as per tensorinfo_map"
            )
        value = {next(iter(infos)): value}
    columns = {}
    for name in sorted(infos):
        if name not in value:
            raise invalid(f"Missing named input: {name} in 'inputs' object.")
        column = _Column(infos[name])
        column.add(value[name])
        columns[name] = column.array()
    return columns


def _rows(instances: list[Any], infos: Infos) -> dict[str, np.ndarray]:
    named = isinstance(instances[0], dict) and not is_base64(instances[0])
    if not named and len(infos) > 1:
        raise invalid(
            "instances is a plain list, but expecting list of objects as multiple input tensors "
            "required as per tensorinfo_map"
        )
    columns = {name: _Column(info) for name, info in infos.items()}
    for number, element in enumerate(instances):
        if (isinstance(element, dict) and not is_base64(element)) != named:
            raise invalid(
                f"Expecting object but got list at item {number} of input list"
                if named
                else f"Expecting value/list but got object at item {number} of input list"
            )
        _add_instance(number, element, columns, named)
    return {name: column.array(len(instances)) for name, column in columns.items()}


def _add_instance(number: int, element: Any, columns: Mapping[str, _Column], named: bool) -> None:
    for name, value in element.items() if named else [(next(iter(columns)), element)]:
        try:
            if name not in columns:
                raise invalid(f"JSON object: does not have named input: {name}")
            columns[name].add(value)
        except ServingError as error:  # whatever its code was, in row form it becomes this one
            key = f" key: {name}" if named else ""
            raise invalid(
                f"Failed to process element: {number}{key} of 'instances' list. Error: {error}"
            ) from error
    if named and set(element) != set(columns):
        raise invalid(
            f"Failed to process element: {number} of 'instances' list. JSON object: "
            f"{show(element)} keys must be equal to: {','.join(sorted(columns))}"
        )


class _Column:
    """The values of one input, in the order they come, and the shape they share."""

    def __init__(self, info: meta_graph_pb2.TensorInfo) -> None:
        self._dtype = tf.dtypes.as_dtype(info.dtype)
        self._values: list[Any] = []
        self._shape: list[int] | None = None

    def add(self, value: Any) -> None:
        """Takes a JSON value: its shape is that of its first elements, and all must agree."""
        shape = _shape(value)
        before = len(self._values)
        self._fill(value, shape, 0)
        if self._shape is None:
            self._shape = shape
        elif (size := len(self._values) - before) != (expected := math.prod(self._shape)):
            raise invalid(f"Expecting tensor size: {expected} but got: {size}")
        elif shape != self._shape:
            raise invalid(f"Expecting shape {_dims(self._shape)} but got: {_dims(shape)}")

    def array(self, batch: int | None = None) -> np.ndarray:
        """All values taken; with a leading axis of size `batch` if one is given."""
        assert self._shape is not None
        shape = self._shape if batch is None else [batch, *self._shape]
        check_rank(len(shape))
        if self._dtype.is_floating:
            # Beyond the largest number lies infinity, below the smallest zero; neither is an error.
            with np.errstate(over="ignore", under="ignore"):
                array = np.array(self._values, np.float64).astype(self._dtype.as_numpy_dtype)
        elif self._dtype == tf.string:
            array = np.empty(len(self._values), object)
            array[:] = self._values
        elif self._dtype == tf.uint64:
            array = np.array(self._values, np.uint64)
        else:
            array = np.array(self._values, np.int64).astype(self._dtype.as_numpy_dtype)
        return array.reshape(shape)

    def _fill(self, value: Any, shape: list[int], level: int) -> None:
        if not isinstance(value, list):
            if level != len(shape):
                raise invalid(
                    f"JSON Value: {show(value)} found at incorrect level: {level + 1} in the "
                    f"JSON DOM. Expected at level: {len(shape)}"
                )
            self._values += leaves([value], self._dtype)
        elif level >= len(shape):
            raise invalid(f"Encountered list at unexpected level: {level} expected < {len(shape)}")
        elif len(value) != shape[level]:
            raise invalid(
                f"Encountered list at unexpected size: {len(value)} at level: {level} "
                f"expected size: {shape[level]}"
            )
        elif level + 1 == len(shape) and not any(isinstance(element, list) for element in value):
            self._values += leaves(value, self._dtype)
        else:
            for element in value:
                self._fill(element, shape, level + 1)


def _shape(value: Any) -> list[int]:
    shape = []
    while isinstance(value, list):
        shape.append(len(value))
        value = value[0] if value else None
    return shape


def _dims(shape: list[int]) -> str:
    return f"[{','.join(map(str, shape))}]"
