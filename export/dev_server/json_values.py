"""Single JSON values as elements of a tensor: which JSON type each tensor type takes."""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
from typing import Any

import tensorflow as tf

from export.dev_server.tensor_protos import type_name
from export.errors import ServingError

# The JSON integers that each type takes. Narrow types take what fits 32 bits and wrap, as in C++.
_INT32 = (-(2**31), 2**31 - 1)
_RANGES = {
    tf.int64: (-(2**63), 2**63 - 1),
    tf.uint32: (0, 2**32 - 1),
    tf.uint64: (0, 2**64 - 1),
    **dict.fromkeys((tf.int8, tf.int16, tf.int32, tf.uint8), _INT32),
}


def leaves(values: list[Any], dtype: tf.DType) -> list[Any]:
    """JSON values that are no lists, as elements of a tensor of type `dtype`."""
    kinds = set(map(type, values))
    if kinds == {float} and dtype in (tf.float32, tf.float64):
        return values  # most bodies are long rows of these
    return [_leaf(value, dtype) for value in values]


def _leaf(value: Any, dtype: tf.DType) -> Any:
    kind = type(value)  # not isinstance: to Python, True is an int
    if dtype in (tf.float32, tf.float64):
        if kind is float:
            return value
        if kind is int:
            return to_float(value)
    elif dtype in _RANGES:
        low, high = _RANGES[dtype]
        if kind is int and low <= value <= high:
            return value
    elif dtype == tf.bool:
        if kind is bool:
            return value
    elif dtype == tf.string:
        if kind is str:
            return to_bytes(value)
        if kind is dict:
            return decode_base64(value)
    else:
        raise ServingError(
            "UNIMPLEMENTED",
            f"Conversion of JSON Value: {show(value)} to type: {type_name(dtype)}",
        )
    raise invalid(
        f"JSON Value: {show(value)} Type: {json_type(value)} is not of expected type: "
        f"{type_name(dtype)}"
    )


def to_float(value: int) -> float:
    """An integer of any length as a number; beyond the largest lies infinity."""
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def to_bytes(text: str) -> bytes:
    """The bytes of a string; those that are no UTF-8 come back as they were in the body."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        raise invalid("JSON Parse error: The surrogate pair in string is invalid.") from error


def is_base64(value: Any) -> bool:
    """Whether a JSON value is bytes: an object with the one key `b64`."""
    return isinstance(value, dict) and len(value) == 1 and isinstance(value.get("b64"), str)


def decode_base64(value: dict[str, Any]) -> bytes:
    """The bytes in an object with the one key `b64`."""
    if not is_base64(value):
        raise invalid(f"JSON Value: {show(value)} not formatted correctly for base64 data")
    text = re.sub(r"[ \t\n\v\f\r]+", "", value["b64"]).rstrip("=")  # padding may be left out
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise invalid("Unable to base64 decode") from error


def json_type(value: Any) -> str:
    """The name of a JSON value's type in the server's messages."""
    if isinstance(value, bool):
        return str(value)
    names = {dict: "Object", list: "Array", str: "String", int: "Number", float: "Number"}
    return names.get(type(value), "Null")


def show(value: Any, limit: int = 256) -> str:
    """A JSON value for an error message, cut where it is long."""
    text = ""
    for part in json.JSONEncoder(ensure_ascii=False).iterencode(value):  # no more than is needed
        text += part
        if len(text) > limit:
            return text[:limit] + "..."
    return text


def invalid(message: str) -> ServingError:
    """The error for a request that is wrong in itself."""
    return ServingError("INVALID_ARGUMENT", message)
