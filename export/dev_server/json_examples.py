"""The bodies of REST's classify and regress: JSON to `tf.train.Example`s, results to JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import classification_pb2, regression_pb2

from export.dev_server.json_outputs import decimals, string
from export.dev_server.json_tensors import signature_name
from export.dev_server.json_values import (
    decode_base64,
    invalid,
    is_base64,
    json_type,
    show,
    to_bytes,
    to_float,
)

_INT64 = range(-(2**63), 2**63)
_INTEGERS = range(-(2**63), 2**64)
_FIELDS = {"bytes_list": "bytes", "float_list": "float", "int64_list": "int64"}


def fill(request: Any, document: Mapping[str, Any]) -> None:
    """Fills in what a parsed body says: the name of the signature, `examples` and `context`.

    The JSON values of a feature, one or a list of them, decide its type: decimals make a list of
    floats, integers and booleans one of int64s, strings and base64 objects one of bytes.

    Args:
        request: a `ClassificationRequest` or `RegressionRequest`.
        document: a parsed body.
    """
    name = signature_name(document)
    try:
        request.model_spec.signature_name = name
    except UnicodeEncodeError as error:  # no signature has such a name
        raise invalid(f"No signature was found with the name: {name}") from error
    rows = request.input.example_list.examples
    if "context" in document:
        rows = request.input.example_list_with_context.examples
        request.input.example_list_with_context.context.CopyFrom(_example(document["context"]))
    if "examples" not in document:
        raise invalid(
            f"JSON Value: {show(document)} When method is classify, key 'examples' is expected "
            "and was not found"
        )
    examples = document["examples"]
    if not isinstance(examples, list):
        raise invalid(
            f"JSON Value: {show(document)} Expecting 'examples' value to be an list/array"
        )
    if not examples:
        raise invalid(f"JSON Value: {show(document)} 'examples' value is an empty array")
    rows.extend(_example(example) for example in examples)


def write_classifications(result: classification_pb2.ClassificationResult) -> bytes:
    """The body of an answer: for each example its classes, each a label and a score."""
    if not result.classifications:
        raise invalid("Cannot convert empty ClassificationResults to JSON")
    rows = []
    for classification in result.classifications:
        labels = [string(entry.label.encode()) for entry in classification.classes]
        scores = _floats([entry.score for entry in classification.classes])
        pairs = zip(labels, scores, strict=True)
        rows.append(f"[{', '.join(f'[{label}, {score}]' for label, score in pairs)}]")
    return _results(rows)


def write_regressions(result: regression_pb2.RegressionResult) -> bytes:
    """The body of an answer: for each example its value."""
    if not result.regressions:
        raise invalid("Cannot convert empty RegressionResults to JSON")
    return _results(_floats([regression.value for regression in result.regressions]))


def _example(value: Any) -> tf.train.Example:
    if not isinstance(value, dict):
        raise invalid(f"Example must be JSON object but got JSON {json_type(value)}")
    example = tf.train.Example()
    for name, content in value.items():
        try:
            feature = example.features.feature[name]
        except UnicodeEncodeError as error:
            raise invalid(f"The name of a feature must be UTF-8. Received: {name}") from error
        for element in content if isinstance(content, list) else [content]:
            _add(name, element, feature)
    return example


def _add(name: str, value: Any, feature: tf.train.Feature) -> None:
    field, number = _typed(name, value)
    known = feature.WhichOneof("kind")
    if known not in (None, field):
        raise invalid(
            f"Unexpected element type in feature: {name} expecting type: {_FIELDS[known]}"
        )
    if field == "int64_list" and number not in _INT64:
        raise invalid(f"Feature: {name} has uint64_t element. Only int64_t is supported.")
    getattr(feature, field).value.append(number)


def _typed(name: str, value: Any) -> tuple[str, Any]:
    """The list of a `Feature` that takes a JSON value, and the value as it goes in."""
    if isinstance(value, str):
        return "bytes_list", to_bytes(value)
    if is_base64(value):
        return "bytes_list", decode_base64(value)
    if isinstance(value, int) and value in _INTEGERS:  # to Python, True is an int
        return "int64_list", int(value)
    if isinstance(value, int):  # of more than 64 bits: then it counts as a decimal
        return "float_list", to_float(value)
    if isinstance(value, float):
        return "float_list", value
    raise invalid(f"Feature: {name} has element with unexpected JSON type: {json_type(value)}")


def _floats(values: list[float]) -> list[str]:
    return decimals(np.array(values, np.float32))


def _results(texts: list[str]) -> bytes:
    return f'{{"results": [{", ".join(texts)}]}}'.encode()
